"""The page, section by section, from the files of a run folder alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from html import escape
from pathlib import Path

from groundup.metrics.estimate import LOSS, Metric
from groundup.report.attention import attention_maps
from groundup.report.cells import key_values
from groundup.report.charts import line_chart, number
from groundup.report.classes import confusion, wrong_predictions
from groundup.report.outputs import outputs
from groundup.report.results import all_metrics, group_table, results_table, text_table
from groundup.report.table import estimates, main_metrics
from groundup.runs.folder import RunFolder
from groundup.runs.history import read_metrics
from groundup.system.files import MOST_YAML, read_text, require_regular, write_text

_STYLE = Path(__file__).with_name("style.css")
_SPLITS = ("train", "validation", "test")
_SAMPLE_LIMIT = 20_000  # characters of a sample file that are shown


def write_report(run: RunFolder) -> Path:
    """Write ``report.html`` of a run in any state, and return its path. Sections without a file are left out."""
    status, config = run.status(), run.read_config()
    title = _title(run)
    sections = [
        _headline(run, status, config, title),
        _results(run),
        _curves(run),
        _predictions(run),
        _outputs(run),
        _attention(run),
        _samples(run),
        _provenance(run),
        _configuration(run),
    ]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE.read_text(encoding='utf-8')}</style></head>"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )
    write_text(run.report, page)
    return run.report


def _title(run: RunFolder) -> str:
    choices, config = _choices(run), run.read_config()
    inherited = config.get("init_from") and (config.get("model") or {}).get("_target_")  # then the choice was not used
    parts = [choices.get("data"), inherited.rpartition(".")[2] if inherited else choices.get("model")]
    return " · ".join(part for part in parts if part) or run.path.resolve().name


def _headline(run: RunFolder, status: Mapping, config: Mapping, title: str) -> str:
    state = status.get("state", "unknown")
    provenance = run.read_json("provenance.json", {})
    seconds = status.get("seconds", 0) + (max(time.time() - status["resumed"], 0) if state == "running" else 0)
    parameters = status.get("parameters") or provenance.get("parameters")
    steps = status.get("step")
    if steps is None:
        steps = max((row["step"] for row in read_metrics(run.metrics_csv)), default=None)
    chips = {
        "started": time.strftime("%-d %B %Y, %H:%M", time.localtime(status["started"]))
        if "started" in status
        else None,
        "duration": _duration(seconds) if seconds else None,
        "steps": f"{steps:,}" if steps is not None else None,
        "parameters": f"{parameters:,}" if parameters else None,
        "size": _size(config.get("model") or {}),
        "task": _choices(run).get("task"),
        "seed": config.get("seed"),
        "folder": run.path.resolve().name,
    }
    shown = "".join(f"<div><dt>{k}</dt><dd>{escape(str(v))}</dd></div>" for k, v in chips.items() if v is not None)
    why = status.get("why")
    callout = f'<p class="why {escape(state)}"><b>{escape(state)}:</b> {escape(str(why))}</p>' if why else ""
    stage = f'<span class="stage">{escape(str(status["stage"]))}</span>' if status.get("stage") else ""
    return (
        f'<header><p>{stage}<span class="state {escape(state)}">{escape(state)}</span></p>'
        f"<h1>{escape(title)}</h1><dl>{shown}</dl>{callout}</header>"
    )


def _results(run: RunFolder) -> str:
    """A run beside its baselines; of a pipeline, the rows of its table."""
    ours = run.read_json("metrics.json", {})
    rows = {"this run": ours, **run.read_json("baselines.json", {})} if ours else run.read_json("results.json", {})
    tables = []
    for split in reversed(_SPLITS):
        found = {
            label: {k: v for k, v in estimates(row).items() if k.startswith(f"{split}/")} for label, row in rows.items()
        }
        if any(found.values()):
            main = main_metrics(found)[0]
            n = f" <small>n = {max(row[main].n for row in found.values() if main in row):,}, with 95 % intervals</small>"
            tables.append(f"<h3>{split} split{n}</h3>{results_table(rows, split)}")
            tables += [group_table(ours, split), text_table(rows, split)]
    return _section("Results", "".join(tables) + (all_metrics(ours) if ours else "")) if tables else ""


def _curves(run: RunFolder) -> str:
    charts: dict[str, dict[str, list]] = {}
    saved = run.read_json("measures.json", {})
    known = {name: Metric.from_dict(name, one) for name, one in saved.items()}
    rows = read_metrics(run.metrics_csv)
    for row in rows:
        for column, value in row.items():
            split, _, name = column.partition("/") if "/" in column else ("train", "", column)
            if column != "step" and not (name in known and known[name].shown == "list"):
                charts.setdefault(name, {}).setdefault(split, []).append((row["step"], value))
    ranks = {name: rank for rank, name in enumerate(name for name, one in known.items() if one.better)}
    ordered = sorted(charts, key=lambda name: (name != LOSS.name, ranks.get(name, len(ranks))))
    figures, span = [], (rows[0]["step"], rows[-1]["step"]) if rows else (0, 0)
    for name in ordered:
        lines = {split: charts[name][split] for split in sorted(charts[name], key=_split_order)}
        lines = {split: points for split, points in lines.items() if split != "test"}  # a single point is no curve
        metric = known.get(name) or Metric(name)
        best = metric.better if len(lines.get("validation", ())) > 1 else None
        figures.append(line_chart(str(metric), lines, span, best))
    figures = [figure for figure in figures if figure]
    return _section("Learning curves", f'<div class="charts">{"".join(figures)}</div>') if figures else ""


def _predictions(run: RunFolder) -> str:
    rows = [row for row in run.read_predictions() if row.get("label") is not None and "predicted" in row]
    if not rows:
        return ""
    labels = run.read_json("labels.json", None) or sorted({str(row["label"]) for row in rows})
    matrix = _section("Confusion matrix", confusion(rows, labels))
    return matrix + _section("Wrong predictions", wrong_predictions(rows))


def _outputs(run: RunFolder) -> str:
    rows = [row for row in run.read_predictions() if "hypothesis" in row and "source" in row]
    if not rows:
        return ""
    summaries = any("rouge_l" in name for name in run.read_json("metrics.json", {}))
    return _section("Summaries" if summaries else "Translations", outputs(rows, summaries))


def _attention(run: RunFolder) -> str:
    maps = run.read_json("attention.json", [])
    return _section("Cross-attention", attention_maps(maps)) if maps else ""


def _samples(run: RunFolder) -> str:
    files = sorted(run.samples.glob("*.txt"), reverse=True) if run.samples.is_dir() else []  # the last step first
    shown: list[str] = []
    for file in files[:20]:
        require_regular(file)
        with open(file, encoding="utf-8", errors="replace") as stream:
            text = stream.read(_SAMPLE_LIMIT)
        opened = " open" if not shown else ""
        shown.append(f"<details{opened}><summary>{escape(file.stem)}</summary><pre>{escape(text)}</pre></details>")
    return _section("Samples", "".join(shown)) if shown else ""


def _provenance(run: RunFolder) -> str:
    record = run.read_json("provenance.json", {})
    record.pop("earlier", None)
    command = record.pop("command", None) or run.read_command()
    packages = record.pop("packages", {})
    parts = [f"<pre>{escape(command)}</pre>"] if command else []
    if record:
        parts.append(key_values(record))
    if packages:
        parts.append(f"<details><summary>Packages</summary>{key_values(packages)}</details>")
    return _section("Provenance", "".join(parts)) if parts else ""


def _configuration(run: RunFolder) -> str:
    if not run.config_file.is_file():
        return ""
    text = read_text(run.config_file, MOST_YAML)
    return _section("Configuration", f"<details><summary>config.yaml</summary><pre>{escape(text)}</pre></details>")


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>"


def _choices(run: RunFolder) -> dict[str, str]:
    """What was chosen in each group (``data: sst2``); empty for a run that was not started from the command line."""
    choices = run.status().get("choices") or {}
    return {group: choice for group, choice in choices.items() if isinstance(choice, str)}


def _size(model: Mapping) -> str | None:
    """What the model has, whatever it was called: ``width 128, 4 layers``; both sides of an encoder-decoder."""
    sides = [model[part] for part in ("encoder", "decoder") if isinstance(model.get(part), Mapping)] or [model]
    if not all("width" in side and "layers" in side for side in sides):
        return None
    widths = dict.fromkeys(str(side["width"]) for side in sides)
    return f"width {' + '.join(widths)}, {' + '.join(str(side['layers']) for side in sides)} layers"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{number(round(seconds, 1))} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def _split_order(split: str) -> int:
    return _SPLITS.index(split) if split in _SPLITS else len(_SPLITS)
