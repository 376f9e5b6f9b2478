"""``groundup evaluate``: numbers of a finished run, on its own data or on other data."""

from __future__ import annotations

from omegaconf import DictConfig, open_dict

from groundup.config.compose import as_config, resolved
from groundup.config.job import Job
from groundup.config.safe import instantiate
from groundup.errors import UserError
from groundup.stages.building import build_data, connect, prepare_process
from groundup.stages.evaluation import compare_with_baselines, evaluate, print_results, write_results
from groundup.stages.loading import load_run

FILES = "groundup.data.sources.files.Files"
SPLITS = ("train", "validation", "test", "hub")  # keys that name rows, not how they are read


def run(cfg: DictConfig, job: Job) -> float:
    """Scores the best checkpoint of ``run`` on a split and writes results and report to a folder of its own."""
    prepare_process(cfg.threads)
    loaded = load_run(cfg.run, cfg.paths.logs)
    trained = with_other_data(loaded.config, cfg)
    data = build_data(trained, instantiate(trained.data), loaded.tokenizer, loaded.facts, loaded.target_tokenizer)
    connect(loaded.task, data)
    if cfg.get("decoding"):
        loaded.decode_by(instantiate(cfg.decoding))
    present = data.source.splits()
    split = cfg.split or ("test" if "test" in present else "validation")
    if split not in present or split == "train":
        others = [name for name in present if name != "train"]
        advice = f"{' and '.join(others)}. Try split={others[-1]}" if others else "no other. Try data.test=FILE"
        raise UserError(f"split={split}: the data has {advice}")
    with open_dict(cfg):
        cfg.data, cfg.run = trained.data, str(loaded.folder.path)
    job.folder.write_config(resolved(cfg))
    job.folder.write_json("labels.json", list(loaded.facts.labels))
    results = {split: evaluate(loaded.task, data, split, cfg)}
    write_results(job.folder, loaded.task, data, results)
    baselines = compare_with_baselines(job.folder, loaded.task, data, split, cfg.baselines)
    print_results(results, baselines, loaded.folder.path.name)
    metric = loaded.config.monitor.rpartition("/")[2]
    return results[split][0][metric].value


def with_other_data(trained: DictConfig, cfg: DictConfig) -> DictConfig:
    """The run's config, its data replaced where the command line names other data.

    ``data=NAME`` replaces all of it; ``data.test=FILE`` alone keeps the run's columns and cleaning.
    """
    given = {key: value for key, value in resolved(cfg)["data"].items() if value is not None}
    config = resolved(trained)
    saved = config["data"]
    if "_target_" in given:
        config["data"] = given
    elif any(name in given for name in SPLITS):
        kept = {key: value for key, value in saved.items() if key not in SPLITS} if saved["_target_"] == FILES else {}
        config["data"] = {"_target_": FILES, **kept, **given}
    else:
        config["data"] = {**saved, **given}
    config["paths"], config["num_workers"] = resolved(cfg)["paths"], 0
    return as_config(config)
