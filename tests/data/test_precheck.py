"""What a user gets wrong in the data is said before torch is imported and before there is a folder."""

import importlib
import inspect
import os
import pkgutil
import subprocess
import sys

import pytest

import groundup.tasks
from groundup.data.precheck import check_data, columns_of_task
from groundup.data.roles import ROLES
from groundup.data.sources.files import FILES
from groundup.errors import UserError
from groundup.tasks.base import Task

MISTAKES = {  # options, after data=files where they name no other -> what the line must say
    "data.train=nope.csv": "own.csv",
    "data=imdb data.train=onw.csv": "no file onw.csv; the current folder has own.csv,",
    "data.train=own.csv data.label=lable": "try data.label=label",
    "data.train=own.csv data.encoding=gbk18030": "Try gb18030",
    "data.train=own.csv data.delimiter=ab": "one character",
    "data.train=gbk.csv": "data.encoding=gb18030 (很好的酒店",
    "data.train=other.csv": "it has utterance, rating",
    "data.train=plain.csv": "No header? data.columns=[text,label]",
    "data.train=own.csv task=translation": "no column 'source'",
    "data.train=own.csv data.source=text data.target=label": "needs text and label, but the data has source and",
    "data.train=named.csv": "try 'data.text=Review Text'",
    "data.train=sts.csv task=regression": "try data.text=Frage1 data.text_pair=Frage2",
    "data.train=zh.conll": "zh.conll: no column 'text'; it has tokens, tags. Try task=tagging",
    "data.train=squad.json": "no column 'text'; it has id, title, question, context, answers. Try task=question_answering",
    "data.train=own": "no file own; the current folder has own.csv,",
    "data.train=zh.bmes": "rename it, as in zh.bmes.conll",
    "data.train=[notes.txt,notes.txt] task=translation": "paste SOURCE.txt TARGET.txt > pairs.tsv, and data.train=pairs.tsv",
    "data.train=broken.jsonl": "broken.jsonl line 3: broken JSON",
    "data.train=own.csv data.validation=late.csv": "late.csv line 4: 3 cells",
    "data.train=unlabelled.csv": "train: no row has a label in column 'label'",
    "data.train=same.csv": "or its texts are alike",
    "data.train=.": ". is a folder: name its files, as in data.train='./*.",
    "data.train=ids.csv": "data.many_classes=true",
    "data.train=subjects.csv": "try task=multilabel data.label_separator='|'. If",
    "data.train=reviews": "data.train='reviews/*/*.txt'; each folder a class: data.label=folder",
    "data.train='reviews/*/*.txt'": "try data.label=folder",
    "data.train=strange_columns.csv": "it has 'said, in full', good?; try 'data.text=said, in full'. No header?",
    "data.train=strange_columns.csv task=regression data.text=x": "strange_columns.csv: no column 'x'; it has",
    "data.train=own.csv data.validation='*.nope'": "no file matches",
    "data.train=notes.txt": "To learn from the text alone: groundup pretrain data=files data.train=notes.txt; for labels",
}
SCRIPT = """
import contextlib, io, sys, time
from groundup import cli
for line in sys.argv[1:]:
    error, begun = io.StringIO(), time.process_time()
    with contextlib.redirect_stderr(error):
        words = line.split()
        code = cli.run(["finetune", *(() if "data=imdb" in words else ("data=files",)), *words])
    print(code, "torch" in sys.modules, time.process_time() - begun < 10, error.getvalue().strip(), sep="|")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    texts = ["很好的酒店", "早餐非常简单", "房间干净", "太贵了"] * 10
    files = {
        "own.csv": "text,label\n" + "fine film,pos\nbad film,neg\n" * 30,
        "other.csv": "utterance,rating\n" + "fine film,pos\nbad film,neg\n",
        "named.csv": "Review Text,Stars\nfine film,1\nbad film,2\n",
        "sts.csv": "Frage1,Frage2,similarity\nfine film,bad film,1.5\n",
        "squad.json": '{"data": [{"title": "a", "paragraphs": [{"context": "b", "qas": [{"id": "1", "question": "c", '
        '"answers": [{"text": "b", "answer_start": 0}]}]}]}]}',
        "zh.conll": "王\tB-PER\n在\tO\n",
        "zh.bmes": "王\tB-PER\n在\tO\n",
        "notes.txt": "fine film\n" * 30,
        "plain.csv": "fine film,pos\nbad film,neg\n",
        "broken.jsonl": '{"text": "a", "label": "b"}\n{"text": "a", "label": "c"}\n{"text": "a", "label"\n',
        "unlabelled.csv": "text,label\n" + "fine film,\nbad film,\n" * 30,
        "same.csv": "text,label\n" + "fine film,pos\n" * 30,
        "late.csv": "text,label\nfine film,pos\nbad film,neg\na,b,c\n",
        "ids.csv": "text,label\n" + "".join(f"fine film,{i}\n" for i in range(50)),
    }
    files["subjects.csv"] = "text,label\n" + "".join(f"a film,a{i}|b{j}\n" for i in range(6) for j in range(6))
    files["strange_columns.csv"] = '"said, in full",good?\na film,1\n'
    files["reviews/good/1.txt"] = files["reviews/bad/1.txt"] = "fine film\n"
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "gbk.csv").write_bytes("".join(f"{text},好\n" for text in texts).encode("gb18030"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_mistakes_in_the_data_are_said_at_once(folder):
    before = {path.name for path in folder.iterdir()}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    call = [sys.executable, "-c", SCRIPT, *MISTAKES]
    found = subprocess.run(call, capture_output=True, text=True, env=environment, cwd=folder, check=True).stdout
    for line, (options, wanted) in zip(found.splitlines(), MISTAKES.items(), strict=True):
        code, torch, quick, said = line.split("|", 3)
        assert (code, torch, quick) == ("2", "False", "True"), (options, line)
        assert said.startswith("error: ") and wanted in said, (options, said)
    assert {path.name for path in folder.iterdir()} == before


def plain(task="classification.Classification", **data):
    node = {"_target_": FILES, "text": None, "label": None, "source": None, "target": None, **data}
    return {"data": node, "task": {"_target_": f"groundup.tasks.{task}"}}


def looked_at(folder, header, task="classification.Classification", **data):
    row = ",".join(f"value {number}" for number in range(len(header.split(","))))
    (folder / "table.csv").write_text(f"{header}\n" + f"{row}\n" * 3)
    config = plain(task, train="table.csv", **data)
    told = check_data(config, "finetune")
    return {role: config["data"][role] for role in ROLES if config["data"].get(role)}, told


@pytest.mark.parametrize(
    ("header", "text", "label"),
    [
        ("id,text,label", "text", "label"),
        ("Class,Sentence", "Sentence", "Class"),
        ("评论,标签", "评论", "标签"),
        ("label,target,text,review", "text", "label"),
        ("LABEL,class,review", "review", "LABEL"),
    ],
)
def test_columns_with_the_usual_names_are_taken_and_told(folder, header, text, label):
    found, told = looked_at(folder, header)
    assert found == {"text": text, "label": label}
    assert told == [f"table.csv: text from column '{text}', label from column '{label}'"]


@pytest.mark.parametrize(
    ("header", "text", "pair"),
    [
        ("text,text_pair,label", "text", "text_pair"),
        ("Sentence2,Sentence1,label", "Sentence1", "Sentence2"),
        ("premise,hypothesis,label", "premise", "hypothesis"),
        ("question1,question2,label", "question1", "question2"),
        ("text_a,text_b,label", "text_a", "text_b"),
        ("Sentence A,Sentence B,label", "Sentence A", "Sentence B"),
        ("sentence1,label", "sentence1", None),
        ("text,text2,label", "text", None),
    ],
)
def test_the_second_text_of_pairs_is_taken_and_told(folder, header, text, pair):
    found, told = looked_at(folder, header)
    assert (found["text"], found.get("text_pair"), found["label"]) == (text, pair, "label")
    assert pair is None or f"text_pair from column '{pair}'" in told[0]
    assert looked_at(folder, header, text=text)[0].get("text_pair") is None  # who names the one text has one


def test_other_tasks_take_other_columns(folder):
    assert looked_at(folder, "src,tgt,text", "translation.Translation")[0] == {"source": "src", "target": "tgt"}
    assert looked_at(folder, "summary,Document", "summarization.Summarization")[0]["source"] == "Document"
    assert looked_at(folder, "text,label", "causal_lm.CausalLM") == ({"text": "text"}, [])
    assert looked_at(folder, "en,zh", "causal_lm.CausalLM", source="en", target="zh")[0] == {
        "source": "en",
        "target": "zh",
    }
    assert looked_at(folder, "text,b,label", text_pair="b")[0] == {"text": "text", "text_pair": "b", "label": "label"}
    assert looked_at(folder, "a,label", text="a")[0] == {"text": "a", "label": "label"}
    assert looked_at(folder, "text,b,label", label="b")[0] == {"text": "text", "label": "b"}


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("sentence,review,label", "which column is the text? Try data.text=sentence or data.text=review"),
        ("text,class,category", "which column is the label? Try data.label=class or data.label=category"),
        ("text,stars", "no column 'label'; it has text, stars; try data.label=stars"),
        ("utterance,label", "no column 'text'; it has utterance, label; try data.text=utterance"),
    ],
)
def test_a_column_that_could_be_another_is_asked_for(folder, header, said):
    with pytest.raises(UserError) as error:
        looked_at(folder, header)
    assert str(error.value) == f"table.csv: {said}"


def test_what_is_proposed_for_a_number_holds_one(folder):
    (folder / "pairs.csv").write_text("id,text,scorer,how alike\na1,fine film,Jo,4.5\n")
    with pytest.raises(UserError, match=r"try 'data\.score=how alike'"):
        check_data(plain("regression.Regression", train="pairs.csv"), "finetune")


def test_a_text_that_has_a_role_already(folder):
    with pytest.raises(UserError, match="column 'text' has another role"):
        looked_at(folder, "text,label", label="text")


def test_a_file_in_two_splits_is_told(folder):
    (folder / "copy.csv").write_bytes((folder / "own.csv").read_bytes())
    told = check_data(plain(train="own.csv", validation="./own.csv", test="copy.csv"), "finetune")
    assert [line.split(":")[0] for line in told[1:]] == [
        "own.csv is validation and train",
        "copy.csv is test and train",
    ]


def test_documents_are_not_read_into_memory(folder):
    import tracemalloc

    (folder / "book.txt").write_text("a line of a book\n" * 1_000_000)
    tracemalloc.start()
    check_data(plain("causal_lm.CausalLM", train="book.txt", validation_share=0.1), "pretrain")
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_the_columns_of_the_run_come_first_in_an_evaluation(folder):
    task = {"_target_": "groundup.tasks.classification.Classification"}
    run = {"data": {"_target_": FILES, "text": "utterance", "label": "rating", "root": "/nowhere"}, "task": task}
    config = {"data": plain(test="other.csv")["data"]}
    assert check_data(config, "evaluate", run) == [
        "other.csv: text from column 'utterance', label from column 'rating'"
    ]
    config["data"] = {"test": "late.csv", "text": None}
    with pytest.raises(UserError, match="no column 'utterance'"):
        check_data(config, "evaluate", run)
    config["data"] = {"test": None, "text": None}
    assert check_data(config, "evaluate", run) == []


def test_predict_names_its_own_options(folder):
    config = {"input": "gbk.csv", "encoding": None, "delimiter": None}
    with pytest.raises(UserError) as error:
        check_data({**config, "columns": None}, "predict")
    assert " encoding=gb18030 (" in str(error.value) and "data." not in str(error.value)
    assert check_data({**config, "columns": None, "encoding": "gbk"}, "predict") == []


def test_every_task_reads_the_columns_that_are_looked_for():
    modules = [module.name for module in pkgutil.iter_modules(groundup.tasks.__path__, "groundup.tasks.")]
    found = [(module, task) for module in modules for task in vars(importlib.import_module(module)).values()]
    tasks = {task for module, task in found if inspect.isclass(task) and issubclass(task, Task)}
    assert len(tasks) > 5
    for task in tasks:
        assert columns_of_task(f"{task.__module__}.{task.__name__}") == task.columns
    assert columns_of_task("mine.Task") == columns_of_task("groundup.tasks.none.Task") == ("text",)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_a_column_that_another_task_learns_from_names_the_task(name, tmp_path):
    path = tmp_path / name
    path.write_text('{"text": "fine", "stars": 4.5}\n' if name == "a.jsonl" else "text,stars\nfine,4.5\n")
    node = {"_target_": FILES, "train": str(path)}
    for named, task, other in (("score", "classification", "regression"), ("label", "regression", "classification")):
        meant = {"score": "label", "label": "score"}[named]
        target = f"groundup.tasks.{task}.{task.title()}"
        with pytest.raises(
            UserError, match=rf"no column .*\. data\.{named} is for task={other}. Try data\.{meant}=stars$"
        ):
            check_data({"data": {**node, named: "stars"}, "task": {"_target_": target}}, "finetune")
