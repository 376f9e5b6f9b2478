"""``groundup evaluate``: numbers of a finished run, on its own data or on other data."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from groundup.config.job import Job
from groundup.errors import UserError
from groundup.runs.report import write_report
from groundup.stages.building import build_data, set_threads
from groundup.stages.evaluation import compare_with_baselines, evaluate, print_results, write_results
from groundup.stages.loading import LoadedRun, load_run, plain


SPLITS = ("train", "validation", "test", "root", "hub")  # keys that name rows, not how they are read


def run(cfg: DictConfig, job: Job) -> float:
    """Scores the best checkpoint of ``run`` on a split and writes results and report to a folder of its own."""
    set_threads(cfg)
    loaded = load_run(cfg.run, cfg.paths.logs)
    trained = merge_data(cfg, loaded)
    data = build_data(trained, tokenizer_file=loaded.folder.tokenizer, facts=loaded.facts)
    data.collate = loaded.task.collator(data.tokenizer)
    split = cfg.split or ("test" if "test" in data.splits else "validation")
    if split not in data.splits:
        raise UserError(f"split={split}: the data has {', '.join(data.splits)}. Try split={data.splits[-1]}")
    with open_dict(cfg):
        cfg.data = trained.data
        cfg.run = str(loaded.folder.path)
    job.folder.write_config(plain(cfg))
    results = {split: evaluate(loaded.task, data, split, cfg)}
    write_results(job.folder, data, results)
    baselines = compare_with_baselines(job.folder, data, [split]) if cfg.baselines else {}
    print_results(results, baselines, loaded.folder.path.name)
    write_report(job.folder)
    logging.getLogger(__name__).info("report: %s", job.folder.report)
    monitor = loaded.config.monitor.split("/")[-1]
    return results[split][0][monitor].value


def merge_data(cfg: DictConfig, loaded: LoadedRun) -> DictConfig:
    """The run's config, its data replaced where the command line names other data.

    ``data=NAME`` replaces all of it; ``data.test=FILE`` alone keeps the run's columns and cleaning.
    """
    trained = loaded.config.copy()
    with open_dict(trained):
        given = {key: value for key, value in cfg.data.items() if value is not None}
        if "_target_" in given:
            trained.data = cfg.data
        elif given:
            files = {"_target_": "groundup.data.sources.files.Files"}
            keep = {} if trained.data._target_ != files["_target_"] else {k: v for k, v in trained.data.items() if k not in SPLITS}
            if any(name in given for name in SPLITS):
                trained.data = OmegaConf.create({**files, **keep, **given})
            else:
                trained.data = OmegaConf.merge(trained.data, given)
        trained.paths = cfg.paths
        trained.num_workers = 0
    return trained
