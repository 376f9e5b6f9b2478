import torch

from groundup.models.cache import KeyValueCache, Memory

SHAPE = (2, 2, 3, 6, 1, 4)  # layers, keys and values, rows, slots, heads, features


def filled(slots=3):
    cache = KeyValueCache(SHAPE, torch.empty(2 * 2 * 3 * 6 * 4))
    keys = torch.randn(2, 3, 1, slots, 4)
    for layer in range(2):
        cache.write(layer, keys[layer], -keys[layer])
    cache.advance(slots)
    return cache, keys


def check(cache, keys):
    new = torch.randn(keys.shape[1], 1, 1, 4)
    for layer in range(2):
        known, values = cache.write(layer, new, -new)
        assert torch.equal(known, torch.cat((keys[layer], new), 2))
        assert torch.equal(values, -known)


def test_one_reorder_after_the_other_grows_shrinks_and_forgets_nothing():
    cache, keys = filled()
    for index in ([2, 0, 0, 1], [3, 3, 1, 0, 2, 2], [5, 0], [1, 1, 1], [2]):
        cache, keys = cache.reorder(torch.tensor(index)), keys[:, index]
        assert cache.length == 3
        check(cache, keys)


def test_two_spaces_are_enough():
    cache, _ = filled()
    cache = cache.reorder(torch.tensor([1, 0, 2]))
    spaces = {cache.space.data_ptr(), cache.spare.data_ptr()}
    for index in ([2, 1, 0], [1, 0], [0]):
        cache = cache.reorder(torch.tensor(index))
        assert {cache.space.data_ptr(), cache.spare.data_ptr()} == spaces


def test_a_memory_is_moved_only_when_sources_leave():
    keys, mask = torch.arange(3.0)[:, None], torch.eye(3).bool()
    memory = Memory([(keys, -keys)], mask)
    beams = memory.reorder(torch.tensor([0, 0, 1, 1, 2, 2]), 3)
    assert beams is memory
    assert beams.reorder(torch.tensor([1, 0, 2, 2, 5, 4]), 6) is memory
    fewer = beams.reorder(torch.tensor([5, 5, 1, 0]), 6)
    assert fewer.layers[0][0][:, 0].tolist() == [2, 0]
    assert torch.equal(fewer.layers[0][1], -fewer.layers[0][0])
    assert torch.equal(fewer.mask, mask[[2, 0]])
    uneven = memory.reorder(torch.tensor([0, 0, 2]), 3)  # no two rows share
    assert uneven.layers[0][0][:, 0].tolist() == [0, 0, 2]
    assert uneven.reorder(torch.tensor([2, 1]), 3).layers[0][0][:, 0].tolist() == [2, 0]
