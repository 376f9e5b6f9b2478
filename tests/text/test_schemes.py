"""Schemes of entity tags, known by the names of the tags."""

from __future__ import annotations

import itertools

import pytest

from groundup.text.schemes import forbidden, may_follow, misfit, scheme_of


def counted(names: str) -> dict[str, int]:
    return dict.fromkeys(names.split(), 1)


@pytest.mark.parametrize(
    ("names", "scheme"),
    [
        ("O B-a I-a B-b", "bio"),
        ("B-a B-b", "bio"),
        ("O I-a I-b", "iob1"),
        ("O B-a I-a S-a E-a", "bioes"),
        ("O S-a", "bioes"),
        ("O B-a M-a E-a S-a", "bioes"),
        ("O B_a I_a L_a U_a", "bioes"),
        ("B M E S", "bioes"),
        ("B I", "bio"),
        ("O B I", "bio"),
        ("NOUN VERB", None),
        ("O", None),
        ("B E", None),  # parts of speech may be letters
        ("V N", None),
        ("O B-a X-a", None),
        ("B- I-", None),
        ("", None),
    ],
)
def test_names_show_the_scheme(names, scheme):
    assert scheme_of(counted(names)) == scheme


def test_of_two_schemes_with_the_same_letters_counts_decide():
    assert scheme_of({"O": 9, "B-a": 50, "I-a": 80, "I-typo": 1}) == "bio"
    assert scheme_of({"O": 9, "B-a": 2, "I-a": 80, "I-b": 70}) == "iob1"


@pytest.mark.parametrize(
    ("scheme", "right", "wrong"),
    [
        ("bio", ["B-a I-a I-a B-a O B-b", "O", ""], ["I-a", "O I-a", "B-a I-b"]),
        ("iob1", ["I-a I-b B-b O I-a", "I-a B-a I-a"], ["B-a", "O B-a", "I-a B-b"]),
        (
            "bioes",
            ["B-a I-a E-a S-b O", "B-a E-a", "B M E S"],
            ["B-a", "B-a O", "I-a E-a", "B-a E-b", "O E-a", "S-a E-a"],
        ),
    ],
)
def test_rules_of_each_scheme(scheme, right, wrong):
    for sentences, holds in ((right, True), (wrong, False)):
        for sentence in sentences:
            tags = [None, *sentence.split(), None]
            assert all(may_follow(scheme, *pair) for pair in itertools.pairwise(tags)) is holds


def test_forbidden_is_what_may_not_be():
    start, pairs, end = forbidden("bioes", ["O", "B-a", "E-a"])
    assert start == [False, False, True] and end == [False, True, False]
    assert pairs == [[False, False, True], [True, True, False], [False, False, True]]


def test_a_tag_of_no_scheme_is_named():
    assert misfit("bioes", ["O", "S-a", "NOUN"]) == "NOUN" and misfit("bio", ["B-a", "E-a"]) == "E-a"
    assert misfit("bio", ["O", "B-a", "I-a"]) is None and misfit("bio", [""]) == ""
