"""``evaluate explain=N``: what answers come from, from the command to the page."""

from __future__ import annotations

import re

import pytest

from groundup.runs.folder import RunFolder


def test_what_answers_come_from_is_shown_on_request_and_never_made_up(
    groundup, finetuned, language_model, tmp_path, capsys
):
    folder = RunFolder(groundup("evaluate", f"run={finetuned}", "explain=3"))
    colours = [part for section in folder.read_sections() for part in section.parts if part.kind == "highlights"]
    assert len(colours) == 6  # both ways of three rows
    texts = {"".join(row["text"].split()).lower() for row in folder.read_predictions()}
    assert {"".join(part.tokens).replace("Ġ", "").lower() for part in colours} <= texts  # Ġ: a blank by itself
    for part in colours[::2]:
        said, whole = (float(number) for number in re.findall(r"[+-]\d+\.\d+", part.note))
        assert said == pytest.approx(whole, abs=0.03 * abs(whole) + 2e-3)
        assert sum(part.weights) == pytest.approx(said, abs=2e-3)
    page = folder.report.read_text("utf-8")
    assert "What answers come from" in page and 'class="tokens"' in page and "Calibration" in page
    groundup("evaluate", f"run={language_model}", "explain=3", code=2, folder=tmp_path / "none")
    assert "Try explain=0" in capsys.readouterr().err
