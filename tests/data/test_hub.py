"""Hub data sets, without the hub: a folder in its layout, and the answer when nothing can be reached."""

import json
import time

import pytest

from groundup.data.sources import hub
from groundup.data.sources.files import Files
from groundup.data.sources.labels import label_names
from groundup.errors import UserError

CARD = """---
configs:
- config_name: default
  data_files:
  - {split: train, path: train.jsonl}
  - {split: validation, path: dev.jsonl}
  - {split: test, path: test.jsonl}
dataset_info:
  features:
  - {name: sentence, dtype: string}
  - name: label
    dtype:
      class_label:
        names: {'0': negative, '1': positive}
---
"""


@pytest.fixture
def folder(tmp_path):
    for split, labels in {"train": [0, 1, 1], "dev": [1, 0], "test": [-1, -1]}.items():
        rows = [{"sentence": f"{split} {i}", "label": label} for i, label in enumerate(labels)]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "README.md").write_text(CARD)
    return tmp_path


@pytest.mark.parametrize("streaming", [False, True])
def test_columns_are_renamed_classes_named_and_hidden_labels_left_out(folder, streaming):
    data = Files(hub=str(folder), hub_columns={"sentence": "text"}, label="label", streaming=streaming)
    assert data.splits() == ["train", "validation"]
    assert list(data.rows("validation")) == [
        {"text": "dev 0", "label": "positive"},
        {"text": "dev 1", "label": "negative"},
    ]
    assert label_names(data) == (("negative", "positive"), (1, 2))
    assert data.fingerprint("train") != data.fingerprint("validation")


def test_text_alone_may_use_the_unlabelled_split(folder):
    data = Files(hub=str(folder), text="sentence")
    assert data.splits() == ["train", "validation", "test"]
    assert [row["text"] for row in data.rows("test")] == ["test 0", "test 1"]


def test_missing_column_names_those_of_the_hub(folder):
    data = Files(hub=str(folder), text="text")
    with pytest.raises(UserError, match=r"no column 'text'; it has sentence, label; try data.text=sentence"):
        list(data.rows("train"))


def test_a_file_that_exists_takes_the_place_of_a_split(folder):
    mine = folder / "mine.csv"
    mine.write_text("text,label\nmy own,positive\n")
    local = {"train": "not/here.csv", "test": "nor/here.csv"}
    data = Files(hub=str(folder), hub_columns={"sentence": "text"}, label="label", local=local, test=str(mine))
    assert data.splits() == ["train", "validation", "test"]
    assert list(data.rows("test")) == [{"text": "my own", "label": "positive"}]
    assert len(list(data.rows("train"))) == 3


def test_a_file_that_was_named_and_is_not_there_is_told(folder):
    data = Files(hub=str(folder), hub_columns={"sentence": "text"}, label="label", train=str(folder / "tarin.jsonl"))
    with pytest.raises(UserError, match=r"no file .*tarin.jsonl; .* has .*train.jsonl"):
        data.rows("train")


def test_root_goes_before_the_hub(folder):
    (folder / "local.txt").write_text("local words")
    (folder / "mine.txt").write_text("my words")
    data = Files(
        hub="nobody/nothing", root=str(folder), local={"train": "local.txt", "test": "local.txt"}, test="mine.txt"
    )
    assert [list(data.rows(split)) for split in data.splits()] == [[{"text": "local words"}], [{"text": "my words"}]]


def test_a_revision_and_a_folder_of_it_may_be_named(monkeypatch):
    import datasets

    asked = []
    monkeypatch.setattr(hub, "_reachable", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", lambda *name, **how: asked.append((name, how)) or {})
    hub.Hub("owner/set@refs/convert/parquet", "part", {}, {}, False).splits()
    hub.Hub("owner/set", "part", {}, {}, False).splits()
    assert asked == [
        (("owner/set",), {"data_dir": "part", "revision": "refs/convert/parquet", "streaming": False}),
        (("owner/set",), {"name": "part", "revision": None, "streaming": False}),
    ]


@pytest.mark.parametrize("told", [True, False])
def test_unreachable_hub_is_one_line_at_once(monkeypatch, told):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", told)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    monkeypatch.setattr("urllib.request.getproxies", dict)
    import datasets  # noqa: F401  (its import is not what is timed)

    start = time.perf_counter()
    with pytest.raises(UserError) as error:
        Files(hub="nobody/nothing-at-all").splits()
    assert time.perf_counter() - start < 3
    said = str(error.value)
    assert "\n" not in said and "data.root=FOLDER" in said and "data.train=FILE" in said
    assert ("HF_HUB_OFFLINE is set" if told else "no connection") in said


def test_a_host_that_answers_is_reachable(monkeypatch):
    import socket

    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert hub._reachable()
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
        proxy = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr("urllib.request.getproxies", lambda: {"http": proxy})
        monkeypatch.setattr("urllib.request.proxy_bypass", lambda host: False)
        assert hub._reachable()


def test_broken_data_set_is_one_line(folder):
    (folder / "train.jsonl").write_text("{broken")
    with pytest.raises(UserError, match=r"Check data.hub"):
        Files(hub=str(folder)).splits()


@pytest.fixture(params=["translation", "struct"])
def translations(tmp_path, request):
    feature = (
        "dtype: {translation: {languages: [en, de]}}"
        if request.param == "translation"
        else "struct: [{name: en, dtype: string}, {name: de, dtype: string}]"
    )
    (tmp_path / "train.jsonl").write_text('{"id": "1", "translation": {"en": "Hi.", "de": "Hallo."}}\n')
    card = ["configs:", "- {config_name: default, data_files: [{split: train, path: train.jsonl}]}"]
    card += ["dataset_info:", "  features:", "  - {name: id, dtype: string}", f"  - {{name: translation, {feature}}}"]
    (tmp_path / "README.md").write_text("\n".join(["---", *card, "---", ""]))
    return tmp_path


@pytest.mark.parametrize("streaming", [False, True])
def test_nested_columns_are_paths(translations, streaming):
    data = Files(hub=str(translations), source="translation.en", target="translation.de", streaming=streaming)
    assert list(data.rows("train")) == [{"source": "Hi.", "target": "Hallo."}]
    renamed = {"translation.en": "en", "translation.de": "de"}
    data = Files(hub=str(translations), hub_columns=renamed, source="en", target="de", streaming=streaming)
    assert list(data.rows("train")) == [{"source": "Hi.", "target": "Hallo."}]
    with pytest.raises(UserError, match=r"it has id, translation.en, translation.de; try data.target=translation.de"):
        list(Files(hub=str(translations), source="translation.en", target="translation.fr").rows("train"))


def test_references_that_a_copy_on_the_hub_lacks_are_empty(folder, caplog):
    data = Files(hub=str(folder), source="sentence", target="label", references="references")
    with caplog.at_level("INFO"):
        rows = list(data.rows("validation"))
    assert [row["references"] for row in rows] == [[], []]
    assert "no column 'references'" in caplog.text


@pytest.mark.parametrize("streaming", [False, True])
def test_lists_of_class_numbers_become_lists_of_names(tmp_path, streaming):
    (tmp_path / "train.jsonl").write_text('{"tokens": ["EU", "rejects"], "ner_tags": [1, 0]}\n')
    names = "class_label: {names: {'0': O, '1': B-ORG}}"
    card = ["configs:", "- {config_name: default, data_files: [{split: train, path: train.jsonl}]}"]
    card += ["dataset_info:", "  features:", "  - {name: tokens, list: string}"]
    card += ["  - name: ner_tags", "    list:", f"      {names}"]
    (tmp_path / "README.md").write_text("\n".join(["---", *card, "---", ""]))
    data = Files(hub=str(tmp_path), tokens="tokens", tags="ner_tags", streaming=streaming)
    assert list(data.rows("train")) == [{"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]}]
