"""A run whose members are runs: it answers with the mean of their log-probabilities, by weights."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from groundup.config.tree import Config
from groundup.data.roles import Row
from groundup.errors import UserError
from groundup.runs.folder import RunFolder
from groundup.runs.reference import MEMBERS
from groundup.stages.answering import Answering
from groundup.stages.classifier import Classifier, saved_labels
from groundup.stages.stored import check_config
from groundup.system.files import damaged

FLOOR = 1e-6  # share of every class in a member's probabilities: what it holds for impossible may still be
_NAME = re.compile(r"\w[\w-]*(/\w[\w-]*)*")
_DEPTH, _MOST = 4, 100  # members within members, and members of a run


@dataclass(frozen=True)
class Member:
    """``folder``: of the member, below that of the whole. ``weight``: of its log-probabilities, not negative."""

    folder: str
    weight: float
    label: str = ""


class RunOfMembers(Classifier):
    """Softmax of the weighted sum of the members' log-probabilities."""

    def __init__(
        self, folder: RunFolder, config: Config, labels: Sequence[str], members: Sequence[tuple[Answering, float]]
    ) -> None:
        super().__init__(folder, config, labels)
        self.members = tuple(members)

    @classmethod
    def open(cls, folder: RunFolder, config: Config, load: Callable[[Path], Answering], depth: int = 0) -> RunOfMembers:
        """``load`` opens a member. Raises UserError where one is missing, damaged, or of other classes."""
        check_config(folder, config, ("task", "data"))
        labels, saved = saved_labels(folder), read_members(folder)
        if depth > _DEPTH:
            raise damaged(folder.path / MEMBERS, "its members have members that have members")
        members = []
        for one in saved:
            if one.weight == 0:
                continue
            member = load(folder.path / one.folder)
            if list(member.labels) != labels:
                raise damaged(folder.path / MEMBERS, f"{one.folder} has other classes")
            members.append((member, one.weight))
        return cls(folder, config, labels, members)

    @property
    def name(self) -> str:
        if "model" in self.config:  # the folds of one
            return f"{self.members[0][0].name}, {len(self.members)} fold{'s' * (len(self.members) > 1)}"
        return "all together"

    def probabilities(self, rows: Sequence[Row], accelerator: str = "cpu") -> np.ndarray:
        return fused(
            [member.probabilities(rows, accelerator) for member, _ in self.members],
            [weight for _, weight in self.members],
        )


def fused(probabilities: Sequence[np.ndarray], weights: Iterable[float]) -> np.ndarray:
    """Softmax of the weighted sum of log-probabilities, each (N, C)."""
    total = sum(weight * logarithm(one) for weight, one in zip(weights, probabilities, strict=True))
    shares = np.exp(total - np.max(total, axis=1, keepdims=True, initial=-np.inf))
    return shares / shares.sum(axis=1, keepdims=True)


def logarithm(probabilities: np.ndarray) -> np.ndarray:
    """The logarithm of probabilities (N, C), of which every class keeps ``FLOOR`` at least."""
    return np.log((1 - FLOOR) * probabilities + FLOOR / probabilities.shape[1])


def write_members(folder: RunFolder, members: Sequence[Member]) -> None:
    folder.write_json(MEMBERS, [vars(member) for member in members])


def read_members(folder: RunFolder) -> list[Member]:
    """What ``write_members`` has written, as anybody's data. Raises UserError for anything else."""
    file = folder.path / MEMBERS
    saved = folder.read_json(MEMBERS, [])
    try:
        members = [Member(str(one["folder"]), float(one["weight"]), str(one.get("label", ""))) for one in saved]
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
        raise damaged(file, "a member has no folder or no weight") from None
    if not members or len(members) > _MOST or len({one.folder for one in members}) < len(members):
        raise damaged(file, f"it has {len(members)} members, or one of them twice")
    if not all(math.isfinite(one.weight) and one.weight >= 0 for one in members) or not any(o.weight for o in members):
        raise damaged(file, "weights are no shares")
    for one in members:
        path = folder.path / one.folder
        if not _NAME.fullmatch(one.folder):
            raise damaged(file, f"{one.folder} is no folder below it")
        if any(part.is_symlink() for part in (path, *path.parents) if folder.path in part.parents):
            raise UserError(f"{path} is a link, and members of a run lie in its folder. Put there what it points to")
    return members
