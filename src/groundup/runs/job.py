"""What a stage is given besides its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from groundup.runs.folder import RunFolder


@dataclass(frozen=True)
class Job:
    """What a stage is told besides its configuration.

    ``choices``: group -> chosen name, as composed (``{"model": "bilstm_encoder", ...}``).
    ``sweep_dir``, ``job_num``: set in a multirun only; ``group``: the name that its runs share in W&B.
    ``resuming``: the folder holds an earlier part of this very run, which is to be continued.
    ``rank``: 0 writes files; the others must not.
    """

    stage: str
    folder: RunFolder
    overrides: tuple[str, ...] = ()
    choices: Mapping[str, str | None] = field(default_factory=dict)
    sweep_dir: Path | None = None
    job_num: int | None = None
    group: str | None = None
    resuming: bool = False
    rank: int = 0

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def as_dict(self) -> dict:
        """Plain values, for another process on this machine."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values |= {"folder": str(self.folder.path.absolute()), "overrides": list(self.overrides)}
        return values | {"choices": dict(self.choices), "sweep_dir": self.sweep_dir and str(self.sweep_dir)}

    @classmethod
    def from_dict(cls, values: Mapping) -> Job:
        sweep_dir = values["sweep_dir"]
        made = {"folder": RunFolder(values["folder"]), "overrides": tuple(values["overrides"])}
        return cls(**{**values, **made, "sweep_dir": Path(sweep_dir) if sweep_dir else None})
