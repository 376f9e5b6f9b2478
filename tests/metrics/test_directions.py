"""One table says which way each metric gets better."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from groundup.errors import UserError
from groundup.metrics.classification import classification_metrics
from groundup.metrics.generation import generation_metrics
from groundup.metrics.language import language_metrics
from groundup.metrics.monitored import BETTER, chosen_direction, direction


def test_every_metric_that_a_task_reports_is_in_the_table():
    texts = (["a b", "c"], ["a", "c"], [["a b"], ["d"]])
    reported = {
        *classification_metrics(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1]), resamples=0),
        *language_metrics(np.ones(2), np.ones(2), bytes_per_token=2.0, correct=np.ones(2), resamples=0),
        *generation_metrics(*texts, "translation", resamples=0),
        *generation_metrics(*texts, "summarization", resamples=0),
        "token_accuracy",
    }
    assert reported == set(BETTER)


def test_the_metric_knows_its_direction_whatever_its_split_or_group():
    assert direction("validation/loss") == direction("perplexity") == "min"
    assert direction("test/accuracy") == direction("validation/exact_match_new_years") == "max"
    assert direction("test/length_ratio") is direction("validation/mine") is direction("test/loss_of_mine") is None


def test_what_is_chosen_goes_before_the_table():
    assert chosen_direction("validation/accuracy", None) == "max"
    assert chosen_direction("validation/mine", "min") == chosen_direction("validation/accuracy", "min") == "min"


def test_a_metric_without_a_direction_needs_one():
    with pytest.raises(UserError, match=r"monitor=validation/mine.* Add monitor_mode=max or monitor_mode=min"):
        chosen_direction("validation/mine", None)
    with pytest.raises(UserError, match="did you mean validation/accuracy"):
        chosen_direction("validation/acuracy", None)


def test_the_table_is_read_without_torch():
    code = "import sys, groundup.metrics.monitored as d; d.direction('test/loss'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
