"""``groundup finetune``: what must be trained first, each a run of its own below the run's folder, and then the run itself.

``task_adaptive=true``: the parent goes on with its own pretraining, on the text of the data. ``self_training``: teachers, and
what they say of rows without a label. A run that is resumed goes on with the one that was interrupted.
"""

from __future__ import annotations

import logging
from pathlib import Path

from groundup.config.build import instantiate
from groundup.config.compose import compose
from groundup.config.tree import Config
from groundup.data.pseudo_labels import PseudoLabels
from groundup.errors import UserError
from groundup.jobs.ranks import launched_elsewhere
from groundup.jobs.resume import complete
from groundup.runs.folder import RunFolder
from groundup.runs.job import Job
from groundup.runs.reference import EARLIER, open_run
from groundup.stages import train
from groundup.stages.build import source_of
from groundup.stages.self_training import check_self_training, write_pseudo_labels

log = logging.getLogger(__name__)
KEYS = ("task_adaptive", "self_training")  # what is done here, and by none of the runs below
OF_THE_PARENT = ("model", "size", "tokenizer", "task", "batching", "optimizer", "scheduler")  # its own pretraining
HELD_OUT = 0.1  # share of the text that the parent does not learn from, where the data names none
OF_THE_RUN = ("data", "seed", "threads", "trainer", "logger", "wandb", "paths", "num_workers", "compile")


def run(cfg: Config, job: Job) -> float:
    """Trains what the configuration asks for first, and then as it says.

    Raises UserError where that takes several runs, and torchrun or srun has started the processes of one.
    """
    recipe = instantiate(cfg.self_training, "self_training") if cfg.get("self_training") else None
    to_teach = recipe if isinstance(recipe, PseudoLabels) and recipe.labels is None else None
    if (to_teach or cfg.get("task_adaptive")) and launched_elsewhere():
        raise UserError(
            f"{'self_training' if to_teach else 'task_adaptive'} trains one run after the other, and starts the processes "
            "of each by itself. Try the command without torchrun or srun, with trainer=ddp trainer.devices=2"
        )
    if job.is_main:  # other ranks find what is changed here in the folder
        if cfg.get("task_adaptive"):
            adapt(cfg, job)
        if to_teach:
            teach(cfg, job, to_teach)
        if any(map(cfg.get, KEYS)):
            job.folder.write_config(cfg)
    return train.run(cfg, job)


def adapt(cfg: Config, job: Job) -> None:
    """Goes on with the pretraining of ``init_from`` on the text of the data; ``cfg`` then begins with that run.

    Raises UserError without a run of ``groundup pretrain`` to begin with.

    Source: task-adaptive pretraining, Gururangan et al. 2020.
    """
    folder = RunFolder(job.folder.path / EARLIER / "adapted")
    if not done(folder):
        advice = "Try init_from=RUN, a run of `groundup pretrain`, or task_adaptive=false"
        if not isinstance(cfg.init_from, str):
            raise UserError(f"task_adaptive=true goes on with one pretrained run, and there is none. {advice}")
        parent = open_run(cfg.init_from, Path(cfg.paths.logs), "init_from")
        if parent.status().get("stage") != "pretrain":
            raise UserError(f"task_adaptive=true: {parent.path} is no run of `groundup pretrain`. {advice}")
        theirs = parent.read_config()
        config = compose("pretrain")
        for key in OF_THE_PARENT:
            config[key] = theirs[key]
        for key in OF_THE_RUN:
            if key in cfg:
                config[key] = cfg[key]
        if config["data"].get("validation_share", ...) is None:  # folds took its place, and hold out no text here
            config["data"] = {**config["data"], "validation_share": HELD_OUT}
        config["init_from"] = str(parent.path)
        config["budget"] = {**config["budget"], "steps": None, "epochs": cfg.task_adaptive_epochs}
        log.info("task-adaptive pretraining: %s", folder.path)
        complete("pretrain", config, folder, group=job.folder.path.name, quiet=True)
    cfg.init_from = str(folder.path)


def teach(cfg: Config, job: Job, recipe: PseudoLabels) -> None:
    """Trains teachers one after the other; ``cfg`` then learns from what the last of them says, too.

    Raises UserError where there is nothing to say: see ``check_self_training``.
    """
    source = source_of(cfg)
    check_self_training(cfg, source)
    folder = job.folder.path / EARLIER
    for number in range(1, recipe.rounds + 1):
        file, teacher = folder / f"pseudo_labels_{number}.jsonl", RunFolder(folder / f"teacher_{number}")
        if not file.exists():
            if number == 1 and recipe.teacher is not None:
                teacher = open_run(recipe.teacher, Path(cfg.paths.logs))
            else:
                log.info("self-training, teacher %d of %d: %s", number, recipe.rounds, teacher.path)
                words = [word for word in job.overrides if not word.lstrip("+").startswith(KEYS)]
                own = {key: value for key, value in cfg.items() if key not in KEYS}
                if number > 1:
                    own["self_training"] = cfg.self_training  # the student of the teacher before it
                complete("finetune", own, teacher, words, job.folder.path.name, quiet=True)
            write_pseudo_labels(teacher.path, source, recipe, file, cfg.paths.logs)
        cfg.put("self_training.labels", str(file))


def done(folder: RunFolder) -> bool:
    return folder.status_file.exists() and folder.status().get("state") == "done"
