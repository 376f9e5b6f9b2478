"""``model.vectors``: the embedding of a new model starts from word vectors, learned from the texts or read from a file."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
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
from groundup.system.cache import Cache, code_version
from groundup.tasks.base import Task
from groundup.text.pieces import Sample
from groundup.text.tokenizer import Tokenizer
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
    key = "embedding_width" if "embedding_width" in (parameters_of(kind) or ({},))[0] else "width"
    asked, begun = cfg.model.get(key), time.perf_counter()
    learned, counts = kept(data, asked or WIDTH, learn=named == LEARNED)
    if learned is not None:
        table = learned
    else:
        if data.tokenizer.kind in ("byte_bpe", "wordpiece", "unigram"):
            log.warning("vectors of a file are of words, and this tokenizer has pieces of them. Try tokenizer=word")
        path = Path(named).expanduser().absolute()
        table = read_vectors(path, spellings(data.tokenizer))
        cfg.model.vectors = str(path)
    width = table.shape[1]
    if asked not in (None, width):
        raise UserError(f"model.{key}={asked}, but {named} has vectors of {width} numbers. Try model.{key}={width}")
    cfg.model[key] = width
    known: np.ndarray = np.any(table != 0, axis=1)
    if not known.any():
        raise UserError(
            f"{named} has no vector for any word of the texts. Is it of another language? Try model.vectors=ppmi"
        )
    words, share = known[len(SPECIALS) :], counts[known].sum() / max(counts.sum(), 1)
    log.info(
        "vectors: %s of %s words, %.1f %% of the running words, %d numbers each (%s, %.1f s)",
        *(f"{words.sum():,}", f"{len(words):,}", 100 * share, width, cfg.model.vectors, time.perf_counter() - begun),
    )
    return table


def kept(data: TextData, width: int, learn: bool) -> tuple[np.ndarray | None, np.ndarray]:
    """Of the texts that vocabularies learn from, the learned table if there is to be one, and how often each token occurs.

    From the cache, where they have been made before: a sweep over seeds learns vectors once.
    """
    source, tokenizer = data.source, data.tokenizer

    def make(folder: Path) -> None:
        sample = Sample(data.running_texts(), _TEXT, distinct=_TEXT)
        counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
        ids = tokenized(sample.texts, tokenizer, counts)
        if learn:
            np.save(folder / "table.npy", learn_vectors(ids, tokenizer.vocab_size, width, seed=0))
        else:
            deque(ids, maxlen=0)
        np.save(folder / "counts.npy", counts)

    content = (tokenizer.fingerprint, source.fingerprint("train"), source.further_fingerprint(), width if learn else 0)
    folder = data.cache.get(Cache.key("vectors", code_version(source), content), make)
    return np.load(folder / "table.npy") if learn else None, np.load(folder / "counts.npy")


def tokenized(texts: Sequence[str], tokenizer: Tokenizer, counts: np.ndarray) -> Iterator[list[int]]:
    """Ids of each text; ``counts`` (V,) gets how often each token occurs."""
    for start in range(0, len(texts), _AT_A_TIME):
        for ids in tokenizer.encode_batch(texts[start : start + _AT_A_TIME]):
            counts += np.bincount(ids, minlength=len(counts))
            yield ids


@torch.no_grad()
def start_from(task: Task, table: np.ndarray) -> None:
    """Fills the embedding; tokens without a vector keep their random one."""
    known = torch.from_numpy(table.any(axis=1))
    task.model.embedding.weight[known] = torch.from_numpy(table)[known]
