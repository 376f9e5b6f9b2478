"""Where a result came from: code, packages, data, machine and command."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

from groundup import __version__
from groundup.runs.folder import RunFolder
from groundup.system.files import write_text
from groundup.system.secrets import mask, mask_text

_PACKAGES = (
    "torch lightning hydra-core omegaconf torchmetrics wandb datasets tokenizers pydantic rich numpy scikit-learn "
    "scipy sacrebleu babel"
).split()
_DIFF_LIMIT = 1_000_000  # bytes of uncommitted changes that are kept


def collect(run: RunFolder, **facts: object) -> dict:
    """Write ``provenance.json``, and ``provenance.diff`` when the code has uncommitted changes.

    Args:
        facts: plain values that only the caller knows, such as ``data={"train": fingerprint}``, ``tokenizer=fingerprint``
            or ``parameters=123``.

    A resumed run keeps what was written before under ``earlier``. Returns what was written.
    """
    record = {
        "collected": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "groundup": __version__,
        "git": _git(run),
        **facts,
        "packages": _packages(),
        "machine": _machine(),
        "command": run.read_command(),
    }
    before = run.read_json("provenance.json")
    if before:
        record["earlier"] = [*before.pop("earlier", []), before]
    masked = {name: mask(value, name) for name, value in record.items()}
    run.write_json("provenance.json", masked)
    return masked


def _git(run: RunFolder) -> dict | None:
    """Commit and state of the checkout that this package runs from; None when it runs from an installed copy."""
    code = Path(__file__).resolve().parents[1]
    if _run_git(code, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    sha, changed = _run_git(code, "rev-parse", "HEAD"), _run_git(code, "status", "--porcelain", "--", ":/")
    if changed:
        diff = mask_text(_run_git(code, "diff", "HEAD", "--", ":/") or "").encode()
        cut = b"\n[cut here: more than 1 MB]\n" if len(diff) > _DIFF_LIMIT else b""
        untracked = "".join(f"# not tracked: {line[3:]}\n" for line in changed.splitlines() if line.startswith("??"))
        kept = diff[:_DIFF_LIMIT].decode(errors="ignore") + cut.decode()
        write_text(run.path / "provenance.diff", untracked + kept)
    return {"sha": (sha or "").strip() or None, "dirty": bool(changed)}


def _run_git(folder: Path, *arguments: str) -> str | None:
    """Output of git, or None when it is missing, slow or fails."""
    command = ["git", "-C", str(folder), *arguments]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # `git status` would otherwise write to the index
    try:
        done = subprocess.run(command, capture_output=True, timeout=20, check=True, env=environment)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", errors="replace")


def _packages() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _machine() -> dict:
    machine: dict[str, object] = {"system": platform.platform(), "cpu": _cpu_model(), "cores": _cores()}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        machine["memory_gb"] = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)
    torch = sys.modules.get("torch")  # provenance alone is no reason to load it
    if torch is not None:
        machine["torch_threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            machine["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return machine


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
