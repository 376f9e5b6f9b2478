"""``sweep=optuna``, ``random``, ``halving``: a study proposes the settings of each job from the scores of those before.

The study is Optuna's, in a file beside the sweep or in a database that several sweeps share; the jobs are those of any sweep. A
trial that is under way when the sweep is killed is its job: ``groundup resume sweep=DIR`` runs that to its end, and asks for more.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from groundup.config.compose import compose_with_choices
from groundup.config.translate import reported
from groundup.config.tree import Config
from groundup.errors import UserError
from groundup.jobs import sweep
from groundup.jobs.idle import Told, idle, idle_in_some
from groundup.jobs.launchers import CarryOut, Launcher, in_charge, launcher_of, run
from groundup.jobs.sweep_plan import FINISHED, Plan, PlannedJob
from groundup.metrics.estimate import direction
from groundup.runs.trial import DATABASE, FILE, JOB, StudyFile
from groundup.system.secrets import mask_text

log = logging.getLogger(__name__)
OPTIONS = ("trials", "sampler", "pruner", "seed", "storage")


def begin(
    options: Mapping[str, Any], launcher: Mapping[str, Any], arguments: Sequence[str], carry_out: CarryOut
) -> None:
    """Runs a new study.

    ``options``: of ``hydra.sweeper``; ``launcher``: of ``hydra.launcher``; ``arguments``: what was typed after the verb.

    Raises:
        UserError: what is swept is no space to propose from; a key or an option that does not fit.
    """
    plan = sweep.current[-1]
    words, space = parted(arguments)
    space = space or {str(key): str(value) for key, value in (options.get("space") or {}).items()}
    distributions(space)
    config = check_idle_in_all(plan.stage, words, space)
    better = direction(config.monitor, config.get("monitor_mode"), reported(config))
    name = options.get("study") or plan.folder.name
    file = StudyFile(
        plan.stage,
        name,
        list(map(mask_text, words)),
        space,
        config.monitor,
        better,
        sweep=plan.folder.name,
        **{key: options[key] for key in OPTIONS},
    )  # type: ignore[arg-type]
    plan.folder.mkdir(parents=True, exist_ok=True)
    with in_charge(plan.folder, new=True):
        file.save(plan.folder)
        StudyFile.read(plan.folder)  # an option of a wrong kind shows now
        go_on(plan, launcher_of(launcher), carry_out)


def check_idle_in_all(stage: str, words: Sequence[str], space: Mapping[str, str]) -> Config:
    """The configuration in the middle of the space. Raises UserError for a key that changes nothing, whatever is proposed."""

    def told(**other: str) -> Told:
        at = {key: middle(value) for key, value in space.items()} | other
        given = [*words, *(f"{key}={value}" for key, value in at.items())]
        return Told(compose_with_choices(stage, given)[0], given)

    first = told()
    if idle(first.plain, first.overrides, {}):  # what one key belongs to may be another that is proposed
        known = distributions(space)
        others = [told(**{key: one}) for key, found in known.items() for one in getattr(found, "choices", ())]
        idle_in_some({f"job {number}": one for number, one in enumerate([first, *others])})
    return Config(first.plain)


def is_study(plan: Plan) -> bool:
    return (plan.folder / FILE).is_file()


def go_on(plan: Plan, launcher: Launcher, carry_out: CarryOut) -> None:
    """Runs the jobs that are not done, then asks for more, until the study has its trials.

    Raises UserError where the study's database does not answer.
    """
    file = StudyFile.read(plan.folder)
    with file.answering(plan.folder):
        until_it_has_its_trials(plan, launcher, carry_out, file, file.open(plan.folder))


def until_it_has_its_trials(plan: Plan, launcher: Launcher, carry_out: CarryOut, file: StudyFile, study: Any) -> None:
    """As ``go_on``, of the open study."""
    from optuna.trial import TrialState

    proposals = distributions(file.space)
    for trial in study.get_trials(deepcopy=False):
        sweep_name, _, job = str(trial.user_attrs.get(JOB, "")).rpartition("/")
        if not trial.state.is_finished() and sweep_name == file.sweep and int(job) not in plan.jobs:
            study.tell(trial.number, state=TrialState.FAIL)  # killed between the proposal and the plan
    for number in plan.jobs:
        if plan.outcome(number).state in FINISHED:
            tell(plan, file, study, number)  # killed before the study was told
    waiting = plan.unfinished()
    while True:
        width = getattr(launcher, "jobs", 1)
        batch, waiting = waiting[:width], waiting[width:]
        while len(batch) < width and not waiting and len(study.get_trials(deepcopy=False)) < file.trials:
            batch.append(propose(plan, file, study, proposals))
        if not batch:
            return
        run(launcher, plan, batch, carry_out)
        for number in batch:
            tell(plan, file, study, number)


def propose(plan: Plan, file: StudyFile, study: Any, proposals: Mapping[str, Any]) -> int:
    """A new job with the settings of a new trial."""
    number = max(plan.jobs, default=-1) + 1
    trial = study.ask(fixed_distributions=dict(proposals))
    trial.set_user_attr(JOB, file.job(number))
    words = [*file.words, *(f"{key}={written(value)}" for key, value in trial.params.items())]
    config, choices = compose_with_choices(file.stage, words)
    plan.add(PlannedJob(number, str(number), words, choices, json.loads(json.dumps(config))))  # plain dicts, not Config
    return number


def tell(plan: Plan, file: StudyFile, study: Any, number: int) -> None:
    """The study learns how a job has ended. Raises UserError where it has no such trial."""
    from optuna.trial import TrialState

    found = [t for t in study.get_trials(deepcopy=False) if t.user_attrs.get(JOB) == file.job(number)]
    if not found:
        place = mask_text(file.storage) if file.storage else plan.folder / DATABASE
        raise UserError(
            f"the study in {place} knows nothing of job {number}: it is another one, or was emptied. Put the old one back; "
            f"what the jobs have found shows groundup report {plan.folder}"
        )
    trial = found[0]
    if trial.state.is_finished():
        return
    state, metrics = plan.outcome(number).state, plan.run(number).read_json("metrics.json", {})
    value = (metrics.get(file.monitor) or {}).get("value")
    if state == "pruned":
        study.tell(trial.number, state=TrialState.PRUNED)
    elif state == "done" and value is not None and math.isfinite(value):
        study.tell(trial.number, value)
    else:
        study.tell(trial.number, state=TrialState.FAIL)


def parted(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The words of a command that are alike for all jobs, and what is swept: key -> what may be proposed."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    words, space = [], {}
    for word, parsed in zip(arguments, OverridesParser.create().parse_overrides(list(arguments)), strict=True):
        if parsed.is_sweep_override():
            key, _, value = word.partition("=")
            space[key] = value
        else:
            words.append(word)
    return words, space


def distributions(space: Mapping[str, str]) -> dict[str, Any]:
    """Optuna's form of a space. Raises UserError for what none can be made of."""
    return {key: _distribution(key, value) for key, value in space.items()}


def _distribution(key: str, text: str) -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    parsed = OverridesParser.create().parse_override(f"{key}={text}")
    try:
        if parsed.is_choice_sweep():
            return CategoricalDistribution([str(word) for word in parsed.sweep_string_iterator()])
        swept: Any = parsed.value()
        if parsed.is_range_sweep():
            step, last = swept.step, swept.stop - swept.step
            kind = (
                IntDistribution
                if all(isinstance(n, int) for n in (swept.start, swept.stop, step))
                else FloatDistribution
            )
            return kind(swept.start, last, step=step)
        if parsed.is_interval_sweep():
            whole = "int" in swept.tags or (isinstance(swept.start, int) and isinstance(swept.end, int))
            return (IntDistribution if whole else FloatDistribution)(swept.start, swept.end, log="log" in swept.tags)
    except ValueError as error:
        raise UserError(f"{key}={text}: {error}") from None
    raise UserError(f"{key}={text}: nothing to choose from. Try {key}=a,b or {key}=interval(0.1,0.5)")


def middle(text: str) -> str:
    """One value that may be proposed: what is composed once, before the study begins."""
    found = _distribution("x", text)
    return written(found.choices[0] if hasattr(found, "choices") else found.low)


def written(value: Any) -> str:
    """As it stands on a command line; numbers with six digits."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
