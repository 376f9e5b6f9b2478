"""All that can be checked before a run has a folder, the cheap first: torch is not imported for a wrong name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

from groundup.config.budget import budget_of, in_minutes_only, one_unit
from groundup.config.check import check, check_keys, node_mistakes, refuse
from groundup.config.files import conf_dir, stage_keys
from groundup.config.tree import Config
from groundup.data.precheck import check_data
from groundup.errors import UserError
from groundup.jobs.idle import check_idle_steps
from groundup.jobs.steps import at_sizes, changed, compose_steps
from groundup.jobs.sweep_plan import FILE as PLAN
from groundup.jobs.sweep_plan import find_sweep
from groundup.metrics.estimate import check_monitor
from groundup.runs.reference import Use, find_run, unfit
from groundup.runs.systems import find_systems
from groundup.stages.outputs import STANDARD, check_input, check_output, standard_input
from groundup.system.hardware import check_hardware
from groundup.system.signals import held_back

OUTPUTS = {"predict": (".jsonl", ".txt"), "export": (".onnx",), "compare": (".html", ".md", ".tex", ".csv")}  # suffixes
FORMATS = {  # of those that the key knows
    "compare": ("md", "latex", "csv", "html"),
    "report": ("html", "md", "latex", "csv"),
    "export": ("onnx", "hf"),
}


def preflight(
    stage: str,
    plain: dict[str, Any],
    overrides: Sequence[str],
    choices: Mapping[str, str | None],
    *,
    resuming: bool = False,
    later: Sequence[Path] = (),
) -> list[str]:
    """Check a resolved configuration (see ``compose.resolved``), and fill in what it leaves open.

    That is the unit of its budget, and the columns that its files turn out to have.

    ``overrides``, ``choices``, ``resuming``: as in ``Job``; what only the beginning of a run needs may be gone by now.
    ``later``: folders that earlier steps of a pipeline have yet to make.
    With ``folds`` no share of train is held out for validation beside them.
    Returns lines to tell once there is a log.

    Raises:
        UserError: the first mistake; nothing was written.
    """
    check_choices(stage, overrides)
    check_deleted(stage, overrides)
    check_format(stage, plain)
    if "budget" in plain:
        plain["budget"] = budget_of(plain["budget"], overrides)
    check_keys(plain, stage, overrides, choices)
    if stage == "pipeline":
        check_bound(plain.get("budget") or {}, plain.get("steps") or {})
    elif "budget" in plain:
        one_unit(plain["budget"])
    check_files(stage, plain)
    if not resuming:
        check_runs(stage, plain, later)
        check_lora(plain)
        check_vectors(plain)
        if "steps" in plain:
            check_steps(plain)
    check_hardware(plain)
    refuse(node_mistakes(plain.get("data"), "data", {}), stage, overrides, choices)
    if plain.get("input") == str(STANDARD):
        plain["input"] = str(standard_input())
    made_later = any(str(folder) in str(plain.get("data")) for folder in later)
    if plain.get("folds") and not resuming:
        check_folds(plain)
    if plain.get("folds") and "validation_share" in (plain.get("data") or {}):
        plain["data"]["validation_share"] = None  # the folds take its place
    skipped = resuming or made_later  # a run that goes on has its data in the cache
    told = [] if skipped else check_data(plain, stage, config_of_run(stage, plain))
    with held_back():
        check(plain, stage, overrides, choices)  # imports what the configuration names, torch with it: keep it last
    if plain.get("teacher"):
        from groundup.stages.teacher import check_student  # imports torch

        check_student(Config(plain))
    if stage == "ensemble" and not any(str(folder) in str(plain["members"]) for folder in later):
        from groundup.stages.ensemble import check_members  # imports torch

        check_members(Config(plain))
    check_monitor(plain)
    if stage == "baseline":
        check_baseline(plain, choices)
    return told


def check_baseline(plain: Mapping, choices: Mapping[str, str | None]) -> None:
    """Raises UserError for a classical model of another task."""
    from groundup.stages.build import check_baseline_fits  # imports torch

    target = (plain.get("baseline") or {}).get("_target_")
    check_baseline_fits(Config(plain), choices.get("baseline") or target)


def check_bound(budget: Mapping, steps: Mapping) -> None:
    """Raises UserError for a pipeline that is bounded by anything but minutes."""
    for unit, amount in budget.items():
        if amount is not None and unit != "minutes":
            raise UserError(in_minutes_only(unit, amount, steps))
    if budget.get("minutes") is not None:
        one_unit(budget)


def check_choices(stage: str, overrides: Sequence[str]) -> None:
    """Raises UserError for a choice that Hydra finds and nobody can use alone: a file that others build on."""
    from groundup.config.composable import groups
    from groundup.config.mistakes import unknown_choice

    known = groups()
    for word in overrides:
        group, _, name = word.lstrip("+").partition("=")
        if (conf_dir() / group / f"{name}.yaml").is_file() and name not in known.get(group, [name]):
            raise UserError(unknown_choice(f"{group}/{name}", "", known[group], stage, overrides))


def check_deleted(stage: str, overrides: Sequence[str]) -> None:
    """Raises UserError for ``~KEY`` of what every run of the stage reads, and of the class of a part."""
    from groundup.config.composable import groups

    for word in overrides:
        key = word.removeprefix("~").partition("=")[0]
        if not word.startswith("~") or (key not in stage_keys(conf_dir(), stage) and not key.endswith("._target_")):
            continue
        advice = f"Try {key}=none" if "none" in groups().get(key, ()) else "Leave it out"
        raise UserError(f"{word}: groundup {stage} reads {key}. {advice}")


def check_format(stage: str, plain: Mapping) -> None:
    """Raises UserError for a format that the verb does not write."""
    known = FORMATS.get(stage, ())
    if known and plain.get("format") not in known:
        raise UserError(f"format={plain.get('format')}: must be one of {', '.join(known)}. Try format={known[0]}")
    if stage == "report" and plain.get("figures") and plain["format"] != "html":
        raise UserError(f"--figures are those of the page, and format={plain['format']} is a table. Leave one out")


def check_files(stage: str, plain: Mapping) -> None:
    """Raises UserError for an input that is not there, or an output that cannot be."""
    source = Path(plain["input"]) if plain.get("input") not in (None, "", str(STANDARD)) else None
    if source is not None:
        check_input(source)
    if stage == "import":
        from groundup.stages.importing import look  # imports torch

        look(Path(plain["path"]))
    shown = stage == "predict" and plain.get("output") == str(STANDARD)
    folder = plain.get("format") == "hf"  # which is looked at when it is written
    if plain.get("output") and not shown and not folder:
        check_output(Path(plain["output"]), OUTPUTS.get(stage, (".jsonl",)), source)


def check_runs(stage: str, plain: Mapping, later: Sequence[Path] = ()) -> None:
    """Raises UserError for a run that is not there, or cannot do what is asked."""
    if isinstance(plain.get("run"), list) and (stage != "serve" or not plain["run"]):
        raise UserError(f"run={plain['run']}: groundup {stage} takes one run. Try run={(plain['run'] or ['last'])[0]}")
    if stage == "resume":
        check_resume(plain)
    if plain.get("runs"):
        find_systems(plain["runs"], Path(plain["paths"]["logs"]))
    for key, reference, use in named_runs(stage, plain):
        if any(str(folder) in reference for folder in later):
            continue
        run, _ = find_run(reference, Path(plain["paths"]["logs"]), use)
        if use != "resume" and (why := unfit(run, use)):  # `resume` has more to say
            raise UserError(f"{key}={reference}: {run.path} {why}")


def check_resume(plain: Mapping) -> None:
    """Raises UserError unless it is one run, or one sweep that is there."""
    run, sweep, logs = plain.get("run"), plain.get("sweep"), Path(plain["paths"]["logs"])
    if run and sweep:
        raise UserError(f"run={run} sweep={sweep}: one at a time. Leave one out")
    if plain.get("job") is not None and not sweep:
        raise UserError(f"job={plain['job']}: a job is one of a sweep. Try sweep=DIR job={plain['job']}")
    if sweep:
        find_sweep(sweep, logs)
    elif not run:
        raise UserError("run: no value. Try run=last, or sweep=last")
    elif any((path / PLAN).is_file() for path in (Path(run).expanduser(), logs / run)):
        raise UserError(f"run={run} is a sweep. Try sweep={run}")


def config_of_run(stage: str, plain: Mapping) -> Mapping:
    """The configuration of the run that is to be used; empty where there is none, which the stage will say."""
    if not isinstance(plain.get("run"), str):
        return {}
    try:
        return find_run(plain["run"], Path(plain["paths"]["logs"]), cast(Use, stage))[0].read_config()
    except (UserError, OSError, ValueError):
        return {}


def named_runs(stage: str, plain: Mapping) -> Iterator[tuple[str, str, Use]]:
    """(key, reference, use) of each run that a configuration names."""
    if plain.get("run"):
        use = "network" if stage in ("compress", "export") else "predict" if stage == "serve" else stage
        runs = plain["run"] if isinstance(plain["run"], list) else [plain["run"]]
        for one in runs:
            yield "run", str(one), cast(Use, use if use in get_args(Use) else "read")
    for member in plain.get("members") or []:
        yield "members", str(member), "evaluate"
    if plain.get("teacher"):
        yield "teacher", str(plain["teacher"]), "predict"
    parents = plain.get("init_from")
    if isinstance(parents, str):
        yield "init_from", parents, "init_from"
    for part, parent in (parents if isinstance(parents, Mapping) else {}).items():
        if parent:
            yield f"init_from.{part}", str(parent), "init_from"


def check_lora(plain: Mapping) -> None:
    """Raises UserError where ``lora.rank`` is given and no trained model to adapt."""
    rank, parents = (plain.get("lora") or {}).get("rank"), plain.get("init_from")
    if rank is not None and not (any(parents.values()) if isinstance(parents, Mapping) else parents):
        raise UserError(f"lora.rank={rank} adapts a model that was trained, and there is none. Try init_from=RUN")


def check_folds(plain: Mapping) -> None:
    """Raises UserError for early stopping, which would never stop: a fold is validated once, after its last step."""
    for name, node in (plain.get("callbacks") or {}).items():
        if node and str(node.get("_target_")).endswith(".EarlyStopping"):
            raise UserError(
                f"folds={plain['folds']}: what is held out must not choose when to stop, and is looked at once, at the end. "
                f"Try ~callbacks.{name}"
            )


def check_vectors(plain: Mapping) -> None:
    """Raises UserError where ``model.vectors`` names something else than a file of vectors."""
    named = (plain.get("model") or {}).get("vectors")
    if isinstance(named, str) and named != "ppmi":
        from groundup.data.vectors import width_of

        width_of(Path(named).expanduser())


def check_steps(plain: Mapping) -> None:
    """Raises UserError for a mistake in any step of a pipeline's configuration, before the first one trains."""
    nodes = changed(plain["steps"], plain.get("overrides") or [])
    pipeline, paths = Path("_pipeline_"), plain["paths"]  # none of these folders is there yet
    steps = compose_steps(nodes, pipeline, paths)
    steps |= at_sizes(nodes, steps, plain.get("learning_curve") or [], pipeline, paths)
    for name, step in steps.items():
        try:
            preflight(step.stage, step.config, step.overrides, step.choices, later=step.uses)
        except UserError as error:
            raise UserError(f"step {name}: {error}") from None
    check_idle_steps(steps, plain.get("overrides") or [])
