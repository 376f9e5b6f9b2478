"""Rows from local files, or from the Hugging Face hub."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from groundup.data.answers import check_clean
from groundup.data.reading import FOLDER, Reading, read, suffix_of
from groundup.data.roles import ROLES, Row, columns_by_role
from groundup.data.rows import cleaned, label_text, roles, usual_column
from groundup.data.sources import hub as hugging_face
from groundup.data.sources.labels import Tally
from groundup.data.sources.paths import file_hash, files_of, path_of
from groundup.data.sources.python_docs import PythonDocs
from groundup.data.sources.source import SPLITS, AnewEachPass, Source, place
from groundup.errors import UserError
from groundup.system.cache import Cache
from groundup.text.clean import Clean

log = logging.getLogger(__name__)
UNLABELLED = "unlabelled"  # what files of further text are named by
DOCS = "python_docs"  # in the place of a file of further text


class Files(Source):
    """Files of each split (a path, a glob or a list, mixed formats allowed), or a data set of the hub.

    root: the folder that relative paths start from. hub: rows come from the hub by that id, unless there is a root; a
    split for which files are named comes from these in any case. local: files of the splits that have no other ones,
    below the root: copies of what is on the hub. hub_columns: the hub's column -> ours, where they differ.
    text, text_pair, ..., group: the column of each role, see ``data.roles``. A nested column is a path, as in
    ``translation.en``; a .txt has the column ``text``, a document also ``folder``, for ``label``. Where a pair or tokens
    are named, there is no text.
    unlabelled: files of further text like that of train, in the column of the text: vocabularies and vectors learn from it.
    A .txt among them is a row a line, unless train has .txt documents.
    ``python_docs`` among them is the documentation that Python carries.
    labels: class names in a fixed order. validation_share: part of train to hold out when there is no validation file:
    rows by their content (so that duplicates stay together), pairs by their source, questions by their context, the end of
    each .txt document.
    txt, encoding, delimiter, columns: what the files do not say of themselves, see ``reading.Reading``.
    streaming: read at each pass instead of keeping the rows in memory.
    Rows without a label are left out where there is a label column, those whose text is empty stay; both are told.
    label_separator: of a label that names several classes, as in ``a;b``: it becomes a list, of an empty cell one of none.
    many_classes: for a label that is another one in most rows, which is taken for a mistake otherwise.
    """

    def __init__(
        self,
        train: str | Sequence[str] | None = None,
        validation: str | Sequence[str] | None = None,
        test: str | Sequence[str] | None = None,
        unlabelled: str | Sequence[str] | None = None,
        root: str | None = None,
        local: Mapping[str, str | Sequence[str]] | None = None,
        hub: str | None = None,
        hub_config: str | None = None,
        hub_columns: dict[str, str] | None = None,
        text: str | None = None,
        text_pair: str | None = None,
        label: str | None = None,
        score: str | None = None,
        source: str | None = None,
        target: str | None = None,
        references: str | None = None,
        tokens: str | None = None,
        tags: str | None = None,
        question: str | None = None,
        context: str | None = None,
        answers: str | None = None,
        id: str | None = None,
        group: str | None = None,
        labels: Sequence[str] | None = None,
        label_separator: str | None = None,
        validation_share: Annotated[float, Field(gt=0, lt=1)] | None = None,
        txt: Literal["file", "line"] = "file",
        encoding: str | None = None,
        delimiter: str | None = None,
        columns: Sequence[str] | None = None,
        many_classes: bool = False,
        streaming: bool = False,
        clean: Clean | None = None,
    ):
        named = {"text": text, "text_pair": text_pair, "label": label, "source": source, "target": target}
        named |= {"score": score, "references": references, "tokens": tokens, "tags": tags, "group": group}
        named |= {"question": question, "context": context, "answers": answers, "id": id}
        self.columns = columns_by_role(named)
        check_clean(self.columns, clean)
        self.labels = None if labels is None else _distinct(labels)
        self.reading = Reading(txt, encoding, delimiter, columns)
        self.validation_share, self.streaming, self.clean = validation_share, streaming, clean
        self.many_classes, self.label_separator = many_classes, label_separator
        self.root = path_of(root) if root else Path()
        self.hub = None
        copies = dict(local or {})
        if hub is not None and root is None:
            self.hub = hugging_face.Hub(hub, hub_config, self.columns, dict(hub_columns or {}), streaming)
            copies = {}
        self.unlabelled = [unlabelled] if isinstance(unlabelled, str) else list(unlabelled or ())
        given = {"train": train, "validation": validation, "test": test}
        given = {split: names or copies.get(split) for split, names in given.items()}
        self.files = {
            split: [names] if isinstance(names, str) else list(names) for split, names in given.items() if names
        }
        if not self.files and self.hub is None:
            raise UserError(
                "no data: name a file, as in data.train=train.csv (or a hub id, as in data.hub=stanfordnlp/imdb)"
            )
        self.reading.refuse_idle([name for names in self.files.values() for name in names])
        self._rows: dict[str, list[Row]] = {}
        self._fingerprints: dict[str, str] = {}
        self.told: set[str] = set()  # splits whose left-out rows were reported; "share": the held-out part was

    def splits(self) -> list[str]:
        present = self._present()
        held_out = ["validation"] if self.validation_share and "train" in present else []
        return [split for split in SPLITS if split in [*present, *held_out]]

    def rows(self, split: str) -> Iterable[Row]:
        if self.streaming:
            return AnewEachPass(partial(self.read, split))
        if split not in self._rows:
            self.fingerprint(split)  # before they are read: an edit in between must not give old rows the new name
            self._rows[split] = list(self.read(split))
        return self._rows[split]

    def fingerprint(self, split: str) -> str:
        if split not in self._fingerprints:
            self._fingerprints[split] = self._fingerprint(split)
        return self._fingerprints[split]

    def _fingerprint(self, split: str) -> str:
        origin, share = self._origin(split)
        clean = self.clean.as_dict() if self.clean else None
        settings = [self.columns, clean, share, asdict(self.reading), self.label_separator]
        content: list[str] | list[tuple[str, ...]]
        if self.hub and origin not in self.files:
            content = [self.hub.fingerprint(origin)]
        else:
            content = [(suffix_of(path), file_hash(path), *self._folder(path).values()) for path in self.paths(origin)]
        return Cache.key("files", split, origin, settings, content)

    def _present(self) -> list[str]:
        return [*self.files, *(self.hub.splits() if self.hub else [])]

    def _origin(self, split: str) -> tuple[str, float]:
        """The split whose files hold the rows, and the share of these that validation has; 0 where they are one split's."""
        if split in self.files and split != "train":  # no need to ask the hub
            return split, 0
        present = self._present()
        share = 0 if "validation" in present else self.validation_share or 0
        if share and "train" in present and "share" not in self.told:
            self.told.add("share")
            log.info("validation: %g %% of train held out, %s", 100 * share, self._which())
        if split in present:
            return split, share if split == "train" else 0
        if split == "validation" and "train" in present:
            if share:
                return "train", share
            raise UserError(
                "the data has no validation split: name it, as in data.validation=dev.csv, "
                "or hold out a part of train, as in data.validation_share=0.1"
            )
        where = f"{self.hub.name} on the hub" if self.hub else "the data"
        raise UserError(f"{where} has no {split} split (it has {', '.join(present)}); name one: data.{split}=FILE")

    def read(self, split: str) -> Iterator[Row]:
        """One pass over the rows of a split; the first one tells what is left out."""
        tally = Tally()
        origin, share = self._origin(split)
        held_out = split == "validation"
        for where, raw, document in self._raw(origin):
            cut = share and document and not self._by_folder  # a text with a class is a row like others
            if cut:
                raw = {"text": _cut(raw["text"], share, held_out)}
            row = roles(raw, self.columns, None, where)
            # By the text as it stands in the file: cleaning must not move rows from one split to the other.
            if share and not cut and (_place(row) < share) != held_out:
                continue
            row = cleaned(row, self.clean) if self.clean else row
            if self.label_separator and isinstance(row.get("label"), str):
                parts = [label_text(part) for part in row["label"].split(self.label_separator)]
                row["label"] = [part for part in dict.fromkeys(parts) if part]
            if tally.keeps(row, where):
                yield row
        if not tally.rows:
            if share and not tally.unlabelled.count:
                raise UserError(
                    f"data.validation_share={share} of train leaves no rows for {split}: train is too small, "
                    "or its texts are alike; name a file, as in data.validation=dev.csv, or set another share"
                )
            raise UserError(
                f"{split}: no row has a label in column '{self.columns.get('label')}': try data.label=COLUMN"
            )
        if split == "train" and "label" in self.columns and not (self.many_classes or self.labels):
            tally.refuse_many(self.columns["label"])
        if split not in self.told:
            self.told.add(split)
            for line in tally.lines(split):
                log.warning("%s", line)

    def _raw(self, origin: str) -> Iterator[tuple[str, dict[str, Any], bool]]:
        """Where it stands, the raw row, and whether it is a whole document."""
        if self.hub and origin not in self.files:
            yield from ((where, row, False) for where, row in self.hub.rows(origin))
            return
        for path in self.paths(origin):
            document = self.reading.is_document(path)
            if self.streaming and document:
                raise UserError(
                    f"{path} is one document and would fill the memory: add data.txt=line to stream its lines"
                )
            folder = self._folder(path)
            yield from ((where, {**row, **folder}, document) for where, row in read(path, self.reading))

    @property
    def _by_folder(self) -> bool:
        return self.columns.get("label") == FOLDER

    def _folder(self, path: Path) -> dict[str, str]:
        """The column that a document has beside its text where its folder is its class."""
        return {FOLDER: path.absolute().parent.name} if self._by_folder and self.reading.is_document(path) else {}

    def further(self) -> Iterator[str]:
        if DOCS in self.unlabelled:
            yield from (row["text"] for row in PythonDocs(clean=self.clean).rows("train"))
        for path in self.paths(UNLABELLED):
            column = self.columns.get("text")
            for where, raw in read(path, self._reading_further()):
                if column not in raw:
                    column = usual_column("text", raw, where, "text", ())
                if text := roles(raw, {"text": column}, self.clean, where)["text"]:
                    yield text

    def _reading_further(self) -> Reading:
        """Of further text a .txt is a document where train has such ones; beside rows each of its lines is a row."""
        return self.reading if self._documents() else replace(self.reading, txt="line")

    def further_fingerprint(self) -> str | None:
        if not self.unlabelled:
            return None
        settings = [
            self.columns.get("text"),
            self.clean.as_dict() if self.clean else None,
            asdict(self._reading_further()),
        ]
        content = [(suffix_of(path), file_hash(path)) for path in self.paths(UNLABELLED)]
        docs = PythonDocs(clean=self.clean).fingerprint("train") if DOCS in self.unlabelled else None
        return Cache.key("files", UNLABELLED, settings, content, docs)

    def _which(self) -> str:
        return "the end of each .txt" if self._documents() and not self._by_folder else "by content"

    def _documents(self) -> bool:
        """Whether train is, or has among its files, texts that are read as a whole."""
        return "train" in self.files and any(map(self.reading.is_document, self.paths("train")))

    def paths(self, split: str) -> list[Path]:
        names = [name for name in self.unlabelled if name != DOCS] if split == UNLABELLED else self.files[split]
        return [path for name in names for path in files_of(name, self.root, f"data.{split}")]


FILES = f"{Files.__module__}.{Files.__qualname__}"
# Settings that name rows, or choose among those of train, not how they are read.
_ROWS = (*SPLITS, UNLABELLED, "root", "local", "hub", "labelled")


def with_other_files(saved: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run with the rows that ``given`` names in the place of its own: how rows are read stays.

    A relative path starts where the command runs, not in the folder in which the run found its files.
    """
    return {"_target_": FILES, **{key: value for key, value in saved.items() if key not in _ROWS}, **given}


def _distinct(labels: Sequence[str]) -> list[str]:
    names = [label_text(name) for name in labels]
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise UserError(f"data.labels names '{twice}' {names.count(twice)} times: name each class once")
    return names


def _place(row: Row) -> float:
    """The place of a row, from what is given alone: so all targets of a source are in one split."""
    given = [value for role, value in row.items() if ROLES[role].given]
    return place("\0".join("\0".join(value) if isinstance(value, list) else value for value in given))


def _cut(text: str, share: float, held_out: bool) -> str:
    """The end of a document is held out: from a line break near the place where the share begins, else from a blank.

    Near: the share changes by half at most. A text that has neither there is cut at the character.
    """
    at = round(len(text) * (1 - share))
    reach = int(len(text) * min(share, 1 - share) / 2)
    breaks = (
        find(mark, *span)
        for mark in "\n "
        for find, span in ((text.rfind, (at - reach, at)), (text.find, (at, at + reach)))
    )
    at = next((found + 1 for found in breaks if found >= 0), at)
    return text[at:] if held_out else text[:at]
