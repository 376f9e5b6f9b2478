"""``groundup generate``: a prompt continued, translated or summarized, written to the terminal as it comes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from groundup.config.job import Job
from groundup.config.safe import instantiate
from groundup.config.tree import Config
from groundup.data.seeding import mix
from groundup.decoding.decoding import Decoding
from groundup.decoding.sampling import Sampler
from groundup.errors import UserError
from groundup.runs.atomic import replacing
from groundup.stages.building import build_data, connect, prepare_process
from groundup.stages.loading import LoadedRun, load_run
from groundup.tasks.causal_lm import CausalLM
from groundup.tasks.sequence_to_sequence import SequenceToSequence


def run(cfg: Config, job: Job) -> None:
    """Writes ``samples`` texts for ``prompt``; the same seed writes the same text."""
    prepare_process(cfg.threads)
    loaded = load_run(cfg.run, cfg.paths.logs, "generate")
    decoding, texts = instantiate(cfg.decoding, "decoding"), []
    if isinstance(loaded.task, SequenceToSequence) and not any(word.startswith("decoding") for word in job.overrides):
        decoding = loaded.task.decoding
    for number in range(cfg.samples):
        pieces = []
        for piece in write(loaded, cfg.prompt, cfg.prefix, decoding, mix(cfg.seed, number)):
            sys.stdout.write(piece)
            sys.stdout.flush()
            pieces.append(piece)
        sys.stdout.write("\n" if number == cfg.samples - 1 else "\n\n")
        texts.append("".join(pieces))
    if cfg.output:
        with replacing(Path(cfg.output)) as temporary, open(temporary, "w", encoding="utf-8") as file:
            for text in texts:
                file.write(json.dumps({"prompt": cfg.prompt, "text": text}, ensure_ascii=False) + "\n")


def write(loaded: LoadedRun, prompt: str, prefix: str, decoding: Decoding, seed: int) -> Iterator[str]:
    """The text in pieces, as they become certain. A language model goes on from its prompt, which comes first.

    Raises UserError when the run writes no text, or not in this way.
    """
    task, prompt, prefix = loaded.task, loaded.text(prompt), loaded.text(prefix)
    if isinstance(task, SequenceToSequence):
        if not prompt.strip():
            raise UserError("prompt is empty, and there is nothing to translate or summarize. Try prompt='...'")
        data = build_data(loaded.config, None, loaded.tokenizer, loaded.facts, loaded.target_tokenizer)
        connect(task, data)
        (batch,) = data.loader([{"source": prompt}])
        start = (loaded.target_tokenizer or loaded.tokenizer).encode(prefix)
        with torch.inference_mode():
            yield from task.answer(batch, decoding, seed, start)
    elif isinstance(task, CausalLM):
        if not isinstance(decoding, Sampler):
            raise UserError("a language model goes on from a prompt by drawing. Try decoding=sample or decoding=greedy")
        if prefix:
            raise UserError(f"prefix={prefix} is for translations and summaries. Try prompt='{prompt}{prefix}'")
        yield prompt
        yield from task.write(loaded.tokenizer, prompt, decoding.max_new_tokens, decoding, seed)
    else:
        raise UserError(
            f"{loaded.folder.path} was trained for {type(task).__name__}, which does not write text. "
            "Use a run of `groundup pretrain task=causal_lm`"
        )
