"""The page beside exported weights: what they are, what they were trained on, and how well they do."""

from __future__ import annotations

import json
from typing import Any

from groundup import __version__
from groundup.config.tree import leaves
from groundup.models.lora import is_adapter
from groundup.stages.network import NetworkRun


def model_card(run: NetworkRun, pipeline: str, license: str | None) -> str:
    """Markdown with the front matter that model pages read."""
    config, provenance = run.config, run.folder.read_json("provenance.json", {})
    title = run.folder.path.resolve().name
    front = [f"license: {json.dumps(license or 'unknown')}", "library_name: transformers", f"pipeline_tag: {pipeline}"]
    count = sum(one.numel() for name, one in run.task.named_parameters() if not is_adapter(name))  # they are merged
    lines = ["---", *front, "---", "", f"# {title}", ""]
    lines += [
        f"A {run.name} of {count:,} parameters for {type(run.task).__name__}, exported by groundup {__version__}.",
        "",
    ]
    if thresholds := run.task.decision_thresholds():
        told = ", ".join(f"{inline(name)} {value:.3g}" for name, value in thresholds.items())
        lines += [f"An answer is given from this probability on: {told} (config.json: decision_thresholds).", ""]
    lines += ["## How well it does", "", *figures(run), "", "## Data", ""]
    if imported := provenance.get("imported"):
        lines.append(
            f"Its weights were imported ({imported.get('family')}); what they were trained on, their own page says."
        )
    for key, value in leaves({"data": dict(config.get("data") or {})}).items():
        if value is not None and not imported:
            lines.append(f"* `{key}`: {inline(value)}")
    for split, told in (provenance.get("data") or {}).items():
        if isinstance(told, dict) and isinstance(told.get("rows"), int | float):
            lines.append(f"* {split}: {int(told['rows']):,} rows")
    lines += ["", "## How it was trained", ""]
    if command := provenance.get("command"):
        lines += ["```", *str(command).replace("```", "").splitlines(), "```", ""]
    for group in ("model", "task", "optimizer", "scheduler", "budget"):
        chosen: dict[str, Any] = {
            key: value for key, value in dict(config.get(group) or {}).items() if value is not None
        }
        if chosen and (group in ("model", "task") or not imported):
            lines.append(f"* {group}: {', '.join(f'{key}={inline(value)}' for key, value in chosen.items())}")
    lines += ["", "## Licence", "", license or "Not stated: ask who trained it.", ""]
    return "\n".join(lines)


def figures(run: NetworkRun) -> list[str]:
    """Metrics with their 95 % intervals as a table."""
    rows = []
    for name, told in run.folder.read_json("metrics.json", {}).items():
        told = told if isinstance(told, dict) else {"value": told}
        value, (low, high) = told.get("value"), told.get("ci95") or (None, None)
        if isinstance(value, int | float):
            interval = (
                f" [{low:.4g}, {high:.4g}]" if isinstance(low, int | float) and isinstance(high, int | float) else ""
            )
            rows.append(f"| {inline(name)} | {value:.4g}{interval} |")
    return ["| metric | value [95 % interval] |", "|---|---:|", *rows] if rows else ["Not measured."]


def inline(value: object) -> str:
    """A value on one line, without marks of Markdown or HTML that would end it."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")[:200]
