"""The verbs, and ``conf/`` as a folder of files: where it is, its groups and choices, and which file a value comes from.

Needs no YAML reader, and imports nothing: all that is above stands on it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
STAGES: dict[str, tuple[str, str]] = {
    "pretrain": ("groundup.stages.train", "train a language model on running text"),
    "finetune": ("groundup.jobs.finetune", "train a task, from random weights or from init_from=RUN"),
    "distill": (
        "groundup.stages.distill",
        "train a small model to answer as a finished run does: teacher=RUN size=nano",
    ),
    "compress": ("groundup.stages.compress", "make a finished run smaller: run=RUN method=quantize"),
    "baseline": ("groundup.stages.baseline", "fit the classical model of a task: data=NAME"),
    "ensemble": ("groundup.stages.ensemble", "let classifiers answer together: members=[RUN,RUN]"),
    "evaluate": ("groundup.stages.evaluate", "score a finished run, on its own data or on other"),
    "predict": ("groundup.stages.predict", "answer for each row of a file: input=FILE output=FILE"),
    "compare": ("groundup.stages.compare", "runs side by side, with paired tests: compare RUN RUN"),
    "export": ("groundup.stages.export", "a finished run for other programs: run=RUN format=onnx output=model.onnx"),
    "generate": ("groundup.stages.generate", "continue a prompt: run=RUN prompt=TEXT"),
    "serve": ("groundup.serving.serve", "finished runs behind a page and JSON: run=RUN"),
    "import": ("groundup.stages.importing", "weights that others trained, as a run: path=FOLDER"),
    "resume": ("groundup.jobs.resume", "go on with an interrupted run or sweep: run=RUN, sweep=DIR"),
    "rerun": ("groundup.jobs.rerun", "a finished run once more, and whether its figures are the same: run=RUN"),
    "promote": ("groundup.jobs.promote", "the best as an experiment: sweep=SWEEP name=NAME"),
    "pipeline": ("groundup.jobs.pipeline", "run several stages in order: experiment=demo"),
    "report": ("groundup.jobs.report", "report.html again, or all runs on a local page: report --serve"),
    "dashboard": ("groundup.stages.dashboard", "workspaces and a report of W&B, made from conf/dashboard"),
    "sync": ("groundup.stages.sync", "upload to W&B what was logged offline"),
    "runs": ("groundup.stages.listing", "all runs, the newest first: runs data=NAME state=done"),
    "plan": ("groundup.jobs.plan", "what a training would take: plan pretrain size=base"),
    "doctor": ("groundup.jobs.doctor", "what this machine can do, and how to mend what it cannot"),
}

CHANGEABLE = ("budget", "scheduler", "num_workers", "trainer")  # what may be another where a training goes on
WITHOUT_FOLDER = (
    "predict",
    "export",
    "compare",
    "generate",
    "serve",
    "resume",
    "rerun",
    "promote",
    "dashboard",
    "sync",
    "report",
    "runs",
    "doctor",
    "plan",
)  # verbs that leave behind only what they are asked for
# Layers above the groups; the later ones win, so they are asked first.
LAYERS = ("debug", "local", "experiment")


def conf_dir() -> Path:
    """The folder of YAML: ``$GROUNDUP_CONF``, else ``conf/`` of the checkout, else the copy inside the installed package."""
    if named := os.environ.get("GROUNDUP_CONF"):
        return Path(named).expanduser().resolve()
    return checkout() / "conf"


def checkout() -> Path:
    """The folder of the project's source; of an installed package, the package itself."""
    above = PACKAGE.parents[1]
    return above if (above / "pyproject.toml").is_file() else PACKAGE


def groups(folder: Path) -> dict[str, list[str]]:
    """Group -> its choices. Files that only other choices build on (``model/recurrent``) are left out."""
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.glob("*/**/*.yaml")):
        found.setdefault(file.parent.relative_to(folder).as_posix(), []).append(file)
    return {group: [file.stem for file in files if not is_base(file, files)] for group, files in found.items()}


def is_base(file: Path, siblings: Sequence[Path]) -> bool:
    """True for ``_name.yaml``, and for a file without a target of its own that a sibling with a target includes."""
    if file.stem.startswith("_"):
        return True
    return not has_target(file) and any(has_target(other) and file in bases(other) for other in siblings)


def has_target(file: Path) -> bool:
    return bool(re.search(r"^_target_:", file.read_text(encoding="utf-8"), re.MULTILINE))


def target_of(file: Path) -> str | None:
    """The class that a choice names, itself or by what it includes."""
    found = re.search(r"^_target_:\s*([\w.]+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else next(filter(None, map(target_of, bases(file))), None)


def bases(file: Path) -> list[Path]:
    """Files beside ``file`` that its defaults list includes by name (``transformer``, ``transformer@encoder``)."""
    if not file.is_file():
        return []
    names = re.findall(r"^\s*-\s+([\w/]+)(?:@[\w.]+)?\s*(?:#.*)?$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return [base for name in names if name != "_self_" and (base := file.parent / f"{name}.yaml").is_file()]


def experiment_stage(folder: Path, name: str) -> str | None:
    """The verb that an experiment says it is for (``stage: pipeline``); None: it does not say."""
    file = folder / "experiment" / f"{name}.yaml"
    found = re.search(r"^stage:\s*(\w+)", file.read_text(encoding="utf-8"), re.MULTILINE) if file.is_file() else None
    return found[1] if found else None


def for_another_verb(name: str, verb: str) -> str:
    """The line about an experiment that is for ``verb``."""
    return f"experiment={name}: it is for groundup {verb}. Try groundup {verb} experiment={name}"


def stage_keys(folder: Path, stage: str) -> set[str]:
    """The root keys of a stage: its own, those of the files that it includes, and its groups. Empty: no such stage."""
    main = folder / f"{stage}.yaml"
    keys: set[str] = set()
    for file in [main, *bases(main)]:
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        keys |= set(re.findall(r"^(\w+):", text, re.MULTILINE))
        for group, package in re.findall(r"^\s*-\s+(?:optional\s+)?([\w/]+)(?:@([\w.]+))?\s*:", text, re.MULTILINE):
            keys.add(package or group)
            if group not in (*LAYERS, "hydra"):
                keys |= {key for choice in (folder / group).glob("*.yaml") for key in global_keys(choice)}
    return keys - {"defaults"} - left_empty(folder, stage)


def left_empty(folder: Path, stage: str) -> set[str]:
    """Groups that a task may choose from and the stage has no use for: ``- override model: null`` in its defaults list."""
    file = folder / f"{stage}.yaml"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return set(re.findall(r"^\s*-\s+override\s+(\w+):\s*null\b", text, re.MULTILINE))


def brought_keys(folder: Path, stage: str) -> set[str]:
    """Root keys that a choice of a stage may bring: the ``tokenizer`` of ``baseline=kneser_ney``."""
    choices = [file for group in stage_keys(folder, stage) for file in (folder / group).glob("*.yaml")]
    pattern = re.compile(r"^\s*-\s+/\w+@_global_\.(\w+)\s*:", re.MULTILINE)
    return {key for file in choices for key in pattern.findall(file.read_text(encoding="utf-8"))}


def global_keys(file: Path) -> list[str]:
    """Root keys that a choice brings beside its group (``wandb`` of ``logger=wandb``)."""
    text = file.read_text(encoding="utf-8")
    return re.findall(r"^(\w+):", text, re.MULTILINE) if text.startswith("# @package _global_") else []


def origin(
    folder: Path, path: str, stage: str, overrides: Sequence[str], choices: Mapping[str, str | None]
) -> str | None:
    """The file that sets the key ``path`` (``conf/model/bilstm_encoder.yaml``), or None: the command line, or unknown."""
    path = path.split("[")[0]
    if any(override.lstrip("+~").split("=")[0] == path for override in overrides):
        return None
    group, key = path.split(".")[0], re.escape(path.split(".")[-1])
    names = [f"{layer}/{choices[layer]}" for layer in LAYERS if choices.get(layer)]
    names += [f"{group}/{choices[group]}"] if choices.get(group) else []
    chosen = [folder / f"{name}.yaml" for name in [*names, stage]]
    for file in [candidate for main in chosen for candidate in (main, *bases(main))]:
        if file.is_file() and re.search(rf"^\s*['\"]?{key}['\"]?\s*:", file.read_text(encoding="utf-8"), re.MULTILINE):
            return f"{folder.name}/{file.relative_to(folder).as_posix()}"
    return None


def extra_config_dirs() -> list[str]:
    """Folders that the running application was given with ``--config-dir`` or ``hydra.searchpath``."""
    if "hydra" not in sys.modules:
        return []
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return []
    sources = HydraConfig.get().runtime.config_sources
    extra = [s for s in sources if s.provider == "command-line" or s.provider.startswith("hydra.searchpath")]
    return [f"{source.schema}://{source.path}" for source in extra]
