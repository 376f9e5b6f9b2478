"""``model.vectors``: the embedding of a new model starts from word vectors, learned from the texts or read from a file."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from groundup.config.signatures import parameters_of
from groundup.config.tree import Config
from groundup.data.ppmi import learn_vectors
from groundup.data.text_data import TextData
from groundup.data.vectors import read_vectors, spellings
from groundup.errors import UserError
from groundup.stages.build import model_class
from groundup.tasks.base import Task
from groundup.text.pieces import Sample
from groundup.text.tokenizer_file import SPECIALS

log = logging.getLogger(__name__)
LEARNED = "ppmi"
WIDTH = 128  # of learned vectors, where the model does not ask for another
_TEXT = 1 << 25  # characters that vectors are learned from, at most
_AT_A_TIME = 1000  # texts that are tokenized together


def word_vectors(cfg: Config, data: TextData) -> np.ndarray | None:
    """The table (V, D) that ``cfg.model.vectors`` asks for, with zeros for tokens without a vector; None: nothing.

    What the model must be told of it is put into ``cfg``, so that a run can be used without the file.

    Raises UserError for a file that cannot be read, or a width that is not the model's.
    """
    named = cfg.model.get("vectors")
    if named is None:
        return None
    kind = model_class(cfg)
    if kind.kind == "encoder_decoder":
        raise UserError("model.vectors fills one embedding, and an encoder-decoder has two. Try model.vectors=null")
    of_embedding = "embedding_width" in (parameters_of(kind) or ({},))[0]
    key = "embedding_width" if of_embedding else "width"
    asked = cfg.model.get(key)
    begun = time.perf_counter()
    sample = Sample(data.running_texts(), _TEXT, distinct=_TEXT)
    counts = np.zeros(data.tokenizer.vocab_size, dtype=np.int64)
    ids = tokenized(sample, data, counts)
    if named == LEARNED:
        table = learn_vectors(ids, data.tokenizer.vocab_size, asked or WIDTH, cfg.seed)
        origin = f"{LEARNED}, learned from {sample.characters * sample.share:,.0f} characters"
    else:
        path = Path(named).expanduser().absolute()
        table = read_vectors(path, spellings(data.tokenizer))
        cfg.model.vectors = origin = str(path)
        for _ in ids:
            pass
    if asked not in (None, table.shape[1]):
        raise UserError(
            f"model.{key}={asked}, but {named} has vectors of {table.shape[1]} numbers. Try model.{key}={table.shape[1]}"
        )
    cfg.model[key] = table.shape[1]
    known: np.ndarray = np.any(table != 0, axis=1)
    words, share = known[len(SPECIALS) :], counts[known].sum() / max(counts[1:].sum(), 1)
    log.info(
        "vectors: %s of %s words, %.1f %% of the running words; %d numbers each (%s, %.1f s)",
        f"{words.sum():,}", f"{len(words):,}", 100 * share, table.shape[1], origin, time.perf_counter() - begun,
    )  # fmt: skip
    if not known.any():
        raise UserError(
            f"model.vectors={named} has no word of the vocabulary. Is it of another language, or tokenizer=word meant?"
        )
    return table


def tokenized(sample: Sample, data: TextData, counts: np.ndarray) -> Iterator[list[int]]:
    """Ids of each text; ``counts`` (V,) gets how often each token occurs."""
    for start in range(0, len(sample.texts), _AT_A_TIME):
        for ids in data.tokenizer.encode_batch(sample.texts[start : start + _AT_A_TIME]):
            np.add.at(counts, ids, 1)
            yield ids


@torch.no_grad()
def start_from(task: Task, table: np.ndarray) -> None:
    """Fills the embedding; tokens without a vector keep their random one."""
    known = torch.from_numpy(table.any(axis=1))
    task.model.embedding.weight[known] = torch.from_numpy(table)[known]
