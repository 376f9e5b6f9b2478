"""What a stranger may put into a run folder is read as data, bounded, or refused in one line."""

from __future__ import annotations

import os
import time

import pytest

from groundup.errors import UserError
from groundup.runs.folder import RunFolder
from groundup.system import files
from groundup.system.files import read_json, read_text, read_yaml, require_own_files, write_text

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
NOT_PLAIN = {
    "aliases": LAUGHS,
    "merge keys": "a: &a {x: 1}\nb:\n  <<: *a\n",
    "an object": "a: !!python/object/apply:os.mkdir [/tmp/ran]\n",
    "a set": "a: !!set {x, y}\n",
    "binary": "a: !!binary aGVsbG8=\n",
    "depth": "a: " + "[" * 5000 + "]" * 5000,
    "a digit too many": "a: " + "9" * 5000,
    "a list": "- a\n- b\n",
    "a word": "hello",
    "no YAML": "a: [1, 2\n",
    "a NUL": "a: \0",
}


def refused(read, path) -> str:
    with pytest.raises(UserError) as error:
        read(path)
    message = str(error.value)
    assert "\n" not in message and path.name in message and len(message) < 400
    return message


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_config_that_no_run_wrote_is_refused(name, tmp_path):
    run = RunFolder(tmp_path)
    run.config_file.write_text(NOT_PLAIN[name], encoding="utf-8")
    refused(lambda _: run.read_config(), run.config_file)


def test_dates_and_numbers_of_a_config_stay_what_they_were(tmp_path):
    run = RunFolder(tmp_path)
    config = {
        "day": "2020-01-01", "lr": 3e-3, "text": "3e-3", "yes": True, "said": "yes", "n": 7, "none": None, "null": "null",
        "code": "${oc.env:HOME}", "time": "12:30:00", "more": ["=", "<<", "~", "!!set", "&a", "*a", "1_000"],
    }  # fmt: skip
    run.write_config(config)
    assert run.read_config() == config
    run.config_file.write_text("day: 2020-01-01\nlr: 3e-3\ntime: 1:30\n", encoding="utf-8")
    assert run.read_config() == {"day": "2020-01-01", "lr": 3e-3, "time": 90}


@pytest.mark.parametrize("text", ["{", "[1,", "[" * 200_000, '{"a": ' + "9" * 5000 + "}", "", "\0"])
def test_damaged_json_is_refused_in_one_line(text, tmp_path):
    (tmp_path / "status.json").write_text(text, encoding="utf-8")
    refused(read_json, tmp_path / "status.json")


def test_json_of_another_type_is_refused(tmp_path):
    (tmp_path / "status.json").write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(UserError, match="a list, not a dict"):
        RunFolder(tmp_path).read_json("status.json", {})
    assert RunFolder(tmp_path).status() == {}  # one damaged status does not hide the other runs


def test_what_is_no_file_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "config.yaml")
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    (tmp_path / "folder.json").mkdir()
    for name in ("config.yaml", "zero.json", "folder.json"):
        started = time.monotonic()
        refused(read_text, tmp_path / name)
        assert time.monotonic() - started < 5
    refused(lambda _: RunFolder(tmp_path).read_config(), tmp_path / "config.yaml")


def test_size_is_looked_at_before_the_content(tmp_path, monkeypatch):
    with open(tmp_path / "big.yaml", "wb") as file:
        file.truncate(1 << 40)  # a sparse terabyte
    assert "1,099,511,627,776 bytes" in refused(read_yaml, tmp_path / "big.yaml")
    assert "bytes" in refused(read_json, tmp_path / "big.yaml")
    (tmp_path / "latin.json").write_bytes("é".encode("latin-1"))
    assert "no UTF-8" in refused(files.read_text, tmp_path / "latin.json")


@pytest.mark.parametrize("name", ["run.log", "tokenizer.json", "samples/step_000000010.txt", "samples", "checkpoints"])
def test_a_run_with_links_does_not_go_on(name, tmp_path):
    run, outside = tmp_path / "run", tmp_path / "outside"
    (run / name).parent.mkdir(parents=True)
    outside.write_text("mine", encoding="utf-8")
    (run / name).symlink_to(outside)
    with pytest.raises(UserError, match="is a link to"):
        require_own_files(run)
    (run / name).unlink()
    require_own_files(run)


@pytest.mark.parametrize("step", ["", "pretrained", "labelled_all/finetuned"])
def test_links_of_wandb_among_its_own_files_are_left_alone(step, tmp_path):
    wandb = tmp_path / step / "wandb"
    own = wandb / "offline-run-1" / "logs"
    own.mkdir(parents=True)
    (wandb / "latest-run").symlink_to("offline-run-1")
    require_own_files(tmp_path)
    elsewhere = tmp_path.parent / f"{tmp_path.name}.log"
    elsewhere.write_text("of W&B", encoding="utf-8")
    (own / "debug-core.log").symlink_to(elsewhere)  # W&B makes it, so every run that was killed has one
    require_own_files(tmp_path)
    assert not (own / "debug-core.log").is_symlink() and elsewhere.read_text(encoding="utf-8") == "of W&B"
    assert (wandb / "latest-run").is_symlink()
    (tmp_path / "own").symlink_to(wandb)
    with pytest.raises(UserError, match="is a link to"):
        require_own_files(tmp_path)


def test_a_link_in_place_of_a_file_is_replaced_not_followed(tmp_path):
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.write_text("mine", encoding="utf-8")
    inside.symlink_to(outside)
    write_text(inside, "theirs")
    assert outside.read_text(encoding="utf-8") == "mine"
    assert inside.read_text(encoding="utf-8") == "theirs" and not inside.is_symlink()
