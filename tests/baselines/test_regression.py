"""Ridge on what two texts have in common: sound on any script, the same for swapped texts."""

from __future__ import annotations

import numpy as np
import pytest

from groundup.baselines.regression import Mean, Ridge, similarities

MEAN, RIDGE = Mean.name, Ridge.name

WORDS_OF = {"en": "fern oak crow moss owl tree river stone".split(), "zh": list("海山水火风雨花鸟")}


def rows(count: int, seed: int, script: str, pairs: bool) -> list[dict]:
    draw, found = np.random.default_rng(seed), []
    space = " " if script == "en" else ""
    for _ in range(count):
        one, other = (draw.choice(WORDS_OF[script], size=5) for _ in range(2))
        common = len({*one} & {*other})
        second = {"text_pair": space.join(other)} if pairs else {}
        found.append({"text": space.join(one), **second, "score": common if pairs else list(one).count(one[0])})
    return found


@pytest.mark.parametrize("script", ["en", "zh"])
def test_similarities_say_more_than_the_mean(script, reached):
    found = reached(Ridge(), rows(200, 1, script, True), rows(80, 2, script, True))
    assert list(found) == [MEAN, RIDGE]
    assert found[MEAN]["test/pearson"].value == 0 and found[RIDGE]["test/pearson"].value > 0.5
    assert found[RIDGE]["test/mae"].value < found[MEAN]["test/mae"].value


def test_single_texts_are_counted(reached):
    train = [{"text": f"{word} and {word}", "score": i} for i, word in enumerate(WORDS_OF["en"])] * 3
    assert reached(Ridge(), train, train)[RIDGE]["test/pearson"].value > 0.95
    stiff = reached(Ridge(alpha=1e6), train, train, alone=True)
    mean = np.mean([row["score"] for row in train])
    assert [row["predicted"] for row in stiff.predictions] == pytest.approx([mean] * len(train), abs=0.01)


def test_swapping_the_texts_changes_nothing_and_blank_ones_are_fine(reached):
    given = [
        *rows(20, 1, "en", True),
        {"text": "", "text_pair": "", "score": 1.0},
        {"text": "fern", "text_pair": None, "score": 2.0},
    ]
    swapped = [{**row, "text": row["text_pair"], "text_pair": row["text"]} for row in given]
    np.testing.assert_allclose(similarities(given, swapped)[0], similarities(swapped, given)[0], atol=1e-12)
    blank = [{"text": " ", "text_pair": "", "score": float(i)} for i in range(4)]
    assert np.isfinite(similarities(blank, given)[1]).all()
    single = [{"text": " ", "score": float(i)} for i in range(4)]
    assert reached(Ridge(), single, single)[RIDGE]["test/mae"].value == pytest.approx(1.0)
