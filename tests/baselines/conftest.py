from __future__ import annotations

import pytest

from groundup.baselines.baseline import figures


class Given:
    """Rows of two splits, as a classical model asks for them."""

    def __init__(self, train, test, labels=()):
        self.rows, self.labels = {"train": list(train), "test": list(test)}, tuple(labels)

    def texts(self, split):
        return self.rows[split]


@pytest.fixture
def reached():
    """What a model and the simpler one reach: ``{name: {"test/accuracy": Estimate}}``; or the results of the model alone."""

    def measure(model, train, test, labels=(), alone=False):
        data = Given(train, test, labels)
        return model.learn(data)("test") if alone else figures([model.simpler(), model], data, ["test"])

    return measure
