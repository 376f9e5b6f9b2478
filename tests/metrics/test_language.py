from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from groundup.metrics.language import language_metrics


def test_equal_to_the_mean_over_all_tokens():
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 50, 200)
    nll = [rng.exponential(2.0, n) for n in counts]
    correct = [rng.integers(0, n + 1) for n in counts]
    result = language_metrics([v.sum() for v in nll], counts, bytes_per_token=3.0, correct=correct)
    loss = np.concatenate(nll).mean()
    assert result["loss"].value == pytest.approx(loss, rel=1e-6)
    assert result["perplexity"].value == pytest.approx(math.exp(loss), rel=1e-6)
    assert result["bits_per_byte"].value == pytest.approx(loss / math.log(2) / 3, rel=1e-6)
    assert result["accuracy"].value == pytest.approx(sum(correct) / counts.sum(), rel=1e-6)
    assert all(e.n == counts.sum() and e.low < e.value < e.high for e in result.values())
    assert result["perplexity"].low == pytest.approx(math.exp(result["loss"].low))


def test_perplexity_equals_that_of_torchmetrics_on_the_logits():
    from torchmetrics.functional.text import perplexity

    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 9, 20, generator=generator)
    labels = torch.randint(0, 20, (6, 9), generator=generator)
    labels[2, 4:] = -100
    nll = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    result = language_metrics(nll.sum(1), (labels != -100).sum(1))
    assert result["perplexity"].value == pytest.approx(float(perplexity(logits, labels, ignore_index=-100)), rel=1e-5)


def test_a_uniform_model_over_bytes_needs_eight_bits_a_byte():
    result = language_metrics([math.log(256) * 10] * 4, [10] * 4, bytes_per_token=1.0)
    assert result["bits_per_byte"].value == pytest.approx(8)
    assert result["perplexity"].value == pytest.approx(256)


def test_what_is_not_known_is_left_out():
    assert set(language_metrics(torch.ones(3), torch.tensor([1, 2, 3]))) == {"loss", "perplexity"}


def test_one_window_has_a_value_and_no_interval():
    result = language_metrics([6.0], [3])
    assert (result["loss"].value, result["loss"].low) == (2.0, None)


def test_a_hopeless_model_has_infinite_perplexity_and_no_error():
    assert language_metrics([1e6, 1e6], [1, 1])["perplexity"].value == math.inf


@pytest.mark.parametrize("bad", [([], []), ([1.0], [0]), ([1.0, 2.0], [3])])
def test_nothing_scored_raises(bad):
    with pytest.raises(ValueError, match="scored"):
        language_metrics(*bad)
