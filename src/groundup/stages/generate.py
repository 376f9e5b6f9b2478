"""``groundup generate``: text from a decoder, written to the terminal as it comes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from omegaconf import DictConfig

from groundup.config.job import Job
from groundup.config.safe import instantiate
from groundup.data.seeding import mix
from groundup.errors import UserError
from groundup.runs.atomic import replacing
from groundup.stages.building import prepare_process
from groundup.stages.loading import load_run
from groundup.tasks.causal_lm import CausalLM


def run(cfg: DictConfig, job: Job) -> None:
    """Continues ``prompt``; the same seed writes the same text."""
    prepare_process(cfg.threads)
    loaded = load_run(cfg.run, cfg.paths.logs)
    if not isinstance(loaded.task, CausalLM):
        raise UserError(
            f"{loaded.folder.path} was trained for {type(loaded.task).__name__}, which does not write text. "
            "Use a run of `groundup pretrain task=causal_lm`"
        )
    sampler, texts = instantiate(cfg.decoding), []
    for number in range(cfg.samples):
        sys.stdout.write(cfg.prompt)
        pieces = []
        for piece in loaded.task.write(
            loaded.tokenizer, cfg.prompt, cfg.max_new_tokens, sampler, mix(cfg.seed, number)
        ):
            sys.stdout.write(piece)
            sys.stdout.flush()
            pieces.append(piece)
        sys.stdout.write("\n" if number == cfg.samples - 1 else "\n\n")
        texts.append("".join(pieces))
    if cfg.output:
        with replacing(Path(cfg.output)) as temporary, open(temporary, "w", encoding="utf-8") as file:
            for text in texts:
                file.write(json.dumps({"prompt": cfg.prompt, "text": text}, ensure_ascii=False) + "\n")
