"""What every test stands on: no network, no account, none of the user's folders, one thread."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Set at import, before a test imports torch, wandb or datasets, and inherited by workers and the children of tests.
if "GROUNDUP_TESTS" not in os.environ:
    _scratch = tempfile.TemporaryDirectory(prefix="groundup-tests-")
    os.environ["GROUNDUP_TESTS"] = _scratch.name
SCRATCH = Path(os.environ["GROUNDUP_TESTS"])
os.environ.update(
    GROUNDUP_CACHE=str(SCRATCH / "cache"),  # never the user's; one for all workers, so that data are prepared once
    HF_HOME=str(SCRATCH / "huggingface"),
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    HF_DATASETS_CACHE=str(SCRATCH / "huggingface" / "datasets"),
    WANDB_MODE="offline",
    WANDB_SILENT="true",
    TOKENIZERS_PARALLELISM="false",
    NO_COLOR="1",
)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # test workers share the cores; more threads only wait for each other
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # and while they wait, they leave the core to others
os.environ.pop("WANDB_API_KEY", None)
os.environ.pop("COLUMNS", None)

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(signal, "SIGHUP"):  # ignored under nohup, which child processes that are to obey it would inherit
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in what a shell has put into the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder with ``pyproject.toml``, ``conf/`` and ``src/``."""
    return REPOSITORY


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder with real data sets as ``NAME/SPLIT.jsonl.gz``; a test that wants it is skipped where there is none."""
    root = Path(os.environ.get("GROUNDUP_DATA_ROOT") or REPOSITORY.parent / "shared" / "data")
    if not root.is_dir():
        pytest.skip("no local data sets: set GROUNDUP_DATA_ROOT to a folder with NAME/SPLIT.jsonl.gz")
    return root


@pytest.fixture
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for this test alone."""
    monkeypatch.setenv("GROUNDUP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Writes a module of the user's own, by name and source, where Python finds it until the test ends."""
    package, written = tmp_path / "package", []

    def write(name: str, source: str) -> None:
        package.mkdir(exist_ok=True)
        (package / f"{name}.py").write_text(source, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)
        written.append(name)

    monkeypatch.syspath_prepend(str(package))
    yield write
    for name in written:  # or the next test that writes one of this name would be given this one
        sys.modules.pop(name, None)
