"""``groundup generate``: a prompt continued, translated or summarized, written to the terminal as it comes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from groundup.config.build import instantiate
from groundup.config.tree import Config
from groundup.data.seeding import mix
from groundup.decoding.decoding import Decoding
from groundup.errors import UserError
from groundup.runs.job import Job
from groundup.stages.build import prepare_process
from groundup.stages.loading import load_network
from groundup.stages.network import NetworkRun
from groundup.stages.outputs import json_line, lines_of
from groundup.system import streams
from groundup.system.streams import visible
from groundup.tasks.base import Writing

log = logging.getLogger(__name__)


def run(cfg: Config, job: Job) -> None:
    """Writes ``samples`` texts for ``prompt``; the same seed writes the same text."""
    prepare_process(cfg.threads)
    output = Path(cfg.output) if cfg.output else None
    with nullcontext() if output is None else lines_of(output) as keep:
        loaded = load_network(cfg.run, cfg.paths.logs)
        decoding = decoding_of(loaded, cfg, job.overrides)
        prompt, prefix = loaded.text(cfg.prompt), loaded.text(cfg.prefix)
        for number in range(cfg.samples):
            pieces, told = [], list[str]()
            writing = loaded.task.generate(prompt, prefix, loaded.read, decoding, mix(cfg.seed, number))
            for piece in _until_told(writing, told):
                sys.stdout.write(visible(piece) if sys.stdout.isatty() else piece)
                sys.stdout.flush()
                if keep is None and streams.reader_left():
                    sys.exit(streams.BROKEN_PIPE)
                pieces.append(piece)
            sys.stdout.write("\n" if number == cfg.samples - 1 else "\n\n")
            sys.stdout.flush()
            for line in told:  # a line of its own
                log.warning("%s", line)
            if keep is not None:
                keep(json_line({"prompt": cfg.prompt, "text": "".join(pieces)}))


def _until_told(writing: Writing, told: list[str]) -> Iterator[str]:
    """The pieces of a text; what is to be told of it is added to ``told``."""
    if line := (yield from writing):
        told.append(line)


def decoding_of(loaded: NetworkRun, cfg: Config, overrides: Sequence[str]) -> Decoding:
    """As ``decoding=NAME`` says, or for a language model; else as the run's task says, with the values that were typed.

    Raises UserError for a value that the task's way of writing does not have.
    """
    typed = {override.lstrip("+").partition("=")[0]: override for override in overrides}
    if loaded.task.writes != "answer" or "decoding" in typed:
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
