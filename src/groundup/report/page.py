"""``report.html``: everything worth seeing about a run, in one file that needs no network. A script of ours makes charts answer
the pointer; without it the page says the same.

The page shows files of a run folder alone, which may come from a stranger. Templates write every value with its markup
escaped; nothing of a folder is ever taken for markup.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from groundup.metrics.estimate import LOSS, Metric
from groundup.report.charts import LineChart, line_chart, scatter_chart, share_chart, trend_chart
from groundup.report.heat_map import heat_map
from groundup.report.pipeline_page import shared_curves, steps_of
from groundup.report.results import OURS, all_metrics, results_of
from groundup.report.scales import number
from groundup.runs.about import all_choices, choices_of, judged
from groundup.runs.folder import RunFolder
from groundup.runs.history import read_metrics
from groundup.runs.reference import Use, unfit
from groundup.system.files import MOST_YAML, read_text, require_regular, write_text

_LONGEST = 4000  # characters of a text that are shown
_SAMPLES = 20  # files that are shown, the last step first
_SAMPLE_LIMIT = 20_000  # characters of each


def write_report(run: RunFolder) -> Path:
    """Write ``report.html`` of a run in any state, and return its path. Sections without a file are left out."""
    page = environment().get_template("report.html")
    status, config = run.status(), run.read_config()
    choices = status.get("choices") or {}
    choices = {group: choice for group, choice in choices.items() if isinstance(choice, str)}
    content = {
        "title": _title(run, config, choices),
        "state": status.get("state", "unknown"),
        "stage": status.get("stage"),
        "why": status.get("why"),
        "facts": _facts(run, status, config, choices),
        "go_on": _go_on(run, config, status),
        "results": results_of(run),
        "ours": OURS,
        "all_metrics": all_metrics(run),
        "steps": (steps := steps_of(run)),
        "curves": shared_curves({step.name: step.run for step in steps}) if steps else _curves(run),
        "sections": run.read_sections(),
        "samples": _samples(run),
        **_provenance(run),
        "config": read_text(run.config_file, MOST_YAML) if run.config_file.is_file() else None,
    }
    write_text(run.report, page.render(content))
    return run.report


@cache
def environment(*scripts: str, more: str = "") -> Environment:
    """The templates, which escape every value. Of what they make, a browser runs our own script and nothing else.

    ``scripts``: files that the page includes, one after the other; ``page.js`` by default. ``more``: what its policy allows besides.
    """
    jinja = Environment(
        loader=PackageLoader("groundup.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = "".join(jinja.get_template(name).render() for name in scripts or ("page.js",))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; {more}style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    jinja.globals["policy"] = policy
    jinja.filters |= {
        "one_line": _one_line,
        "flat": _flat,
        "plain": _plain,
        "heat_map": heat_map,
        "scatter": scatter_chart,
        "shares": share_chart,
        "trend": trend_chart,
        "zip": zip,
    }
    return jinja


def _title(run: RunFolder, config: Mapping, choices: Mapping[str, str]) -> str:
    """Data and model: of an evaluation those of the run that is judged."""
    named, model = {**choices, **all_choices(run)}, judged(run)
    made = model.read_config() if model else config
    whole = isinstance(made.get("init_from"), str)  # then the choice was not used
    inherited = whole and (made.get("model") or {}).get("_target_")
    chosen = named.get("model") or named.get("baseline")
    parts = [named.get("data"), inherited.rpartition(".")[2] if inherited else chosen]
    title = " · ".join(part for part in parts if part and not part.startswith("_"))  # evaluate's data=_same_as_run
    return title or _together(run) or _judged_name(config) or choices.get("experiment") or run.path.resolve().name


def _together(run: RunFolder) -> str | None:
    """Of an ensemble the data of its members, which lie in its folder, and how many they are."""
    inside = sorted((run.path / "members").glob("*/status.json"))
    known = dict.fromkeys(choices_of(RunFolder(file.parent).status()).get("data") for file in inside)
    return f"{' · '.join(filter(None, known))} · {len(inside)} members" if any(known) else None


def _judged_name(config: Mapping) -> str | None:
    return "/".join(Path(str(config["run"])).parts[-2:]) if config.get("run") else None


def _facts(run: RunFolder, status: Mapping, config: Mapping, choices: Mapping[str, str]) -> dict[str, Any]:
    """What stands under the title; without what is not known."""
    running = status.get("state") == "running"
    seconds = status.get("seconds", 0) + (max(time.time() - status.get("resumed", time.time()), 0) if running else 0)
    parameters = status.get("parameters") or run.read_json("provenance.json", {}).get("parameters")
    steps = status.get("step")
    if steps is None:
        steps = max((row["step"] for row in read_metrics(run.metrics_csv)), default=None)
    started = status.get("started")
    facts = {
        "started": None if started is None else time.strftime("%-d %B %Y, %H:%M", time.localtime(started)),
        "duration": _duration(seconds) if seconds else None,
        "steps": None if steps is None else f"{steps:,}",
        "parameters": f"{parameters:,}" if parameters else None,
        "size": _size(config.get("model") or {}),
        "task": choices.get("task"),
        "seed": config.get("seed"),
        "of run": _judged_name(config),
        "folder": run.path.resolve().name,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _go_on(run: RunFolder, config: Mapping, status: Mapping) -> list[str]:
    """What can be typed next. The run is called by its place below the logs: no path of a machine is told."""
    if status.get("state") == "running":
        return []
    paths = config.get("paths")
    logs = Path(str(paths.get("logs") if isinstance(paths, Mapping) else None)).name
    parts = run.path.resolve().parts
    name = shlex.quote("/".join(parts[parts.index(logs) + 1 :] if logs in parts[:-1] else parts[-1:]))
    if not unfit(run, "resume"):
        return [f"groundup resume run={name}"]
    pretrained = status.get("stage") == "pretrain"
    commands: dict[Use, str] = {
        "predict": f"predict run={name} input=texts.txt output=out.jsonl",
        "evaluate": f"evaluate run={name}",
    }
    if pretrained:
        commands = {
            "generate": f"generate run={name} prompt='Once upon a time'",
            "init_from": f"finetune init_from={name} data=NAME",
        }
    return [f"groundup {command}" for use, command in commands.items() if not unfit(run, use)]


def _curves(run: RunFolder) -> list[LineChart]:
    """A chart for each figure of ``metrics.csv`` that has a curve: the loss, then metrics as the task lists them, then the rest."""
    saved = run.read_json("measures.json", {})
    known = {name: Metric.from_dict(name, one) for name, one in saved.items()}
    lines: dict[str, dict[str, list]] = {}

    def line(column: str) -> list:
        """Where the points of a column belong: those of test are none of a curve."""
        split, _, name = column.partition("/") if "/" in column else ("train", "", column)
        name, _, part = name.partition("/")  # train/learning_rate/matrix: one more line of a chart
        metric = known.get(f"{name}/{part}")
        label = (str(metric) if metric else part.replace("_", " ")) if part else split
        return lines.setdefault(name, {}).setdefault(label, []) if split != "test" else []

    rows = read_metrics(run.metrics_csv)
    places: dict[str, list] = {"step": []}
    for row in rows:
        for column, value in row.items():
            if column not in places:
                places[column] = line(column)
            places[column].append((row["step"], value))
    ranks = {name: rank for rank, name in enumerate(sorted(known, key=lambda name: not known[name].better))}
    span = (rows[0]["step"], rows[-1]["step"]) if rows else (0, 0)
    long = [
        name for name, parts in lines.items() if max(map(len, parts.values())) > 1
    ]  # else shown where there is nothing more
    charts = []
    for name in sorted(long or lines, key=lambda name: (name != LOSS.name, ranks.get(name, len(ranks)))):
        metric = known.get(name) or Metric(name)
        judged = metric.better if lines[name].get("validation") else None
        if metric.shown != "list":
            charts.append(line_chart(str(metric), dict(sorted(lines[name].items(), key=_in_order)), span, judged))
    return [chart for chart in charts if chart]


def _in_order(line: tuple[str, Sequence]) -> list:
    """Sorts ``level 10`` behind ``level 9``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", line[0])]


def _samples(run: RunFolder) -> dict[str, str]:
    """Beginnings of the files in ``samples/`` by their names, the last step first."""
    files = sorted(run.samples.glob("*.txt"), reverse=True) if run.samples.is_dir() else []
    texts = {}
    for file in files[:_SAMPLES]:
        require_regular(file)
        with open(file, encoding="utf-8", errors="replace") as stream:
            texts[file.stem] = stream.read(_SAMPLE_LIMIT)
    return texts


def _provenance(run: RunFolder) -> dict[str, Any]:
    record = run.read_json("provenance.json", {})
    record.pop("earlier", None)
    command, packages = record.pop("command", None), record.pop("packages", {})
    return {"command": command or run.read_command(), "packages": packages, "provenance": record}


def _size(model: Mapping) -> str | None:
    """What the model has, whatever it was called: ``width 128, 4 layers``; both sides of an encoder-decoder."""
    sides = [model[part] for part in ("encoder", "decoder") if isinstance(model.get(part), Mapping)] or [model]
    if not all("width" in side and "layers" in side for side in sides):
        return None
    widths = dict.fromkeys(str(side["width"]) for side in sides)
    layers = " + ".join(str(side["layers"]) for side in sides)
    return f"width {' + '.join(widths)}, {layers} layer{'s' * (layers != '1')}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{number(round(seconds, 1))} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:_LONGEST]


def _flat(values: Mapping, prefix: str = "") -> list[tuple[str, object]]:
    """Names and values; nested ones become ``outer.inner``."""
    flat: list[tuple[str, object]] = []
    for name, value in values.items():
        nested = isinstance(value, Mapping)
        flat += _flat(value, f"{prefix}{name}.") if nested else [(f"{prefix}{name}", value)]
    return flat


def _plain(value: object) -> str:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return "–" if value is None else str(value)
