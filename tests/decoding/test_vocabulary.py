import pytest
import torch

from groundup.decoding.logits import largest, normalizer


@pytest.mark.parametrize("vocab_size", [5, 64, 1000, 8192, 8200])
@pytest.mark.parametrize("k", [1, 4, 11])
@pytest.mark.parametrize("rows", [7, 30])
def test_the_largest_are_those_of_a_sort(vocab_size, k, rows):
    logits = torch.stack(
        [torch.randperm(vocab_size, generator=torch.Generator().manual_seed(i)) for i in range(rows)]
    ).float()
    logits[:5, ::3] = float("-inf")
    logits[5, -1], logits[6, 0] = 1e6, 1e6
    k = min(k, vocab_size)
    values, ids = largest(logits, k)
    expected = logits.sort(dim=1, descending=True)
    real = expected[0][:, :k].isfinite()
    assert torch.equal(values, expected[0][:, :k])
    assert torch.equal(ids[real], expected[1][:, :k][real])
    assert torch.equal(logits.gather(1, ids), values)


def test_the_normalizer_makes_log_probabilities():
    logits = 50 * torch.randn(37, 300)
    logits[3, 5] = float("-inf")
    torch.testing.assert_close(logits - normalizer(logits)[:, None], logits.log_softmax(-1))
