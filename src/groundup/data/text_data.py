"""The text of a run: rows, tokenizers, what models must know of them, and splits as examples."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from groundup.data.batching import Batching, BatchStream, EvaluationBatches, TokenBudget, padding_share
from groundup.data.examples import Examples, SplitToEncode
from groundup.data.facts import Facts
from groundup.data.loading import Collate, StreamLoader
from groundup.data.roles import Row
from groundup.data.rows import running_text
from groundup.data.seeding import mix
from groundup.data.seen import log_seen, seen_rows
from groundup.data.sources.few_labels import AllText
from groundup.data.sources.labels import alike
from groundup.data.sources.source import GivenRows, Source
from groundup.errors import UserError
from groundup.system.cache import Cache, code_version
from groundup.text.tokenizer import Tokenizer, TokenizerSpec

log = logging.getLogger(__name__)
UNLABELLED = "unlabelled"  # in place of a split: the rows of the source without a label
_CLASSES = 10  # shown with their counts
_LEARNED = ("length_ratio", "scale", "parts")  # facts of the examples of the train split
_SPECIAL = ("pad_id", "unk_id", "bos_id", "eos_id", "sep_id", "mask_id", "cls_id")


class TextData:
    """Rows in, examples out; batches of them by ``train_loader``, ``loader`` and ``rows_loader``.

    Everything is made when it is first asked for, and kept. ``tokenizer`` is that of all text; with a
    ``target_tokenizer``, for pairs, each is of its own side only. ``facts``, of a finished run, are given together with
    its Tokenizers: then nothing is learned. Without a ``source`` there are only rows that come later. ``apart``: the two
    texts of a row are two rows of a batch (see ``PairCollator``), which is what a budget of tokens has to hold.

    Attributes: ``report``, counts and shares of each split that was opened.

    Raises UserError when batching, tokenizers or columns do not fit what the task trains on.
    """

    def __init__(
        self,
        source: Source | None,
        examples: type[Examples],
        tokenizer: TokenizerSpec | Tokenizer,
        batching: Batching,
        cache_dir: str | None,
        seed: int,
        target_tokenizer: TokenizerSpec | Tokenizer | None = None,
        facts: Facts | None = None,
        apart: bool = False,
    ) -> None:
        source = GivenRows({}) if source is None else source
        self.source: Source = source
        if examples.without_labels and ("context" in source.columns or source.further_fingerprint() is not None):
            self.source = AllText(source)
        self.batching, self.seed, self.cache = batching, seed, Cache(Path(cache_dir) if cache_dir else None)
        self.report: dict[str, dict[str, float]] = {}
        self._apart = apart and isinstance(batching, TokenBudget)
        self._make, self._given, self._given_target, self._known = examples, tokenizer, target_tokenizer, facts
        self._examples: dict[str, Examples] = {}
        self._rows: dict[str, list[Row]] = {}
        self._fingerprints: dict[str, str] = {}
        examples.check_batching(batching)
        if target_tokenizer is not None and not examples.two_vocabularies:
            raise UserError(
                "a target_tokenizer is for encoder-decoders that read pairs, and this task reads one sequence: "
                "try target_tokenizer=null"
            )
        if self.source.columns:
            examples.check_columns(self.source.columns)

    # What is known of the data

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """As given, or learned from the train split and text without labels; of pairs with two, that of the source."""
        roles = self._make.learned_roles(self.source)
        return self._learned(self._given, roles if self._given_target is None else roles[:1])

    @cached_property
    def target_tokenizer(self) -> Tokenizer:
        """That of what a task writes: the same one, if no other was given."""
        if self._given_target is None:
            return self.tokenizer
        return self._learned(self._given_target, self._make.learned_roles(self.source)[1:])

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names; empty where there are no classes."""
        return self._labels[0]

    @cached_property
    def facts(self) -> Facts:
        """What models and tasks must know of the data."""
        names, counts = self._labels
        target = None if self._given_target is None else self.target_tokenizer.vocab_size
        known = self._known
        learned: Any = known or (self.examples("train") if "train" in self.source.splits() else None)
        seen = {name: getattr(learned, name) for name in _LEARNED} if learned else {}
        special = {name: getattr(self.tokenizer, name) for name in _SPECIAL}
        sizes = {"vocab_size": self.tokenizer.vocab_size, "target_vocab_size": target}
        facts = Facts(**sizes, **special, labels=names, label_counts=counts, **seen)  # type: ignore[arg-type]
        if known is not None:
            _check_sizes(known, facts)
        return facts

    # Splits

    def prepare(self) -> None:
        """Trains the tokenizers and encodes every split into the cache, which shows what is wrong before any training."""
        for split in self.source.splits() if self._known is None else ():
            self.examples(split)
        _ = self.facts

    def examples(self, split: str) -> Examples:
        """The encoded split, or the rows without a label as examples to answer. Raises ``UserError`` if there is none."""
        if split not in self._examples:
            source, kind = self.source, split
            if split == UNLABELLED:
                source, kind = self._to_answer(self.source.without_labels())
            elif split not in self.source.splits():
                next(iter(self.source.rows(split)), None)  # the source's own message says what to set
                raise UserError(f"the data has no {split} split, only {', '.join(self.source.splits())}")
            self.fingerprint(split)
            self._examples[split] = examples = self._encoded(source, kind, self.cache)
            self.report[split] = {**examples.report, "padding_share": self._padding(examples, split)}
            _log_report(split, self.report[split])
            if kind == split != "train" and self._known is None:
                seen = seen_rows(self.source, split, self._make.reads, self.cache)
                self.report[split]["seen_rows"] = seen
                log_seen(split, seen, int(self.report[split]["rows"]))
        return self._examples[split]

    def texts(self, split: str) -> list[Row]:
        """The rows of ``split`` as the source gives them, in order (kept in memory from the first call on)."""
        if split not in self._rows:
            self._rows[split] = list(self.source.rows(split))
        return self._rows[split]

    def running_texts(self) -> Iterator[str]:
        """All that vocabularies learn from, as running text: of the train split, then further text."""
        for row in self.source.rows("train"):
            yield from (running_text(row[role]) for role in self._make.learned_roles(self.source) if row.get(role))
        yield from self.source.further()

    def fingerprint(self, split: str) -> str:
        """Hex digest of the rows of ``split`` as they were when it was opened: a file may change or go after that."""
        if split not in self._fingerprints:
            source = self.source
            found = source.further_fingerprint() if split == UNLABELLED else source.fingerprint(split)
            self._fingerprints[split] = found or ""
        return self._fingerprints[split]

    @cached_property
    def order_fingerprint(self) -> str:
        """Hex digest of all that decides the training order but the ranks: a resumed run must find the same.

        Rows without a label count where they were opened by now.
        """
        settings = {name: value for name, value in vars(self.batching).items() if name != "evaluation_batch_size"}
        digest = hashlib.sha256()
        for split in ("train", *(split for split in self._examples if split == UNLABELLED)):
            parts = (type(self.batching).__name__, settings, self.seed, self.fingerprint(split))
            digest.update(repr(parts).encode())
            digest.update(self._sizes(self.examples(split), training=True).astype("<i8").tobytes())
        return digest.hexdigest()

    def check_lengths(self, max_length: int | None) -> None:
        """Raises ``UserError`` for an open split with an example, or a masked document, that the model has no room for."""
        for split, examples in self._examples.items():
            if max_length is not None and examples.longest > max_length:
                raise UserError(
                    f"{split} has a sequence of {examples.longest} tokens, but model.max_length={max_length}: "
                    f"try model.max_length={examples.longest}"
                )

    # Batches

    @property
    def rows(self) -> int:
        """Examples of the train split."""
        return len(self.examples("train"))

    @cached_property
    def batches_per_epoch(self) -> int:
        """Micro-batches of the first epoch, all ranks together."""
        return len(self._first_plan)

    @cached_property
    def tokens_per_batch(self) -> float:
        """Real tokens of a micro-batch, of pairs on both sides, mean over the first epoch."""
        return float(self.examples("train").lengths(training=True).sum()) / self.batches_per_epoch

    def train_loader(
        self,
        collate: Collate,
        total: int | None = None,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
        num_workers: int = 0,
        split: str = "train",
    ) -> StreamLoader:
        """Micro-batches ``start`` to ``total`` of one rank, over as many epochs as it takes; None: one epoch.

        ``split``: ``UNLABELLED`` for rows without a label, in an order of their own.
        """
        examples, seed = self.examples(split), self.seed if split == "train" else mix(self.seed, 1)
        total = total or max(1, self.batches_per_epoch // world)
        plan = partial(self.batching.plan, self._sizes(examples, training=True), seed)
        stream = BatchStream(plan, total, rank, world, start, constant=self.batching.constant)
        return StreamLoader(examples, collate, seed, stream, num_workers)

    def loader(self, split: str, collate: Collate, rank: int = 0, world: int = 1, num_workers: int = 0) -> StreamLoader:
        """Each example of ``split`` once, on one of the ranks; ``index`` restores the order."""
        examples = self.examples(split)
        plan = self.batching.evaluation_plan(self._sizes(examples))
        return StreamLoader(examples, collate, self.seed, EvaluationBatches(plan, rank, world), num_workers)

    def rows_loader(
        self, rows: Sequence[Row], collate: Collate, batch_size: int | None = None
    ) -> tuple[StreamLoader, Examples]:
        """Raw rows (role -> text; no labels, no targets) as batches to answer, and as examples.

        ``index`` is the number of the example; ``rows_of`` tells its place in ``rows``.
        """
        examples = self._encoded(*self._to_answer(rows), None)
        plan = self.batching.evaluation_plan(self._sizes(examples), batch_size)
        return StreamLoader(examples, collate, self.seed, EvaluationBatches(plan)), examples

    # Inside

    @cached_property
    def _labels(self) -> tuple[tuple[str, ...], tuple[int, ...]]:
        if self._known is not None:
            return self._known.labels, self._known.label_counts
        names, counts = self._make.label_names(self.source)
        if names:
            _log_classes(names, counts)
        return names, counts

    def _learned(self, given: TokenizerSpec | Tokenizer, roles: tuple[str, ...]) -> Tokenizer:
        if isinstance(given, Tokenizer):
            return given

        def texts() -> Iterator[str]:
            for row in self.source.rows("train"):
                for role in roles:
                    text = row.get(role)
                    if text:
                        yield from text if self._make.words_apart else [running_text(text)]

        content = (
            code_version(self.source),
            self.source.fingerprint("train"),
            roles,
            self.source.further_fingerprint(),
        )
        return given.build(texts, self.cache, self.cache.key(*content), self.source.further)

    def _to_answer(self, rows: Iterable[Row]) -> tuple[Source, str]:
        """Rows as a source, and the split of it, whose examples have no labels."""
        given = [{role: row[role] for role in self._make.reads if role in row} for row in rows]
        return GivenRows({"predict": given}), "predict"

    def _encoded(self, source: Source, split: str, cache: Cache | None) -> Examples:
        target = self.target_tokenizer if self._make.two_vocabularies else None
        settings = (self.tokenizer, source, split, self.batching, cache, self.seed, self._labels[0], target)
        return self._make(SplitToEncode(*settings))

    @cached_property
    def _first_plan(self) -> list:
        return self.batching.plan(self._sizes(self.examples("train"), training=True), self.seed, 0)

    def _sizes(self, examples: Examples, training: bool = False) -> np.ndarray:
        """What batches are planned by: the tokens of each example or, of texts that are read apart, their positions."""
        return examples.positions_apart() if self._apart and examples.parts > 1 else examples.lengths(training)

    def _padding(self, examples: Examples, split: str) -> float:
        lengths = examples.lengths(training=split == "train")
        plan = self._first_plan if split == "train" else self.batching.evaluation_plan(self._sizes(examples))
        return padding_share(plan, lengths)


def _check_sizes(known: Facts, found: Facts) -> None:
    """Raises ``UserError`` when the tokenizers at hand are not those that a run was trained with."""
    for name, told, seen in (
        ("tokenizer", known.vocab_size, found.vocab_size),
        ("target tokenizer", known.target_vocab_size, found.target_vocab_size),
    ):
        if told != seen:
            raise UserError(f"the run knows {told or 'no'} tokens, but the {name} has {seen or 'none'}")


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
        "unanswerable_rows": "no answer",
        "cut_answers": "an answer that no window holds",
    }
    sides = [f"{report[key]:,} rows with {name}" for key, name in names.items() if report.get(key)]
    log.info("%s: %s; %s", split, counts, ", ".join([shares, *sides]))
