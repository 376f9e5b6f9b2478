"""The encoders of n-grams against their definitions, position by position."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from groundup.errors import ArgumentError
from groundup.models.heads import Pooling
from groundup.models.layers import WordDropout
from groundup.models.ngrams import FACTOR, PRIME, BagOfNgrams, CNNEncoder

V = 30


def test_a_filter_sees_the_window_around_its_position_and_zeros_beyond_the_text():
    model = CNNEncoder(V, width=7, shortest=1, longest=4, embedding_width=5).eval()
    ids = torch.randint(V, (1, 6))
    x, parts = model.embedding(ids)[0], []
    for convolution in model.blocks[0].convolutions:
        (size,) = convolution.kernel_size
        window = F.pad(x, (0, 0, (size - 1) // 2, size // 2)).unfold(0, size, 1)  # (T, E, size)
        parts.append(torch.einsum("tes,fes->tf", window, convolution.weight) + convolution.bias)
    assert [part.shape[1] for part in parts] == [2, 2, 2, 1]  # the sizes share the width
    torch.testing.assert_close(model(ids)[0], torch.cat(parts, 1).relu())


def test_a_bag_has_each_ngram_that_lies_in_the_text_once():
    model = BagOfNgrams(V, width=6, longest=3, buckets=1000).eval()
    ids = torch.randint(V, (1, 5))
    said = Pooling("mean", 6)(model(ids))[0] * 5
    expected = model.embedding.weight[ids[0]].sum(0)
    for size in (2, 3):
        for begin in range(5 - size + 1):
            code = 0
            for token in ids[0, begin : begin + size].tolist():
                code = (code * FACTOR + token + 1) % PRIME
            expected = expected + model.ngrams.weight[(code + size) % 1000]
    torch.testing.assert_close(said, expected)


def test_other_words_or_another_order_are_other_ngrams():
    model = BagOfNgrams(V, width=6, buckets=1 << 20)
    pairs = torch.cartesian_prod(torch.arange(V), torch.arange(V))
    rows = (model(pairs) - model.embedding(pairs))[:, 1]  # the embedding of the pair
    assert len(rows.round(decimals=4).unique(dim=0)) > 0.99 * len(pairs)


@pytest.mark.parametrize("model", [CNNEncoder(V, longest=4), BagOfNgrams(V, longest=4)], ids=["cnn", "bag"])
def test_a_text_shorter_than_an_ngram_has_hidden_vectors(model):
    for length in (1, 2, 3):
        hidden = model(torch.randint(V, (2, length)))
        assert hidden.shape == (2, length, 128) and hidden.isfinite().all()


def test_sizes_and_width_that_do_not_fit_are_refused():
    with pytest.raises(ArgumentError, match=r"shortest=5 is longer than longest=4\. Try shortest=4"):
        CNNEncoder(V, shortest=5)
    with pytest.raises(ArgumentError, match=r"width=2 has no filter for each size\. Try width=3"):
        CNNEncoder(V, width=2)


def test_word_dropout_replaces_the_asked_share_of_words_and_no_special_token():
    ids = torch.randint(V, (200, 100), generator=torch.Generator().manual_seed(1))
    drop = WordDropout(0.3, unk_id=1, special_ids=range(7))
    torch.manual_seed(2)
    changed = drop(ids)
    words, differs = ids >= 7, changed != ids
    assert (changed[differs] == 1).all() and not differs[~words].any()
    assert differs[words].float().mean() == pytest.approx(0.3, abs=0.02)  # 6 deviations
    torch.manual_seed(2)
    assert torch.equal(drop(ids), changed)
    assert drop.eval()(ids) is ids


def test_word_dropout_leaves_special_tokens_where_others_have_put_them():
    ids = torch.arange(V).repeat(50, 1)
    changed = WordDropout(0.9, unk_id=3, special_ids=(0, 1, 2, 3, V - 1))(ids)  # as RoBERTa has its <mask>
    assert torch.equal(changed[:, [0, 1, 2, 3, V - 1]], ids[:, [0, 1, 2, 3, V - 1]])
    assert (changed[:, 4 : V - 1] == 3).float().mean() > 0.8
