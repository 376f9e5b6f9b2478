"""Word vectors from text alone: words that stand beside the same words get vectors that are alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from groundup.data.vectors import SIZE
from groundup.text.tokenizer_file import SPECIALS

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

WINDOW = 5  # tokens to either side that a word is known by
SMOOTHING = 0.75  # exponent of how often a context occurs: rare contexts tell less than they seem to
_BLOCK = 1 << 19  # tokens whose pairs are counted at a time: 100 MB


def learn_vectors(texts: Iterable[Sequence[int]], vocab_size: int, width: int, seed: int) -> np.ndarray:
    """Vectors of tokens that stand near each other in ``texts``, lists of ids: (V, D) float32, zeros for those unseen.

    Positive pointwise mutual information of words and contexts, those nearer counted more, and the singular vectors of
    that matrix times the square roots of its singular values. Rows have the length of ``SIZE`` x sqrt(D).
    The same texts and seed give the same vectors. Source: Levy, Goldberg and Dagan 2015; Halko et al. 2011 (the SVD).
    """
    from scipy.sparse import csr_matrix, find
    from sklearn.utils.extmath import randomized_svd

    together = count_pairs(texts, vocab_size)
    if not together.nnz:
        return np.zeros((vocab_size, width), dtype=np.float32)
    rows, columns, counts = find(together)
    of_word = np.asarray(together.sum(axis=1), dtype=np.float64).ravel()
    of_context = np.asarray(together.sum(axis=0), dtype=np.float64).ravel() ** SMOOTHING
    information = np.log(counts * of_context.sum() / (of_word[rows] * of_context[columns]))
    positive = information > 0
    matrix = csr_matrix(
        (information[positive].astype(np.float32), (rows[positive], columns[positive])), shape=together.shape
    )
    rank = min(width, vocab_size)
    left, values, _ = randomized_svd(matrix, rank, n_iter=4, random_state=seed)
    vectors = np.pad(left * np.sqrt(values), ((0, 0), (0, width - rank)))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    seen = matrix.getnnz(axis=1)[:, None] > 0
    return np.where(seen & (lengths > 0), vectors / np.maximum(lengths, 1e-30) * SIZE * width**0.5, 0).astype(
        np.float32
    )


def count_pairs(texts: Iterable[Sequence[int]], vocab_size: int) -> csr_matrix:
    """How often two tokens stand near each other, (V, V), symmetric: ``WINDOW`` for neighbours, one less for each step
    further. Special tokens, also unknown words, count for nothing but their place."""
    from scipy.sparse import coo_matrix, csr_matrix

    total = csr_matrix((vocab_size, vocab_size), dtype=np.float32)
    for ids in blocks(texts):
        firsts, seconds, weights = [], [], []
        for distance in range(1, WINDOW + 1):
            first, second = ids[:-distance], ids[distance:]
            gaps = np.cumsum(ids < 0)  # between two texts
            near = (first >= len(SPECIALS)) & (second >= len(SPECIALS)) & (gaps[:-distance] == gaps[distance:])
            firsts.append(first[near])
            seconds.append(second[near])
            weights.append(np.full(len(firsts[-1]), WINDOW + 1 - distance, dtype=np.float32))
        places = np.concatenate(firsts), np.concatenate(seconds)
        total = total + coo_matrix((np.concatenate(weights), places), shape=total.shape).tocsr()
    return (total + total.T).tocsr()


def blocks(texts: Iterable[Sequence[int]]) -> Iterator[np.ndarray]:
    """Ids of texts one after another with -1 between them, about ``_BLOCK`` at a time."""
    held: list[np.ndarray] = []
    size = 0
    for text in texts:
        for start in range(0, len(text), _BLOCK):
            held += [np.asarray(text[start : start + _BLOCK], dtype=np.int32), np.array([-1], dtype=np.int32)]
            size += len(held[-2])
            if size >= _BLOCK:
                yield np.concatenate(held)
                held, size = [], 0
    if held:
        yield np.concatenate(held)
