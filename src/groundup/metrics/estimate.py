"""What a figure is (``Metric``) and what was measured (``Estimate``). Imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from groundup.config.translate import meant_metric, reported
from groundup.errors import UserError

Direction = Literal["min", "max"]


@dataclass(frozen=True)
class Metric:
    """What a figure is. Each is declared once, beside the code that computes it, and saved with every estimate of it.

    Args:
        name: as in ``metrics.json``, without the split.
        better: whether a lower (``min``) or a higher (``max``) value is better; None: it tells what kind, not how good.
        title: what people call it; by default the name with blanks.
        shown: ``table``: a column of every table, and a learning curve; ``curve``: a learning curve; ``list``: neither.
            The report lists all metrics, and has a table of those without a better value.
        percent: it runs from 0 to 100 and is printed with two digits; other figures have four.
        also: names that others have for it, so that a wrong one leads here.
        by_group: it is measured on groups of rows, too: ``exact_match_new_years``.
    """

    name: str
    better: Direction | None = None
    title: str = ""
    shown: Literal["table", "curve", "list"] = "curve"
    percent: bool = False
    also: tuple[str, ...] = ()
    by_group: bool = False

    def __str__(self) -> str:
        return self.title or self.name.replace("_", " ")

    def as_dict(self) -> dict[str, Any]:
        """What a reader of the files has to know of it: all that is no default, without the name."""
        values = {name: getattr(self, name) for name in _SAVED}
        return {name: value for name, value in values.items() if value != getattr(Metric, name)}

    @classmethod
    def from_dict(cls, name: str, saved: Mapping[str, Any]) -> Metric:
        """The reverse of ``as_dict``. ``saved`` may come from anyone: what is no such value is left out."""
        known = {key: saved[key] for key, values in _SAVED.items() if saved.get(key) in values}
        title = saved.get("title")
        return cls(name, title=title if isinstance(title, str) else "", **known)


_SAVED: Mapping[str, tuple] = {
    "better": ("min", "max"),
    "title": (),
    "shown": ("table", "curve", "list"),
    "percent": (True,),
}
LOSS = Metric("loss", "min", shown="table", also=("nll", "cross_entropy"))  # what every task reports


@dataclass(frozen=True)
class Estimate:
    """A value, the ends of its 95 % interval (None when unknown), and the number of things it was measured on.

    ``signature`` says how it was measured, where figures of others can only be compared when that agrees (BLEU, chrF).
    ``group`` names the rows it was measured on, where those are not all.
    ``deviation``: of a mean over several runs, their sample standard deviation; its interval is unknown.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    signature: str | None = None
    metric: Metric | None = None
    group: str | None = None
    deviation: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """``{"value", "ci95": [low, high], "n"}``, the form of ``metrics.json``, and what is known of the metric."""
        more = {"signature": self.signature, "group": self.group, "deviation": self.deviation}
        saved = {"value": self.value, "ci95": [self.low, self.high], "n": self.n}
        saved |= self.metric.as_dict() if self.metric else {}
        return saved | {key: value for key, value in more.items() if value is not None}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any], name: str = "") -> Estimate:
        """The reverse of ``as_dict``; JSON's null stands for a value that was not finite.

        ``name``: its key in the file, from which its metric gets its name.
        """
        value, (low, high) = saved["value"], saved.get("ci95") or (None, None)
        group = saved.get("group")
        metric = Metric.from_dict(base_name(name).removesuffix(f"_{group}"), saved) if name else None
        value = math.nan if value is None else value
        n, deviation = saved.get("n", 0), saved.get("deviation")
        return cls(value, low, high, n, saved.get("signature"), metric, group, deviation)

    def __str__(self) -> str:
        """``0.8920 [0.8617, 0.9163]`` or, of several runs, ``0.8920 ± 0.0034``; two digits for a percentage; a dash for no
        number."""
        if math.isnan(self.value):
            return "-"
        digits = 2 if self.metric is not None and self.metric.percent else 4
        value = f"{self.value:.{digits}f}"
        if self.deviation is not None:
            return f"{value} ± {self.deviation:.{digits}f}"
        if self.low is None or self.high is None:
            return value
        return f"{value} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


@dataclass
class Results:
    """Figures of a split, and one plain dict a row where there are answers to rows."""

    metrics: dict[str, Estimate]
    predictions: list[dict[str, Any]] = field(default_factory=list)


def labelled(found: Mapping[Metric, Estimate | None]) -> dict[str, Estimate]:
    """Estimates by the name of their metric, which they carry from then on; without those that are None."""
    return {metric.name: replace(one, metric=metric) for metric, one in found.items() if one is not None}


def base_name(metric: str) -> str:
    """The name without its split: ``test/bleu`` -> ``bleu``."""
    return metric.rsplit("/", 1)[-1]


def direction(monitor: str, mode: Direction | None, reports: Sequence[Metric]) -> Direction:
    """Whether a lower or a higher value of ``monitor`` is better: as the metric says, and where it does not, ``mode``.

    Args:
        reports: the metrics of the task's validation; a task that declares none has a loss.

    Raises:
        UserError: nobody says; ``mode`` says otherwise than the metric.
    """
    name = base_name(monitor)
    own = next((one.better for one in reports or (LOSS,) if _is(one, name)), None)
    if own and mode and mode != own:
        better = "more" if own == "max" else "less"
        raise UserError(f"monitor_mode={mode}: of {monitor}, {better} is better. Leave it out, or name another metric")
    found = own or mode
    if found is None:
        raise UserError(f"monitor={monitor}: is more of it better, or less? Add monitor_mode=max or monitor_mode=min")
    return found


def check_monitor(config: Mapping[str, Any]) -> None:
    """Raises UserError where ``monitor``, or that of a callback of ours, is no metric of the task's validation.

    The same where it has no direction. ``config`` holds plain values; its task's class is imported. A task that declares
    no metrics may report any.
    """
    reports: Sequence[Metric] = reported(config)
    watching = {"monitor": (config.get("monitor"), config.get("monitor_mode"))}
    for name, node in (config.get("callbacks") or {}).items():
        if isinstance(node, Mapping) and str(node.get("_target_")).startswith("groundup."):
            watching[f"callbacks.{name}.monitor"] = (node.get("monitor"), node.get("mode"))
    for key, (monitor, mode) in watching.items():
        if not config.get("task") or not monitor:
            continue
        check_reported(key, str(monitor), reports)
        direction(str(monitor), mode, reports)


def check_reported(key: str, monitor: str, reports: Sequence[Metric]) -> None:
    """Raises UserError where ``monitor`` is no metric of a validation that reports these; without any it may be."""
    split, _, name = monitor.rpartition("/")
    if reports and not (split == "validation" and any(_is(one, name) for one in reports)):
        advice = f". Try {key}=validation/{meant}" if (meant := meant_metric(name, reports)) else ""
        listed = ", ".join(f"validation/{one.name}" for one in reports if one.better)
        raise UserError(f"{key}={monitor}: this task's validation reports {listed}{advice}")


def _is(metric: Metric, name: str) -> bool:
    return name == metric.name or (metric.by_group and name.startswith(f"{metric.name}_"))
