"""What columns of data are for: each role with its usual names, and which roles go together."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from groundup.errors import UserError

Row = dict[str, Any]  # role -> text, a list of texts, a number, or answers with their places


@dataclass(frozen=True)
class Role:
    """What the values of a role are, and what a column of them is often called, in any case.

    given: a model reads it, and it decides in which split a row is held out. optional: a row may have no value.
    many: a value is a list of texts. name: a value is a name. number: a value is a finite number. listed: a value may also
    be a list, each item once. placed: a value is a list of answers with their places in the context, see ``data.answers``.
    task: the one that learns it.
    """

    what: str
    usual: str = ""  # names with blanks between them
    given: bool = False
    optional: bool = False
    many: bool = False
    name: bool = False
    number: bool = False
    listed: bool = False
    placed: bool = False
    task: str = ""

    @property
    def written(self) -> bool:
        """Whether its values are texts that somebody wrote, so that cleaning is for them."""
        return not (self.name or self.number or self.placed)


# fmt: off
ROLES: dict[str, Role] = {
    "text": Role("a text", given=True, optional=True, usual="text texts sentence sentences review reviews content document "
                 "comment tweet message body text1 text_a sentence1 sentence_a premise question1 文本 内容 评论 句子 正文"),
    "text_pair": Role("a second text, for tasks on pairs", given=True, optional=True),
    "label": Role("the class of a text, or its classes: a list", optional=True, name=True, listed=True, task="classification",
                  usual="label labels class classes target category sentiment intent topic 标签 类别 分类 情感"),
    "score": Role("a number for a text, or for a pair", number=True, task="regression",
                  usual="score scores rating ratings stars similarity similarity_score value label target 分数 评分 得分"),
    "source": Role("what is given, for tasks that write a text", given=True, usual="source src input document article 原文 源"),
    "target": Role("what is to be written", usual="target tgt output summary highlights translation 译文 摘要 目标"),
    "references": Role("further right answers: a list, one text, or nothing", optional=True, many=True),
    "tokens": Role("the words of a text", given=True, many=True, usual="tokens token words word form 词语 分词"),
    "tags": Role("a name for each of the tokens", many=True, name=True, task="tagging",
                 usual="tags tag ner_tags pos_tags ner pos upos 标注"),
    "question": Role("what is asked", usual="question questions query 问题"),
    "context": Role("the text that answers a question", given=True, usual="context contexts passage paragraph 上下文 篇章"),
    "answers": Role("places of the context that answer the question", placed=True, task="question_answering",
                    usual="answers answer 答案"),
    "id": Role("a name of the row, kept beside its answer", optional=True, name=True),
    "group": Role("a name: figures are reported apart for each", name=True),
}
# fmt: on


# What rows may be: pairs, questions, sentences of tokens, or texts. The first role is always there, of pairs and questions
# the first two; data has one of the four.
KINDS = (
    ("source", "target", "references"),
    ("question", "context", "answers"),
    ("tokens", "tags"),
    ("text", "text_pair"),
)


def plain_name(column: str) -> str:
    """A column's name as the usual names are written: ``Sentence A`` -> ``sentence_a``."""
    return "_".join(column.casefold().replace("-", " ").split())


def kind_of(columns: Collection[str]) -> tuple[str, ...] | None:
    """The roles that go with those of ``columns``, the first of ``KINDS`` that has one of them. None: there is no text at all."""
    return next((kind for kind in KINDS if {*kind} & {*columns}), None)


def check_columns(wanted: Sequence[str], columns: Collection[str]) -> None:
    """Raises UserError for data that lacks what a task reads: its first role, and others that need a value in each row."""
    missing = [role for role in wanted if role not in columns and (role == wanted[0] or not ROLES[role].optional)]
    if missing and len(wanted) > 1:  # a language model reads any text
        kind, present = " and ".join(wanted), " and ".join(columns)
        options = " ".join(f"data.{role}=COLUMN" for role in wanted if role not in columns)
        raise UserError(
            f"this task needs {kind}, but the data has {present}. Try {options}{other_tasks(wanted, columns)}"
        )


def other_tasks(wanted: Sequence[str], columns: Collection[str]) -> str:
    """``, or task=regression``: what learns from those of the ``columns`` that are not ``wanted``."""
    return "".join(f", or task={ROLES[role].task}" for role in columns if role not in wanted and ROLES[role].task)


def columns_by_role(named: Mapping[str, str | None]) -> dict[str, str]:
    """Role -> column for those that are ``named``, of one kind; a text is called so by default.

    Raises UserError for one side of a pair, or tags alone.
    """
    given = {role: column for role, column in named.items() if column is not None}
    kind = kind_of(given) or KINDS[-1]
    if kind[0] == "text":
        given.setdefault("text", "text")
    for role in kind[:2] if kind[0] in ("source", "question") else kind[:1]:
        if role not in given:
            others = [f"data.{other}" for other in kind if other in given]
            raise UserError(f"{' and '.join(others)}: no {role} beside it; add data.{role}=COLUMN, or leave it out")
    return {role: given[role] for role in (*kind, "label", "score", "group", "id") if role in given}
