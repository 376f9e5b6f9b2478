"""Rows from local files, or from the Hugging Face hub."""

from __future__ import annotations

import glob
import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from groundup.data.sources import hub as hugging_face
from groundup.data.sources.formats import Located, Reading, format_of, read
from groundup.data.sources.held_out import cut, place
from groundup.data.sources.source import SPLITS, Row, Source, cleaned, extract, label_text
from groundup.data.sources.tally import Tally
from groundup.errors import UserError
from groundup.system.cache import Cache
from groundup.text.clean import Clean

log = logging.getLogger(__name__)


class Files(Source):
    """Files of each split (a path, a glob or a list, mixed formats allowed), or a data set of the hub.

    root: joined to relative paths. Without it, and with ``hub``, rows come from the hub by that id, except for splits
    whose files exist as they are named (so a file of one's own can take the place of a split).
    hub_columns: the hub's column -> ours, where they differ. text, text_pair, label: the columns; a .txt has ``text``.
    source, target: columns of pairs, in the place of text; references: further right answers, a list or one text.
    group: column of rows whose figures are reported apart. A nested column is a path, as in ``translation.en``.
    labels: class names in a fixed order. validation_share: part of train to hold out when there is no validation file:
    rows by their content (so that duplicates stay together), pairs by their source, the end of each .txt document.
    txt: a .txt is one document, or one row a line. streaming: read at each pass instead of keeping the rows in memory.
    encoding, delimiter, columns: what the files do not say of themselves, see ``formats.Reading``.
    Rows without a label are left out where there is a label column, those whose text is empty stay; both are told.
    many_classes: for a label that is another one in most rows, which is taken for a mistake otherwise.
    """

    def __init__(
        self,
        train: str | Sequence[str] | None = None,
        validation: str | Sequence[str] | None = None,
        test: str | Sequence[str] | None = None,
        root: str | None = None,
        hub: str | None = None,
        hub_config: str | None = None,
        hub_columns: dict[str, str] | None = None,
        text: str | None = None,
        text_pair: str | None = None,
        label: str | None = None,
        source: str | None = None,
        target: str | None = None,
        references: str | None = None,
        group: str | None = None,
        labels: Sequence[str] | None = None,
        validation_share: Annotated[float, Field(gt=0, lt=1)] | None = None,
        txt: Literal["file", "line"] = "file",
        encoding: str | None = None,
        delimiter: str | None = None,
        columns: Sequence[str] | None = None,
        many_classes: bool = False,
        streaming: bool = False,
        clean: Clean | None = None,
    ):
        texts = _sides(source, target, references) or {"text": text or "text", "text_pair": text_pair}
        named = {**texts, "label": label, "group": group}
        self.columns = {role: column for role, column in named.items() if column is not None}
        self.labels = None if labels is None else _distinct(labels)
        self.reading = Reading(txt, encoding, delimiter, columns)
        self.validation_share, self.streaming, self.clean = validation_share, streaming, clean
        self.many_classes = many_classes
        self.root = _path(root) if root else Path()
        given = {"train": train, "validation": validation, "test": test}
        self.files = {
            split: [names] if isinstance(names, str) else list(names) for split, names in given.items() if names
        }
        self.hub = None
        if hub is not None and root is None:
            self.files = {split: names for split, names in self.files.items() if all(map(_exists, names))}
            self.hub = hugging_face.Hub(hub, hub_config, self.columns, dict(hub_columns or {}), streaming)
        elif not self.files:
            raise UserError(
                "no data: name a file, as in data.train=train.csv (or a hub id, as in data.hub=stanfordnlp/imdb)"
            )
        self.reading.refuse_idle([name for names in self.files.values() for name in names])
        self._rows: dict[str, list[Row]] = {}
        self._fingerprints: dict[str, str] = {}
        self.told: set[str] = set()  # splits whose left-out rows were reported; "share": the held-out part was

    def splits(self) -> list[str]:
        present = self._present()
        held_out = ["validation"] if self.validation_share and "train" in present else []
        return [split for split in SPLITS if split in [*present, *held_out]]

    def rows(self, split: str) -> Iterable[Row]:
        if self.streaming:
            return _Stream(self, split)
        if split not in self._rows:
            self.fingerprint(split)  # before they are read: an edit in between must not give old rows the new name
            self._rows[split] = list(_Stream(self, split))
        return self._rows[split]

    def fingerprint(self, split: str) -> str:
        if split not in self._fingerprints:
            self._fingerprints[split] = self._fingerprint(split)
        return self._fingerprints[split]

    def _fingerprint(self, split: str) -> str:
        origin, shared = self._origin(split)
        share = self.validation_share if shared else None
        settings = [self.columns, self.clean.as_dict() if self.clean else None, share, asdict(self.reading)]
        content: list[str] | list[tuple[str, str]]
        if self.hub and origin not in self.files:
            content = [self.hub.fingerprint(origin)]
        else:
            content = [(format_of(path), _file_hash(path)) for path in self.paths(origin)]
        return Cache.key("files", split, origin, settings, content)

    def _present(self) -> list[str]:
        return [*self.files, *(self.hub.splits() if self.hub else [])]

    def _origin(self, split: str) -> tuple[str, bool]:
        """The split whose files hold the rows, and whether they are shared between train and validation."""
        if split in self.files and split != "train":  # no need to ask the hub
            return split, False
        present = self._present()
        share = self.validation_share is not None and "validation" not in present
        if share and "train" in present and "share" not in self.told:
            self.told.add("share")
            log.info("validation: %g %% of train held out, %s", 100 * (self.validation_share or 0), self._which())
        if split in present:
            return split, share and split == "train"
        if split == "validation" and "train" in present:
            if share:
                return "train", True
            raise UserError(
                "the data has no validation split: name it, as in data.validation=dev.csv, "
                "or hold out a part of train, as in data.validation_share=0.1"
            )
        where = f"{self.hub.name} on the hub" if self.hub else "the data"
        raise UserError(f"{where} has no {split} split (it has {', '.join(present)}); name one: data.{split}=FILE")

    def read(self, split: str, tally: Tally) -> Iterator[Row]:
        """One pass over the rows of a split. ``tally`` counts what is left out."""
        origin, share = self._origin(split)
        held_out = split == "validation"
        for where, raw in self._raw(origin):
            document = self.reading.txt == "file" and where.removesuffix(".gz").endswith(".txt")
            if share and document:
                raw = {"text": cut(raw["text"], self.validation_share or 0, held_out)}
            row = extract(raw, self.columns, where)
            # By the text as it stands in the file: cleaning must not move rows from one split to the other.
            if share and not document and (place(row) < (self.validation_share or 0)) != held_out:
                continue
            row = cleaned(row, self.clean) if self.clean else row
            if tally.keeps(row, where):
                yield row
        if not tally.rows:
            raise self._nothing_in(split, share)
        if split == "train" and "label" in self.columns and not (self.many_classes or self.labels):
            tally.refuse_many(self.columns["label"])

    def _nothing_in(self, split: str, share: bool) -> UserError:
        if not share:
            return UserError(
                f"{split}: no row has a label in column '{self.columns.get('label')}': try data.label=COLUMN"
            )
        return UserError(
            f"data.validation_share={self.validation_share} of train leaves no rows for {split}: train is too small; "
            "name a file, as in data.validation=dev.csv, or set another share"
        )

    def _raw(self, origin: str) -> Iterator[Located]:
        if self.hub and origin not in self.files:
            yield from self.hub.rows(origin)
            return
        for path in self.paths(origin):
            if self.streaming and self.reading.txt == "file" and format_of(path) == ".txt":
                raise UserError(
                    f"{path} is one document and would fill the memory: add data.txt=line to stream its lines"
                )
            yield from read(path, self.reading)

    def _which(self) -> str:
        documents = self.reading.txt == "file" and any(".txt" in name for name in self.files.get("train", ()))
        return "the end of each .txt" if documents else "by content"

    def paths(self, split: str) -> list[Path]:
        paths = []
        for name in self.files[split]:
            if "://" in name:
                raise UserError(f"{name} is an address: download it, and name the file (data.{split})")
            path = self.root / _path(name)
            if glob.has_magic(name) and not os.path.exists(path):
                pattern = os.path.join(glob.escape(str(self.root)), _path(name))  # only the name is a pattern
                found = sorted(glob.glob(pattern, recursive=True))
                if not found:
                    raise UserError(f"no file matches {path} (data.{split})")
                paths += [Path(one) for one in found]
            else:
                paths.append(path)
        return paths


def _exists(name: str) -> bool:
    path = _path(name)
    return os.path.isfile(path) or (glob.has_magic(name) and bool(glob.glob(str(path), recursive=True)))


def _path(name: str) -> Path:
    """``~`` is the home folder; where there is none, it is a name like other. Raises UserError for a name in no UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(f"{name!a}: this name is not UTF-8, so no run could write it down. Rename the file") from None
    return Path(os.path.expanduser(name))


class _Stream:
    """Rows read anew at each pass; the first one tells what is left out."""

    def __init__(self, source: Files, split: str):
        self._source, self._split = source, split

    def __iter__(self) -> Iterator[Row]:
        source, split, tally = self._source, self._split, Tally()
        yield from source.read(split, tally)
        if split not in source.told:
            source.told.add(split)
            for line in tally.lines(split):
                log.warning("%s", line)


def _distinct(labels: Sequence[str]) -> list[str]:
    names = [label_text(name) for name in labels]
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise UserError(f"data.labels names '{twice}' {names.count(twice)} times: name each class once")
    return names


def _sides(source: str | None, target: str | None, references: str | None) -> dict[str, str | None]:
    """The columns of a pair, none of them or source and target at least."""
    if source is None and target is None and references is None:
        return {}
    for name, column in {"source": source, "target": target}.items():
        if column is None:
            raise UserError(f"a pair needs two columns: add data.{name}=COLUMN (or take the other roles of pairs away)")
    return {"source": source, "target": target, "references": references}


def _file_hash(path: Path) -> str:
    try:
        if path.is_file():
            with open(path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # which reading puts into words
        pass
    next(read(path, Reading()))
    raise UserError(f"{path} was there a moment ago: run this again")
