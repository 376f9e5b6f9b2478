"""The command as a user types it: fast, light, and with the exit codes that scripts rely on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from groundup import cli
from groundup.config import files

HEAVY = ("torch", "lightning", "datasets", "sklearn", "wandb", "matplotlib", "transformers", "pydantic", "pandas")


def groundup(*words: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess:
    env = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, "-m", "groundup", *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=120
    )


def imported(*words: str) -> set[str]:
    """Heavy packages in memory after the command."""
    code = f"import sys; from groundup import cli; cli.run({list(words)!r}); print('LOADED', *sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120).stdout
    loaded = set(out.rsplit("LOADED", 1)[1].split())
    return loaded & {*HEAVY, "hydra"}


def fastest(*words: str) -> float:
    """Seconds of the best of three; other tests may be using the cores."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        groundup(*words)
        times.append(time.perf_counter() - start)
    return min(times)


def test_help_lists_every_verb(capsys):
    assert cli.run(["--help"]) == 0
    page = capsys.readouterr().out
    assert all(f"  {verb}" in page for verb in cli.STAGES)
    assert cli.run([]) == 0
    assert capsys.readouterr().out == page


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["pretran"], "unknown verb 'pretran'. Did you mean 'groundup pretrain'?"),
        (["Finetune"], "unknown verb 'Finetune'. Did you mean 'groundup finetune'?"),
        (["eval"], "unknown verb 'eval'. Did you mean 'groundup evaluate'?"),
        (["gen"], "unknown verb 'gen'. Did you mean 'groundup generate'?"),
        (
            ["fit"],
            "unknown verb 'fit'. Two verbs train: groundup pretrain (a text) and groundup finetune (labels or pairs)",
        ),
        (["zzz"], f"unknown verb 'zzz'. Verbs: {', '.join(cli.STAGES)}"),
        (["-m", "pretrain"], f"the verb comes first: groundup VERB -m. Verbs: {', '.join(cli.STAGES)}"),
        (["model=lstm"], "model=lstm needs a verb before it. Try groundup pretrain model=lstm"),
    ],
)
def test_verb_mistakes(capsys, words, line):
    assert cli.run(words) == 2
    assert capsys.readouterr().err == f"error: {line}\n"


def test_version(capsys):
    from groundup import __version__

    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"groundup {__version__}\n"


def test_help_imports_nothing_and_configuration_nothing_heavy():
    assert imported("--help") == set()
    assert imported("pretrain", "--help") == set()
    assert imported("pretrain", "--cfg", "job") == {"hydra"}


def test_help_and_configuration_are_fast():
    # 0.3 s and 1 s on a quiet machine; three times that where other tests run beside.
    assert fastest("--help") < 0.9
    assert fastest("pretrain", "--help") < 0.9
    assert fastest("pretrain", "--cfg", "job") < 3.0


@pytest.mark.parametrize("verb", cli.STAGES)
def test_every_verb_has_a_manual_and_a_configuration(verb, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.run([verb, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"groundup {verb}: ")
    assert cli.run([verb, "--cfg", "job"]) == 0
    assert "paths:" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_flag_may_stand_between_the_words(capsys):
    for words in (["data=trec6", "--cfg", "job"], ["--cfg", "job", "seed=7"], ["seed=7", "-c", "job", "threads=1"]):
        assert cli.run(["pipeline", "experiment=learning_curve", *words]) == 0
        assert "learning_curve:" in capsys.readouterr().out


def test_flags_of_hydra_keep_working(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.run(["pretrain", "--cfg", "job", "--resolve", "-p", "paths"]) == 0
    assert "logs: logs" in capsys.readouterr().out
    for flags in (["--info", "searchpath"], ["--hydra-help"], ["seed=2", "--help"]):
        try:
            code = cli.run(["pretrain", *flags])
        except SystemExit as exit:
            code = exit.code
        assert code in (0, None)
        assert capsys.readouterr().out


def test_completion_of_verbs_choices_and_keys():
    def complete(line: str) -> list[str]:
        return groundup("-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line))).stdout.split()

    assert complete("groundup ") == list(cli.STAGES)
    assert complete("groundup pre") == ["pretrain", "predict"]
    assert "model=transformer_decoder" in complete("groundup pretrain model=")
    assert "monitor_mode=" in complete("groundup pretrain monitor_m")


def test_exit_codes_reach_the_shell(tmp_path):
    assert groundup("--help").returncode == 0
    wrong = groundup("pretrain", "modle=small", cwd=tmp_path)
    assert wrong.returncode == 2
    assert wrong.stderr == "error: modle=small: no key or group 'modle'; did you mean 'model'? Try model=small\n"
    missing = groundup("evaluate", cwd=tmp_path)
    assert missing.returncode == 2
    assert missing.stderr == "error: run: no value (conf/evaluate.yaml). Try run=last\n"


def test_openmp_does_not_spin_unless_the_user_says_so(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    cli.prepare_environment()
    assert os.environ["GOMP_SPINCOUNT"] == "10000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    cli.prepare_environment()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    cli.prepare_environment()
    assert "GOMP_SPINCOUNT" not in os.environ


def test_env_file_fills_in_and_never_overrides(monkeypatch, tmp_path):
    (tmp_path / "own.env").write_text("GROUNDUP_TEST_A=file\nGROUNDUP_TEST_B=file\n")
    monkeypatch.setenv("GROUNDUP_ENV", str(tmp_path / "own.env"))
    monkeypatch.setenv("GROUNDUP_TEST_A", "shell")
    monkeypatch.setenv("GROUNDUP_TEST_B", "")
    monkeypatch.delenv("GROUNDUP_TEST_B")
    cli.prepare_environment()
    assert os.environ["GROUNDUP_TEST_A"] == "shell"
    assert os.environ["GROUNDUP_TEST_B"] == "file"
    monkeypatch.delenv("GROUNDUP_TEST_B")


def test_env_file_of_the_current_folder_is_nobodys(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "PACKAGE", tmp_path / "src" / "groundup")
    (tmp_path / ".env").write_text("GROUNDUP_TEST_A=file\n")
    cli.prepare_environment()
    assert "GROUNDUP_TEST_A" not in os.environ
    (tmp_path / "pyproject.toml").touch()  # unless it is the checkout
    monkeypatch.setenv("GROUNDUP_TEST_A", "")
    monkeypatch.delenv("GROUNDUP_TEST_A")
    cli.prepare_environment()
    assert os.environ["GROUNDUP_TEST_A"] == "file"
    monkeypatch.delenv("GROUNDUP_TEST_A")


@pytest.mark.parametrize("name", ["GROUNDUP_ALLOW", "GROUNDUP_CONF", "PYTHONPATH", "LD_PRELOAD", "PATH"])
def test_env_file_cannot_say_what_code_is_run(monkeypatch, tmp_path, capsys, name):
    (tmp_path / "own.env").write_text(f"{name}=torch.utils\n")
    monkeypatch.setenv("GROUNDUP_ENV", str(tmp_path / "own.env"))
    before = os.environ.get(name)
    assert cli.run(["evaluate", "run=x"]) == 2
    assert f"own.env sets {name}, which only the shell can. Try export {name}=..." in capsys.readouterr().err
    assert os.environ.get(name) == before


def test_configuration_folder(monkeypatch, tmp_path, repository):
    monkeypatch.delenv("GROUNDUP_CONF", raising=False)
    assert cli.conf_dir() == repository / "conf"
    monkeypatch.setenv("GROUNDUP_CONF", str(tmp_path))
    assert cli.conf_dir() == tmp_path
