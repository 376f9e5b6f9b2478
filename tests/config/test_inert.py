"""Overrides out of a run folder are data."""

from __future__ import annotations

import contextlib
import itertools
import random

import pytest

from groundup.config.compose import compose
from groundup.config.quoting import inert
from groundup.errors import UserError

FORMS = r"""{0} '{0}' "{0}" [{0}] [a,'{0}'] {{a: {0}}} a{0}b \{0} \\{0} '\\{0}' str({0}) "'{0}'" '"{0}"'""".split(" ")
SECRETS = ["${oc.env:MY_SECRET}", "$\\{oc.env:MY_SECRET\\}", "${oc.decode:${oc.env:MY_SECRET}}", "${hydra:job.name}"]


def test_no_resolver_runs_on_them(toy, monkeypatch):
    monkeypatch.setenv("MY_SECRET", "hush-hush")
    safe = []
    for number, (form, secret) in enumerate(itertools.product(FORMS, SECRETS)):
        for key in (f"++model.x{number}", "prompt"):
            with contextlib.suppress(UserError):
                safe += inert([f"{key}={form.format(secret)}"])
    assert len(safe) > 60
    said = repr(compose("pretrain", safe))
    assert "hush-hush" not in said and "MY_SECRET" in said and "hydra:job.name" in said


def test_what_is_plain_means_the_same(toy):
    words = [
        "seed=3",
        "model=big",
        "model.dropout=0.2",
        "metrics=[a,'b c',1]",
        "prompt=it's 5 \\ $x",
        "++model.name=null",
    ]
    words += ["run_name='a, b'", "budget={steps: 5, tokens: 3}", "++model.betas=[0.1,0.2]", "~model.cell"]
    words += ["init_from=logs/x (1)/y", "++model.bias=true"]
    assert compose("pretrain", inert(words)) == compose("pretrain", words)
    assert inert(inert(words)) == inert(words)


def test_any_text_arrives(toy):
    letters, draw = "ab1 ,.=()[]{}\"\\:#$'é", random.Random(0).choices
    texts = ["a" + "".join(draw(letters, k=8)) for _ in range(100)]
    model = compose("pretrain", inert([f"++model.x{number}={text}" for number, text in enumerate(texts)])).model
    assert [model[f"x{number}"] for number in range(100)] == texts


@pytest.mark.parametrize(
    "word",
    [
        "hydra.run.dir=/tmp/x", "hydra/launcher=joblib", "hydra.searchpath=[file:///tmp]", "+hydra.x=1", "model=../../evil",
        "model=/etc/evil", "model=[big,../x]", "model=${oc.env:HOME}", "seed=1,2", "seed=range(1,3)", "=x", "model",
        "+model@x.y=../evil", "--config-dir=/tmp", "-m",
    ],
)  # fmt: skip
def test_what_reaches_elsewhere_is_refused(toy, word):
    with pytest.raises(UserError):
        inert([word])
