"""Rows in, batches out: everything between a source and a task."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from pydantic import Field

from groundup.data.batching import Batching, BatchStream, EvaluationBatches, padding_share
from groundup.data.examples import LabelledText
from groundup.data.facts import Facts
from groundup.data.forms import FORMS, Examples, Form, check_batching
from groundup.data.loading import Collate, StreamLoader
from groundup.data.packing import PackedText
from groundup.data.pairs import PairedText
from groundup.data.roles import Row
from groundup.data.sources.source import GivenRows, Source, alike, check_roles, label_names
from groundup.data.vocabularies import build_tokenizers, check_sizes
from groundup.errors import UserError
from groundup.system.cache import Cache
from groundup.text.tokenizer import Tokenizer, TokenizerSpec

log = logging.getLogger(__name__)
_CLASSES = 10  # shown with their counts


class TextDataModule(LightningDataModule):
    """The data of a run: tokenizer, facts, and loaders whose order follows from ``seed`` alone.

    ``form`` (a task's, see ``forms``) must be set before ``setup``, ``collate`` before a loader is asked for.
    ``tokenizer`` is that of all text; with a ``target_tokenizer``, for pairs, each is of its own side only.
    To use a finished run's tokenizers and labels, give its Tokenizers and set ``known`` to its Facts.
    Trainers need ``use_distributed_sampler=False``: ranks are told apart here.

    After ``setup``: ``tokenizer``, ``target_tokenizer`` (the same one if none was given), ``facts``, ``report`` (per
    split), ``batches_per_epoch`` (micro-batches of all ranks together), ``tokens_per_batch`` (mean, padding not counted).
    """

    tokenizer: Tokenizer
    target_tokenizer: Tokenizer

    def __init__(
        self,
        source: Source | None,
        tokenizer: TokenizerSpec | Tokenizer,
        batching: Batching,
        cache_dir: str | None,
        seed: int,
        num_workers: Annotated[int, Field(ge=0)] = 0,
        target_tokenizer: TokenizerSpec | Tokenizer | None = None,
    ) -> None:
        super().__init__()
        self.source: Source = GivenRows({}) if source is None else source
        self.batching, self.seed, self.num_workers = batching, seed, num_workers
        self.cache = Cache(Path(cache_dir) if cache_dir else None)
        self.form: str | Form | None = None
        self.collate: Collate | None = None
        self.known: Facts | None = None
        self.total_batches: int | None = (
            None  # micro-batches of the run on each rank: max_steps x accumulation; None: an epoch
        )
        self.start_batch = 0  # micro-batches done before a resume
        self.report: dict[str, dict[str, float]] = {}
        self._facts: Facts | None = None
        self._given, self._given_target = tokenizer, target_tokenizer
        self._examples: dict[str, Examples] = {}
        self._rows: dict[str, list[Row]] = {}
        self._fingerprints: dict[str, str] = {}
        self._order: str | None = None

    # What Lightning calls

    def prepare_data(self) -> None:
        """Trains the tokenizer and encodes every split into the cache, so that other ranks find it done.

        Shows what is wrong with a split before any training. A finished run (``known``) opens what it is asked for.
        """
        self._prepare_facts()
        for split in self.source.splits() if self.known is None else ():
            self.examples(split)

    def setup(self, stage: str | None = None) -> None:
        """Opens the splits that ``stage`` needs: train and validation, unless it is validate, test or predict."""
        self._prepare_facts()
        for split in {"validate": ("validation",), "test": ("test",), "predict": ()}.get(
            stage or "fit", ("train", "validation")
        ):
            self.examples(split)

    def train_dataloader(self) -> StreamLoader:
        examples, (rank, world) = self.examples("train"), self._place()
        total = self.total_batches or max(1, self.batches_per_epoch // world)
        plan = partial(self.batching.plan, examples.lengths(training=True), self.seed)
        stream = BatchStream(plan, total, rank, world, self.start_batch, constant=self.batching.constant)
        return StreamLoader(examples, self._collate(), self.seed, stream, self.num_workers)

    def val_dataloader(self) -> StreamLoader:
        return self.evaluation_loader("validation")

    def test_dataloader(self) -> StreamLoader:
        return self.evaluation_loader("test")

    # What else may be asked

    @property
    def facts(self) -> Facts:
        """What models and tasks must know of the data."""
        assert self._facts is not None, "call setup first"
        return self._facts

    def evaluation_loader(self, split: str) -> StreamLoader:
        """Each example of ``split`` once, split over ranks; ``index`` restores the order."""
        return self._evaluate(self.examples(split))

    def loader(self, rows: Sequence[Row], batch_size: int | None = None) -> StreamLoader:
        """Raw rows (role -> text; no labels, no targets) as examples to predict; ``index`` is the place in ``rows``."""
        self._prepare_facts()
        if self._form() is PackedText:  # a language model scores each text by itself
            rows = [{"text": row["text"]} for row in rows]
        return self._evaluate(self._make(GivenRows({"predict": rows}), "predict", None), batch_size)

    def examples(self, split: str) -> Examples:
        """The encoded split. Raises ``UserError`` if there is none."""
        if split not in self._examples:
            self._prepare_facts()
            if split not in self.source.splits():
                next(iter(self.source.rows(split)), None)  # the source's own message says what to set
                raise UserError(f"the data has no {split} split, only {', '.join(self.source.splits())}")
            self.fingerprint(split)
            self._examples[split] = examples = self._make(self.source, split, self.cache)
            self.report[split] = {**examples.report, "padding_share": self._padding(examples, split)}
            _log_report(split, self.report[split])
        return self._examples[split]

    def texts(self, split: str) -> list[Row]:
        """The rows of ``split`` as the source gives them, in order (kept in memory from the first call on)."""
        if split not in self._rows:
            self._rows[split] = list(self.source.rows(split))
        return self._rows[split]

    def bytes_per_token(self, split: str) -> float | None:
        """UTF-8 bytes of text a token of ``split``; of pairs, a token of the target."""
        return self.examples(split).bytes_per_token

    def fingerprint(self, split: str) -> str:
        """Hex digest of the rows of ``split`` as they were when it was opened: a file may change or go after that."""
        if split not in self._fingerprints:
            self._fingerprints[split] = self.source.fingerprint(split)
        return self._fingerprints[split]

    def order_fingerprint(self) -> str:
        """Hex digest of all that decides the training order but the ranks: a resumed run must find the same."""
        if self._order is None:  # every checkpoint holds it
            words = {name: value for name, value in vars(self.batching).items() if name != "evaluation_batch_size"}
            parts = (type(self.batching).__name__, words, self.seed, self.fingerprint("train"))
            digest = hashlib.sha256(repr(parts).encode())
            digest.update(self.examples("train").lengths(training=True).astype("<i8").tobytes())
            self._order = digest.hexdigest()
        return self._order

    def check_lengths(self, max_length: int | None) -> None:
        """Raises ``UserError`` for an open split with an example, or a masked document, that the model has no room for."""
        for split, examples in self._examples.items():
            if max_length is not None and examples.longest > max_length:
                raise UserError(
                    f"{split} has a sequence of {examples.longest} tokens, but model.max_length={max_length}: "
                    f"try model.max_length={examples.longest}"
                )

    @property
    def batches_per_epoch(self) -> int:
        """Micro-batches of the first epoch, all ranks together."""
        return len(self._first_plan())

    @property
    def tokens_per_batch(self) -> float:
        """Real tokens of a micro-batch, of pairs on both sides, mean over the first epoch."""
        return float(self.examples("train").lengths(training=True).sum()) / self.batches_per_epoch

    # Inside

    def _prepare_facts(self) -> None:
        form, known = self._form(), self.known
        check_batching(form, self.batching)
        if self._facts is not None:
            return
        check_roles(form.name, self.source.columns)
        tokenizer, target = build_tokenizers(self._given, self._given_target, form, self.source, self.cache)
        self.tokenizer, self.target_tokenizer = tokenizer, target or tokenizer
        labels: tuple[str, ...] = ()
        counts: tuple[int, ...] = ()
        if known is not None:
            labels, counts = known.labels, known.label_counts
        elif form is LabelledText:
            labels, counts = label_names(self.source)
            _log_classes(labels, counts)
        special = ("pad_id", "unk_id", "bos_id", "eos_id", "sep_id", "mask_id", "cls_id")
        ids = {name: getattr(tokenizer, name) for name in special}
        sizes = {"vocab_size": tokenizer.vocab_size, "target_vocab_size": target.vocab_size if target else None}
        facts = Facts(**sizes, **ids, labels=tuple(labels), label_counts=tuple(counts))  # type: ignore[arg-type]
        if known is not None:
            check_sizes(known, facts)
        self._facts = facts
        if known is not None:
            self._facts = replace(facts, length_ratio=known.length_ratio)
        elif issubclass(form, PairedText) and "train" in self.source.splits():
            pairs = self.examples("train")
            assert isinstance(pairs, PairedText)
            self._facts = replace(facts, length_ratio=pairs.length_ratio)

    def _form(self) -> Any:  # a Form; that it fits the batching is checked at run time
        assert self.form is not None, "set datamodule.form to the task's form before setup"
        return FORMS[self.form] if isinstance(self.form, str) else self.form

    def _make(self, source: Source, split: str, cache: Cache | None) -> Examples:
        form = self._form()
        words = {"target_tokenizer": self.target_tokenizer} if issubclass(form, PairedText) else {}
        return form(self.tokenizer, source, split, self.batching, cache, self.seed, self.facts.labels, **words)

    def _first_plan(self) -> list:
        if not hasattr(self, "_plan"):
            self._plan = self.batching.plan(self.examples("train").lengths(training=True), self.seed, 0)
        return self._plan

    def _padding(self, examples: Examples, split: str) -> float:
        lengths = examples.lengths(training=split == "train")
        return padding_share(
            self._first_plan() if split == "train" else self.batching.evaluation_plan(lengths), lengths
        )

    def _place(self) -> tuple[int, int]:
        """(rank, number of ranks)."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def _collate(self) -> Collate:
        assert self.collate is not None, "set datamodule.collate to the task's collator before asking for batches"
        return self.collate

    def _evaluate(self, examples: Examples, batch_size: int | None = None) -> StreamLoader:
        plan = self.batching.evaluation_plan(examples.lengths(training=False), batch_size)
        return StreamLoader(
            examples, self._collate(), self.seed, EvaluationBatches(plan, *self._place()), self.num_workers
        )


@rank_zero_only
def _log_classes(names: Sequence[str], counts: Sequence[int]) -> None:
    common = sorted(zip(counts, names, strict=True), key=lambda pair: -pair[0])
    rest = f", ... ({len(names):,} in all)" if len(names) > _CLASSES else ""
    log.info("classes of train: %s%s", ", ".join(f"{name} {count:,}" for count, name in common[:_CLASSES]), rest)
    for spellings in alike(names):
        log.warning("classes %s differ in their spelling only: are they one?", " and ".join(map(repr, spellings)))


@rank_zero_only
def _log_report(split: str, report: dict[str, float]) -> None:
    counts = f"{report['rows']:,} rows, {report['tokens']:,} tokens, {report['bytes_per_token']:.2f} bytes a token"
    shares = ", ".join(f"{report[f'{name}_share']:.1%} {name}" for name in ("unknown", "truncated", "padding"))
    names = {
        "source_truncated_rows": "cut sources",
        "target_truncated_rows": "cut targets",
        "empty_rows": "empty sides",
    }
    sides = [f"{report[key]:,} rows with {name}" for key, name in names.items() if report.get(key)]
    log.info("%s: %s; %s", split, counts, ", ".join([shares, *sides]))
