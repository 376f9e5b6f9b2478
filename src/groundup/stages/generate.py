"""``groundup generate``: a prompt continued, translated or summarized, written to the terminal as it comes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch

from groundup.config.build import instantiate
from groundup.config.tree import Config
from groundup.data.seeding import mix
from groundup.decoding.decoding import Decoding
from groundup.decoding.sampling import Sampler
from groundup.errors import UserError
from groundup.jobs.job import Job
from groundup.runs.outputs import json_line, lines_of
from groundup.stages.building import build_data, connect, prepare_process
from groundup.stages.loading import LoadedRun, load_run
from groundup.system import streams
from groundup.system.streams import visible
from groundup.tasks.causal_lm import CausalLM
from groundup.tasks.sequence_to_sequence import SequenceToSequence

log = logging.getLogger(__name__)


def run(cfg: Config, job: Job) -> None:
    """Writes ``samples`` texts for ``prompt``; the same seed writes the same text."""
    prepare_process(cfg.threads)
    output = Path(cfg.output) if cfg.output else None
    with nullcontext() if output is None else lines_of(output) as keep:
        loaded = load_run(cfg.run, cfg.paths.logs, "generate")
        decoding = decoding_of(loaded, cfg, job.overrides)
        for number in range(cfg.samples):
            pieces = []
            for piece in write(loaded, cfg.prompt, cfg.prefix, decoding, mix(cfg.seed, number)):
                sys.stdout.write(visible(piece) if sys.stdout.isatty() else piece)
                sys.stdout.flush()
                if keep is None and streams.reader_left():
                    sys.exit(streams.BROKEN_PIPE)
                pieces.append(piece)
            sys.stdout.write("\n" if number == cfg.samples - 1 else "\n\n")
            if keep is not None:
                keep(json_line({"prompt": cfg.prompt, "text": "".join(pieces)}))


def decoding_of(loaded: LoadedRun, cfg: Config, overrides: Sequence[str]) -> Decoding:
    """As ``decoding=NAME`` says, or for a language model; else as the run's task says, with the values that were typed.

    Raises UserError for a value that the task's way of writing does not have.
    """
    typed = {override.lstrip("+").partition("=")[0]: override for override in overrides}
    if not isinstance(loaded.task, SequenceToSequence) or "decoding" in typed:
        return instantiate(cfg.decoding, "decoding")
    chosen = Config(loaded.config.task.decoding)
    for key, override in typed.items():
        group, _, name = key.partition(".")
        if group != "decoding":
            continue
        if name not in chosen:
            kind = str(chosen["_target_"]).rpartition(".")[2]
            raise UserError(
                f"{override}: {loaded.folder.path} writes by a {kind}, which has no such option. Try decoding=sample {override}"
            )
        chosen[name] = cfg.at(key)
    return instantiate(chosen, "decoding")


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
        loader = data.loader([{"source": prompt}])
        (batch,) = loader
        if loader.dataset.examples.truncated_rows.any():  # type: ignore[attr-defined]
            log.warning("the prompt is longer than the model reads: cut to %d tokens", batch["input_ids"].shape[1])
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
