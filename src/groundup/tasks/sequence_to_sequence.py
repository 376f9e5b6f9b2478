"""Conditional language modelling, P(y | x): what translation and summarization share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from groundup.data.collate import IGNORE, Collator
from groundup.data.facts import Facts
from groundup.data.loading import Collate
from groundup.data.pairs import ROOM, PairedText, PromptedText
from groundup.data.text_data import TextData
from groundup.decoding.decoding import Decoding, Hypothesis
from groundup.decoding.generate import Spelling, decode, spelled, stream
from groundup.decoding.sampling import Greedy, Sampler
from groundup.errors import ArgumentError, UserError
from groundup.metrics.estimate import Estimate
from groundup.metrics.generation import (
    EXACT_MATCH,
    Ranked,
    attention_sections,
    exact_match,
    references_of,
    written_sections,
)
from groundup.metrics.language import CONDITIONAL, language_metrics
from groundup.metrics.sections import Section
from groundup.models.backbone import Backbone, EncoderDecoderBackbone
from groundup.models.heads import LanguageModelHead, Pointer
from groundup.ranges import Rate
from groundup.tasks.attention_maps import attention_maps
from groundup.tasks.base import Read, Task, Writing
from groundup.tasks.evaluation import Split
from groundup.tasks.trainable import Loss, Optimize
from groundup.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)
RATIO = 2.0  # of runs that have learned none
CUT = (
    "stopped after {} tokens, without an end. Try decoding.max_new_tokens=..., or train with task.max_length_ratio=..."
)


class SequenceToSequence(Task):
    """Writes a target text for each source text, by an encoder-decoder, or by a decoder alone that reads both in a row.

    ``decoding``: how the final evaluation and predictions write; validations during training write greedily, for
    ``validation_rows`` rows of the split. ``max_length_ratio``: new tokens at most, times the tokens of the source, plus 10;
    None: as learned from the train split. ``label_smoothing``: share of the probability spread over the vocabulary while
    training; reported losses are without it. ``scheduled_sampling``: share of the decoder's inputs that are its own
    guesses while training, from a first pass without gradient (Bengio et al. 2015, in parallel as Duckworth et al. 2019).
    ``pointer``: tokens of the source may be copied (See et al. 2017); for encoder-decoders with one vocabulary.
    """

    examples = PairedText
    columns = ("source", "target")
    writes = "answer"
    accepts = ("encoder_decoder", "decoder")
    measured: ClassVar[Callable[..., dict[str, Estimate]]]  # metrics of hypotheses, sources and references
    ranked: ClassVar[Ranked]
    answers = ("prediction", "score", "log_probability", "finished", "n_best")

    def __init__(
        self,
        model: Backbone,
        facts: Facts,
        tokenizer: Tokenizer,
        decoding: Decoding,
        tied: bool = True,
        label_smoothing: Rate = 0.0,
        scheduled_sampling: Rate = 0.0,
        pointer: bool = False,
        validation_rows: Annotated[int, Field(ge=0)] = 100,
        max_length_ratio: Annotated[float, Field(gt=0)] | None = None,
        optimize: Optimize | None = None,
    ) -> None:
        super().__init__(model, facts, tokenizer, optimize)
        self.decoding, self.validation_rows = decoding, validation_rows
        self.max_length_ratio = max_length_ratio or facts.length_ratio or RATIO
        self.label_smoothing, self.scheduled_sampling = label_smoothing, scheduled_sampling
        self.paired = isinstance(model, EncoderDecoderBackbone)
        if scheduled_sampling and not self.paired:
            raise ArgumentError(
                f"scheduled_sampling={scheduled_sampling} is for encoder-decoders", "scheduled_sampling=0"
            )
        self.decoder: tuple[Backbone] = (
            model.decoder if isinstance(model, EncoderDecoderBackbone) else model,
        )  # a tuple hides it from state_dict
        self.head = LanguageModelHead(self.decoder[0], tied=tied)
        if pointer and not self.paired:
            raise ArgumentError("pointer copies from what an encoder reads, and here is none", "pointer=false")
        if pointer and facts.target_vocab_size is not None:
            raise ArgumentError(
                "pointer copies tokens, so source and target need one vocabulary: leave out target_tokenizer",
                "pointer=false",
            )
        self.pointer = Pointer(model.width) if pointer else None

    @classmethod
    def examples_for(cls, kind: str, characters: bool = False) -> type[PairedText]:
        return PairedText if kind == "encoder_decoder" else PromptedText

    def collator(self) -> Collate:
        return Collator(self.facts)

    # Training

    def loss(self, batch: dict[str, Tensor]) -> Loss:
        if self.scheduled_sampling and self.training:
            batch = {**batch, "decoder_input_ids": self.own_guesses(batch)}
        labels = batch["labels"]
        chosen = labels != IGNORE
        targets, count = labels[chosen], chosen.sum().float()
        if self.pointer is not None:
            logits = self.logits(batch, chosen)
            plain = F.cross_entropy(logits, targets, reduction="sum")
            smoothed = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=self.label_smoothing)
            return Loss(smoothed, count, plain=plain)
        hidden = self.hidden_states(batch)[chosen]
        plain = F.cross_entropy(self.head(hidden).float(), targets, reduction="sum")
        if not self.label_smoothing:
            return Loss(plain, count)
        # Smoothed loss = loss + share x (logit of the target - mean logit), and both logits are products of one vector:
        # no other pass over (tokens, vocabulary).
        matrix = self.head.matrix
        above = (self.head.features(hidden) * (matrix[targets] - matrix.mean(0))).sum().float()
        return Loss(plain + self.label_smoothing * above, count, plain=plain)

    def logits(self, batch: dict[str, Tensor], chosen: Tensor) -> Tensor:
        """Logits of the chosen positions (B, T) bool: (N, V) float32."""
        if self.pointer is None:
            return self.head(self.hidden_states(batch)[chosen]).float()
        ids, mask = batch["input_ids"], batch.get("attention_mask")
        hidden, memory = self.model(ids, batch["decoder_input_ids"], mask)
        weights, share = self.pointer.attend(hidden, self.pointer.source(ids, memory, mask))
        row = chosen.nonzero()[:, 0]
        return self.pointer.mix(self.head(hidden[chosen]), weights[chosen], share[chosen], ids[row])

    @torch.no_grad()
    def own_guesses(self, batch: dict[str, Tensor]) -> Tensor:
        """The decoder's inputs, a share of them replaced by what the model would have written there."""
        given = batch["decoder_input_ids"]
        guesses = self.logits(batch, torch.ones_like(given, dtype=torch.bool)).argmax(-1).view_as(given)[:, :-1]
        replaced = torch.rand(guesses.shape, device=guesses.device) < self.scheduled_sampling
        replaced &= batch["labels"][:, 1:] != IGNORE
        return torch.cat((given[:, :1], torch.where(replaced, guesses, given[:, 1:])), dim=1)

    # Writing

    def write(
        self,
        batch: dict[str, Tensor],
        decoding: Decoding,
        seeds: Sequence[int] | None = None,
        prefix: Sequence[int] = (),
    ) -> list[list[Hypothesis]]:
        """Targets for the sources of a batch, best first; each begins with the tokens of ``prefix``."""
        start, longest = self.start(batch, decoding, prefix)
        found = decode(decoding=decoding, seeds=seeds, max_lengths=longest, **start)
        if prefix:
            for hypotheses in found:
                for hypothesis in hypotheses:
                    hypothesis.tokens = [*prefix, *hypothesis.tokens]
        return found

    def start(
        self, batch: dict[str, Tensor], decoding: Decoding, prefix: Sequence[int] = ()
    ) -> tuple[dict[str, Any], list[int]]:
        """Arguments for the decoding functions, and the most new tokens of each row."""
        ids, mask = batch["input_ids"], batch.get("attention_mask")
        facts = self.facts
        common = {"decoder": self.decoder[0], "head": self.head, "eos_id": facts.eos_id, "begun": len(prefix)}
        common["forbidden_ids"] = facts.unwritten_ids
        if self.paired:
            lengths = [ids.shape[1]] * len(ids) if mask is None else mask.sum(1).tolist()
            prompts = [[facts.bos_id, *prefix]] * len(ids)
            memory = cast(EncoderDecoderBackbone, self.model).encode(ids, mask)
            common |= {"memory": memory, "memory_mask": mask}
            if self.pointer is not None:
                common["copy"] = partial(self.pointer.next, self.pointer.source(ids, memory, mask))
        else:  # <bos> source <sep>; what follows, in evaluation, is the answer
            ends = (ids == facts.sep_id).int().argmax(1) + 1
            prompts = [[*row[:end], *prefix] for row, end in zip(ids.tolist(), ends.tolist(), strict=True)]
            lengths = ends.tolist()
        least = decoding.min_new_tokens + 1  # and the end token
        longest = [max(int(self.max_length_ratio * length) + ROOM, least) for length in lengths]
        if not self.paired and (limit := self.decoder[0].max_length) is not None:
            # Beyond, it would go on without the beginning of its source.
            longest = [min(most, limit + 1 - len(prompt)) for most, prompt in zip(longest, prompts, strict=True)]
        return {"prompts": prompts, **common}, longest

    def generate(self, prompt: str, prefix: str, read: Read, decoding: Decoding, seed: int) -> Writing:
        if not prompt.strip():
            raise UserError("prompt is empty, and there is nothing to translate or summarize. Try prompt='...'")
        batch, cut = read(prompt)
        if cut:
            log.warning("the prompt is longer than the model reads: cut to %d tokens", batch["input_ids"].shape[1])
        with torch.inference_mode():
            return (yield from self.answer(batch, decoding, seed, self.tokenizer.encode(prefix)))

    def answer(self, batch: dict[str, Tensor], decoding: Decoding, seed: int, prefix: Sequence[int] = ()) -> Writing:
        """The target of a batch of one source: a sampler's in pieces as they become certain, a beam's as a whole."""
        if not isinstance(decoding, Sampler):
            best = self.write(batch, decoding, [seed], prefix)[0][0]
            yield self.spell(best.tokens)
            return None if best.finished else CUT.format(len(best.tokens) - len(prefix))
        start, (longest,) = self.start(batch, decoding, prefix)
        longest = min(longest, decoding.max_new_tokens)
        written = list(prefix)
        yield self.spell(written)  # also where nothing comes after it
        tokens = stream(sampler=decoding, seed=seed, max_lengths=[longest], **start)
        yield from spelled(tokens, Spelling(self.spell, written))
        return CUT.format(longest) if len(written) - len(prefix) == longest else None

    def spell(self, tokens: Sequence[int]) -> str:
        """The text of output tokens."""
        return self.tokenizer.decode(tokens)

    # Evaluation

    def evaluate_batch(self, batch: dict[str, Tensor], split: Split) -> dict[str, Tensor]:
        """Of each target ``nll``, ``count`` and ``correct`` of its tokens; of each text that was ``written`` its ``score`` and
        whether it is ``finished``; all (B,). ``tokens`` (B, max_new_tokens): what was written, then padding."""
        labels = batch["labels"]
        logits = self.logits(batch, torch.ones_like(labels, dtype=torch.bool))
        nll = F.cross_entropy(logits, labels.flatten(), ignore_index=IGNORE, reduction="none")
        chosen = labels != IGNORE
        written = self.is_written(batch["index"], split)
        size = self.decoding.max_new_tokens
        tokens = torch.full((len(labels), size), self.facts.pad_id, device=labels.device)
        scores = torch.zeros(len(labels), device=labels.device)
        finished = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
        if written.any():
            part = {name: value[written] for name, value in batch.items()}
            greedy = Greedy(max_new_tokens=size)
            found = self.write(part, self.decoding if split.final else greedy, part["index"].tolist())
            for row, (best, *_) in zip(written.nonzero()[:, 0].tolist(), found, strict=True):
                tokens[row, : len(best.tokens)] = torch.tensor(best.tokens, dtype=torch.long)
                scores[row], finished[row] = best.score, best.finished
        return {
            "nll": nll.view_as(labels).double().sum(1),
            "count": chosen.sum(1),
            "correct": ((logits.argmax(-1).view_as(labels) == labels) & chosen).sum(1),
            "written": written,
            "tokens": tokens,
            "score": scores,
            "finished": finished,
        }

    def is_written(self, index: Tensor, split: Split) -> Tensor:
        """Which rows (B,) are written: all at the end, else ``validation_rows`` of the whole split, evenly spread."""
        if split.final:
            return torch.ones_like(index, dtype=torch.bool)
        if not self.validation_rows:
            return torch.zeros_like(index, dtype=torch.bool)
        return index % -(-len(split.examples) // self.validation_rows) == 0

    def metrics(self, table: dict[str, Tensor], split: Split) -> dict[str, Estimate]:
        scored = (
            table["nll"].numpy(),
            table["count"].numpy(),
            split.examples.bytes_per_token,
            table["correct"].numpy(),
        )
        rows = self.describe(table, split)
        results = self.measure(rows, split.resamples) if rows else {}
        results |= language_metrics(*scored, metrics=CONDITIONAL, resamples=split.resamples)
        for group in sorted({row["group"] for row in rows if row.get("group")}):
            chosen = [row for row in rows if row.get("group") == group]
            found = exact_match([row["hypothesis"] for row in chosen], [references_of(row) for row in chosen])
            results[f"{EXACT_MATCH.name}_{group}"] = replace(found, group=group)
        return results

    def measure(self, rows: Sequence[dict[str, Any]], resamples: int = 0) -> dict[str, Estimate]:
        """Metrics of hypotheses, against the raw references."""
        return type(self).measured(
            [row["hypothesis"] for row in rows],
            [row["source"] for row in rows],
            [references_of(row) for row in rows],
            resamples=resamples,
        )

    def describe(self, table: dict[str, Tensor], split: Split) -> list[dict[str, Any]]:
        status, rows = split.examples.statuses(split.rows), []
        for row in table["written"].nonzero()[:, 0].tolist():
            index = int(table["index"][row])
            tokens = [token for token in table["tokens"][row].tolist() if token != self.facts.pad_id]
            empty = status[index] == "empty"  # a model would make something up, and `predict` writes nothing
            told = {"hypothesis": "" if empty else self.spell(tokens), "score": float(table["score"][row])}
            told["status"] = status_of(status[index], bool(table["finished"][row]))
            rows.append({"index": index, **split.rows[index], **told})
        return rows

    def predict_batch(self, batch: dict[str, Tensor], prefix: Sequence[int] = ()) -> list[dict[str, Any]]:
        """The best text and, where more were asked for, all of them with their scores."""
        answers = []
        for found in self.write(batch, self.decoding, batch["index"].tolist(), prefix):
            hypotheses = [
                {
                    "text": self.spell(one.tokens),
                    "score": one.score,
                    "log_probability": one.log_probability,
                    "finished": one.finished,
                }
                for one in found
            ]
            best = hypotheses[0]
            answers.append({"prediction": best["text"], **{key: best[key] for key in best if key != "text"}})
            if len(hypotheses) > 1:
                answers[-1]["n_best"] = hypotheses
        return answers

    def sections(self, rows: list[dict[str, Any]], data: TextData, split: str) -> list[Section]:
        return [*written_sections(rows, *self.ranked), *attention_sections(attention_maps(self, data, split))]


def status_of(source: str, finished: bool) -> str:
    """The status of a text that was written: that of its source, or ``unfinished`` where it came to no end in its length."""
    return source if finished or source != "ok" else "unfinished"
