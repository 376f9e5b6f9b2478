"""Views of Weights & Biases as code: what panels show, and how they are sent."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from groundup.errors import ArgumentError, UserError
from groundup.system.files import read_text, write_text

KINDS = ("line", "bars", "scatter", "importance", "parallel")  # the key that says what a panel is holds what it shows
AXES = {"step": "trainer/global_step", "tokens": "tokens"}
SENT, REPORT = "sent.json", "report of all"  # a file, and the name in it of what has all views


class View:
    """A workspace: sections of panels over the runs that have a tag.

    Args:
        title: of the workspace.
        about: a sentence that the report has above its panels.
        sections: name -> panels. A panel has one key of ``KINDS`` with what it shows, and ``x`` (of a line: step or tokens)
            and ``log`` (x, y or xy) besides. A name with a slash is a figure that runs log, another one a key of their
            configuration.
        tag: of the runs that are shown; None: all.
        group_by: keys of the configuration.

    Raises:
        ArgumentError: a panel that says something else.
    """

    def __init__(
        self,
        title: str,
        sections: Mapping[str, Sequence[Mapping[str, Any]]],
        about: str = "",
        tag: str | None = None,
        group_by: Sequence[str] = (),
    ) -> None:
        self.title, self.about, self.tag, self.group_by = title, about, tag, tuple(group_by)
        self.sections = {name: [dict(panel) for panel in panels] for name, panels in sections.items()}
        for panel in (panel for panels in self.sections.values() for panel in panels):
            _check(panel)

    @property
    def names(self) -> set[str]:
        """All that must be logged for its panels to show something: figures, and keys of the configuration."""
        shown = {name for panels in self.sections.values() for panel in panels for name in _shown(panel)}
        return shown | {*self.group_by}


def _check(panel: Mapping[str, Any]) -> None:
    said = json.dumps(panel, ensure_ascii=False)
    kinds = [kind for kind in KINDS if kind in panel]
    if len(kinds) != 1 or {*panel} - {*KINDS, "x", "log"}:
        raise ArgumentError(f"sections: a panel has one of {', '.join(KINDS)}, and x and log besides, not {said}")
    names: Any = _shown(panel)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ArgumentError(f"sections: names of figures or keys are missing in {said}")
    if kinds == ["scatter"] and len(names) != 2:
        raise ArgumentError(f"sections: a scatter has two names, of x and of y, not {said}")
    if panel.get("x", "step") not in AXES or panel.get("log", "x") not in ("x", "y", "xy"):
        raise ArgumentError(f"sections: x is {' or '.join(AXES)} and log is x, y or xy, not {said}")


def _shown(panel: Mapping[str, Any]) -> list[str]:
    value = next(panel[kind] for kind in KINDS if kind in panel)
    return [value] if isinstance(value, str) else list(value)


def workspace(view: View, entity: str, project: str) -> Any:
    """The view as an object of ``wandb-workspaces``."""
    import wandb_workspaces.workspaces as ws

    sections = [
        ws.Section(name=name, panels=[_panel(panel) for panel in panels], is_open=True)
        for name, panels in view.sections.items()
    ]
    shown = ws.RunsetSettings(
        filters=[ws.Tags().isin([view.tag])] if view.tag else [],
        groupby=[ws.Config(key) for key in view.group_by],
    )
    return ws.Workspace(entity=entity, project=project, name=view.title, sections=sections, runset_settings=shown)


def report(views: Sequence[View], entity: str, project: str) -> Any:
    """All views one below the other, as a report of ``wandb-workspaces``. Asks the server for the project."""
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    blocks: list[Any] = [wr.TableOfContents()]
    for view in views:
        filters = [ws.Tags().isin([view.tag])] if view.tag else []
        runs = wr.Runset(
            entity=entity,
            project=project,
            name=view.title,
            filters=filters,
            groupby=[f"config.{key}" for key in view.group_by],
        )
        panels = [_panel(panel) for panels in view.sections.values() for panel in panels]
        blocks += [wr.H1(view.title), wr.P(view.about), wr.PanelGrid(runsets=[runs], panels=panels)]
    return wr.Report(entity=entity, project=project, title=f"{project}: all runs", blocks=blocks)


def _panel(panel: Mapping[str, Any]) -> Any:
    import wandb_workspaces.reports.v2 as wr

    names: Any = _shown(panel)
    log = panel.get("log", "")
    scales: Any = {"log_x": "x" in log or None, "log_y": "y" in log or None}
    if "line" in panel:
        return wr.LinePlot(title=" and ".join(names), x=AXES[panel.get("x", "step")], y=names, **scales)
    if "bars" in panel:
        return wr.BarPlot(title=" and ".join(names), metrics=names)
    if "scatter" in panel:
        x, y = map(_value, names)
        return wr.ScatterPlot(title=f"{names[1]} by {names[0]}", x=x, y=y, **scales)
    if "importance" in panel:
        return wr.ParameterImportancePlot(with_respect_to=names[0])
    return wr.ParallelCoordinatesPlot(columns=[wr.ParallelCoordinatesPlotColumn(metric=_value(name)) for name in names])


def _value(name: str) -> Any:
    import wandb_workspaces.reports.v2 as wr

    return wr.SummaryMetric(name) if "/" in name else wr.Config(name)


class Server:
    """Weights & Biases, asked with the key at hand.

    What was sent is noted in ``folder``, so that a second call changes the same views.
    Raises UserError when it cannot be reached, or says no.
    """

    def __init__(self, folder: Path, entity: str | None, project: str) -> None:
        import wandb

        os.environ["WANDB_SILENT"] = "true"
        with _asking():
            api = wandb.Api()
            self.entity, self.project = entity or api.default_entity or "", project
            if not any(one.name == project for one in api.projects(self.entity)):
                api.create_project(project, self.entity)
        self._file = folder / SENT
        self._sent = self._noted()

    def send(self, name: str, view: View) -> str:
        """Saves the workspace, and returns its address."""
        made = workspace(view, self.entity, self.project)
        made._internal_name, made._internal_id = self._sent.get(name, ["", ""])
        with _asking():
            made.save()
            address = made.url
        self._note(name, [made._internal_name, made._internal_id])
        return address

    def send_report(self, views: Sequence[View]) -> str:
        """Saves the report that has all views, and returns its address."""
        with _asking():
            made = report(views, self.entity, self.project)
            made.id = self._sent.get(REPORT, ["", ""])[1]
            made.save()
            address = made.url
        self._note(REPORT, ["", made.id])
        return address

    def _noted(self) -> dict[str, list[str]]:
        """Name of a view -> its name and id on the server, as earlier calls noted them for the same project."""
        try:
            told = json.loads(read_text(self._file)) if self._file.is_file() else {}
            here = (told.get("entity"), told.get("project")) == (self.entity, self.project)
            found = told["sent"].items() if here else ()
            return {key: pair for key, pair in found if len(pair) == 2 and all(map(_is_id, pair))}
        except (ValueError, LookupError, TypeError, AttributeError):
            return {}

    def _note(self, key: str, pair: list[str]) -> None:
        self._sent[key] = pair
        told = {"entity": self.entity, "project": self.project, "sent": self._sent}
        write_text(self._file, json.dumps(told, indent=2) + "\n")


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[\w=:-]{0,200}", value, re.ASCII) is not None


def as_json(made: Any) -> str:
    """A workspace as the JSON that the server takes."""
    return json.dumps(json.loads(made._to_model().model_dump_json(by_alias=True, exclude_none=True)), indent=2) + "\n"


@contextlib.contextmanager
def _asking():
    """Not from the current folder: W&B obeys a wandb/settings there, which may be a stranger's. Failures are one line."""
    try:
        with contextlib.chdir(Path(__file__).parent):
            yield
    except Exception as error:  # no network, a wrong key, no such entity, ...: W&B has many kinds
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"W&B: {said}. The JSON is written; try wandb login, or entity=TEAM") from error
