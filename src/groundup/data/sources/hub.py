"""Data sets of the Hugging Face hub, through the ``datasets`` library."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from groundup.data.reading import Located
from groundup.data.rows import lookup, missing_column
from groundup.data.sources.source import SPLITS
from groundup.errors import UserError
from groundup.system.cache import Cache

log = logging.getLogger(__name__)
_PATIENCE = 2.0  # seconds to wait for the hub to answer; datasets alone retries for 23 s
_ALIASES = {"validation": ("validation", "valid", "val", "dev", "development"), "train": ("train",), "test": ("test",)}


class Hub:
    """One data set by its id, downloaded once and then read from the local cache, or streamed.

    name: ``owner/set``, or ``owner/set@revision``, of which ``config`` is then a folder. columns: role -> our column.
    renamed: the hub's column -> ours, where they differ. Class numbers become names, also in lists; a split whose labels
    are hidden (-1, as in competitions) does not exist for those who want them.
    """

    def __init__(
        self, name: str, config: str | None, columns: dict[str, str], renamed: dict[str, str], streaming: bool
    ):
        self.name, self.config, self.streaming = name, config, streaming
        self.id, _, revision = name.partition("@") if not os.path.isdir(name) else (name, "", "")
        self.revision = revision or None
        theirs = {ours: column for column, ours in renamed.items()}
        self.columns = {role: (column, theirs.get(column, column)) for role, column in columns.items()}

    @cached_property
    def _splits(self) -> dict[str, Any]:
        """Our split names -> data sets. Raises UserError when the hub cannot be reached and nothing is cached."""
        import datasets

        reachable = os.path.isdir(self.name) or _reachable()
        before = datasets.config.HF_HUB_OFFLINE
        datasets.config.HF_HUB_OFFLINE = before or not reachable  # then only its local cache is asked, at once
        quiet = datasets.utils.logging.get_verbosity()
        datasets.utils.logging.set_verbosity_error()
        try:
            part = {"name": self.config} if self.revision is None else {"data_dir": self.config}
            found = datasets.load_dataset(self.id, **part, revision=self.revision, streaming=self.streaming)
        except Exception as error:  # the library raises a dozen kinds, from three packages
            raise self._refused(error, reachable) from error
        finally:
            datasets.config.HF_HUB_OFFLINE = before
            datasets.utils.logging.set_verbosity(quiet)
        chosen = {ours: next((name for name in names if name in found), None) for ours, names in _ALIASES.items()}
        splits = {ours: found[chosen[ours]] for ours in SPLITS if chosen[ours] is not None}
        return {ours: data for ours, data in splits.items() if not self._hidden(data)}

    def splits(self) -> list[str]:
        return list(self._splits)

    def rows(self, split: str) -> Iterator[Located]:
        """Raw rows under our columns' names. Raises UserError when a column is missing."""
        data = self._splits[split]
        columns, classes = dict(self.columns), {}
        for role, (_, theirs) in self.columns.items():
            if data.features and _feature(data.features, theirs) is None:
                if role != "references":  # an extra, which a set's copy on the hub may lack
                    taken = [name for _, name in self.columns.values()]
                    raise missing_column(role, theirs, _nested(data.features), f"{self.name} on the hub", taken)
                log.info("%s on the hub has no column '%s': the target is the only reference", self.name, theirs)
                del columns[role]
            classes[role] = self._class_names(data, theirs)
        for number, row in enumerate(data):
            named: dict[str, Any] = {ours: None for role, (ours, _) in self.columns.items() if role not in columns}
            for role, (ours, theirs) in columns.items():
                with contextlib.suppress(KeyError):
                    named[ours] = _named(lookup(row, theirs), classes[role])
            yield f"{self.name} {split} row {number}", named

    def _hidden(self, data: Any) -> bool:
        theirs = self.columns.get("label", ("", ""))[1]
        if not self._class_names(data, theirs):
            return False
        first: dict[str, Any] = next(iter(data), {})
        return bool(first.get(theirs) == -1)

    @staticmethod
    def _class_names(data: Any, column: str) -> list[str] | None:
        feature = _feature(data.features or {}, column)
        return getattr(getattr(feature, "feature", feature), "names", None)  # a list has the type of its items

    def fingerprint(self, split: str) -> str:
        return Cache.key("hub", self.name, self.config, self.columns, split, self._version(split))

    def _version(self, split: str) -> str:
        """What pins the content: the library's hash of a downloaded set; the commit of a streamed one."""
        if not self.streaming:
            return str(self._splits[split]._fingerprint)
        if os.path.isdir(self.name):
            return "local"
        import huggingface_hub

        return str(huggingface_hub.HfApi().dataset_info(self.id, revision=self.revision).sha)

    def _refused(self, error: Exception, reachable: bool) -> UserError:
        if not reachable:
            why = "HF_HUB_OFFLINE is set" if _told_to_stay_offline() else "no connection"
            return UserError(
                f"cannot fetch {self.name} from the Hugging Face hub ({why}), and it is not in the local cache: "
                "give a local copy, as in data.root=FOLDER, or files of your own, as in data=files data.train=FILE"
            )
        if isinstance(error, ValueError) and "onfig" in str(
            error
        ):  # "Config name is missing", "BuilderConfig not found"
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            return UserError(f"{self.name} on the hub: {' '.join(lines)[:300]}; set data.hub_config=NAME")
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return UserError(f"cannot load {self.name} from the hub: {first}. Check data.hub, or give data.root=FOLDER")


def _named(value: Any, names: list[str] | None) -> Any:
    """A class number as the name of the class; in a list, each."""
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    return names[value] if names and isinstance(value, int) and value >= 0 else value


def _feature(features: Mapping[str, Any], column: str) -> Any:
    """The type of a column, or of a path into nested columns; None when there is none."""
    try:
        return lookup(_nested(features), column)
    except KeyError:
        return None


def _nested(features: Mapping[str, Any]) -> dict[str, Any]:
    """Types of columns with the languages of a translation as columns of their own."""
    return {
        name: dict.fromkeys(feature.languages, "string") if hasattr(feature, "languages") else feature
        for name, feature in features.items()
    }


def _told_to_stay_offline() -> bool:
    import huggingface_hub.constants

    return bool(huggingface_hub.constants.HF_HUB_OFFLINE)


def _reachable() -> bool:
    """Whether a connection to the hub (or to the proxy in front of it) opens within two seconds."""
    import urllib.request

    import huggingface_hub.constants

    if _told_to_stay_offline():
        return False
    endpoint = urlsplit(huggingface_hub.constants.ENDPOINT)
    proxy = urllib.request.getproxies().get(endpoint.scheme)
    if proxy and not urllib.request.proxy_bypass(endpoint.hostname or ""):
        endpoint = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    try:
        port = endpoint.port or (80 if endpoint.scheme == "http" else 443)
        socket.create_connection((endpoint.hostname or "", port), timeout=_PATIENCE).close()
        return True
    except OSError:
        return False
