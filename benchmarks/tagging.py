"""Training speed of a BiLSTM-CRF tagger against a bare loop of the same size (bar 1.5x), and what the CRF costs (bar 30 %).

    python benchmarks/tagging.py --root ../shared/data
    python benchmarks/tagging.py --root ../shared/data --characters

UD EWT, batches of 32 sentences. The bare loop is what one writes in an afternoon: ``nn.LSTM`` in both directions, random
batches padded to their longest sentence, a CRF whose recurrence runs over the whole batch at once with gradients by
autograd, fused AdamW and clipping; with ``pack_padded_sequence`` and without. All take turns in one process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # what the command sets
os.environ.setdefault("WANDB_MODE", "offline")

import torch
from built import Built, Enough, build
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

BATCH, WIDTH, EMBEDDED, CHARACTERS = 32, 256, 128, 64
SETTINGS = [
    "data=ud_ewt",
    "task=tagging",
    "model=bilstm_encoder",
    f"model.width={WIDTH}",
    f"model.embedding_width={EMBEDDED}",
    "size.recurrent_layers=1",
    "tokenizer=word",
    "tokenizer.lowercase=true",
    f"batching.batch_size={BATCH}",
    "threads=1",
]


class BareTagger(nn.Module):
    """Embedding, character CNN or none, BiLSTM, linear map, CRF. Returns the negative log-likelihood of all words."""

    def __init__(self, vocabulary: int, tags: int, characters: bool, packed: bool) -> None:
        super().__init__()
        self.packed = packed
        self.embedding, self.dropout = nn.Embedding(vocabulary, EMBEDDED), nn.Dropout(0.1)
        self.letters = nn.Embedding(256, 32) if characters else None
        self.filters, self.spelling = nn.Conv1d(32, CHARACTERS, 3, padding=1), nn.Linear(CHARACTERS, CHARACTERS)
        fed = EMBEDDED + (CHARACTERS if characters else 0)
        self.lstm = nn.LSTM(fed, WIDTH // 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(WIDTH, tags)
        self.start, self.end = nn.Parameter(torch.zeros(tags)), nn.Parameter(torch.zeros(tags))
        self.transitions = nn.Parameter(torch.zeros(tags, tags))

    def forward(self, ids: Tensor, tags: Tensor, lengths: Tensor, characters: Tensor) -> Tensor:
        x = self.embedding(ids)
        if self.letters is not None:
            B, T, L = characters.shape
            found = self.filters(self.letters(characters.view(B * T, L)).mT)  # (B * T, F, L)
            found = found.masked_fill((characters.view(B * T, 1, L) == 0), -1e4).amax(-1)
            x = torch.cat((x, self.spelling(found).view(B, T, CHARACTERS)), dim=-1)
        x = self.dropout(x)
        if self.packed:
            y, _ = self.lstm(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
            hidden, _ = pad_packed_sequence(y, batch_first=True)
        else:
            hidden, _ = self.lstm(x)
        return self.nll(self.head(self.dropout(hidden)), tags, lengths)

    def nll(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        rows, mask = torch.arange(len(tags)), torch.arange(tags.shape[1]) < lengths[:, None]
        gold = emissions.gather(2, tags[:, :, None]).squeeze(2) * mask
        steps = self.transitions[tags[:, :-1], tags[:, 1:]] * mask[:, 1:]
        score = self.start[tags[:, 0]] + gold.sum(1) + steps.sum(1) + self.end[tags[rows, lengths - 1]]
        state = self.start + emissions[:, 0]
        for t in range(1, tags.shape[1]):
            new = (state[:, :, None] + self.transitions).logsumexp(1) + emissions[:, t]
            state = torch.where(mask[:, t, None], new, state)
        return ((state + self.end).logsumexp(1) - score).sum()


def bare_loop(built: Built, characters: bool, packed: bool) -> Iterator[int]:
    """Each ``next`` is one optimizer step; it gives the number of words."""
    examples = built.data.examples("train")
    sentences = []
    for one in (examples[0, row] for row in range(len(examples))):
        word = torch.as_tensor(one["first"]) == 1
        sentences.append([torch.as_tensor(one[name])[word] for name in ("input_ids", "labels", "characters")])
    model = BareTagger(built.data.tokenizer.vocab_size, len(built.data.facts.labels), characters, packed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    while True:
        order = torch.randperm(len(sentences)).tolist()
        for begin in range(0, len(order) - BATCH + 1, BATCH):
            chosen = [sentences[row] for row in order[begin : begin + BATCH]]
            lengths = torch.tensor([len(ids) for ids, *_ in chosen])
            ids, tags, letters = (pad_sequence(column, batch_first=True) for column in zip(*chosen, strict=True))
            longest = int((letters > 0).any(0).any(0).sum())
            words = int(lengths.sum())
            (model(ids, tags, lengths, letters[:, :, :longest]) / words).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            yield words


def our_step(built: Built) -> Iterator[int]:
    """The steps of our task without Lightning, to tell what a part of it costs."""
    from step_time import bare_loop as steps

    loop, seen = steps(built, built.task), [0]
    loss = built.task.loss

    def counted(batch: dict[str, Tensor]):  # type: ignore[no-untyped-def]
        seen[0] = words_of(batch)
        return loss(batch)

    built.task.loss = counted  # type: ignore[method-assign]
    while True:
        next(loop)
        yield seen[0]


def words_of(batch: dict[str, Tensor]) -> int:
    return int((batch["first"] == 1).sum())


class Turns:
    """Stands as a hook in our run: after ``length`` of its steps as many of each other loop, and so on."""

    def __init__(self, others: dict[str, Iterator[int]], length: int, rounds: int) -> None:
        self.others, self.length, self.rounds = others, length, rounds
        self.rates: dict[str, list[float]] = {name: [] for name in (OURS, *others)}  # words a second, one figure a turn
        self.times: dict[str, list[float]] = {name: [] for name in (OURS, *others)}  # seconds a step
        self.steps, self.words, self.started = 0, 0, time.perf_counter()

    def __call__(self, outputs: object, batch: dict[str, Tensor], batch_index: int) -> None:
        self.steps, self.words = self.steps + 1, self.words + words_of(batch)
        if self.steps % self.length:
            return
        self.note(OURS, self.words)
        for name, loop in self.others.items():
            self.started = time.perf_counter()
            self.note(name, sum(next(loop) for _ in range(self.length)))
        if len(self.rates[OURS]) > self.rounds:
            raise Enough
        self.words, self.started = 0, time.perf_counter()

    def note(self, name: str, words: int) -> None:
        seconds = time.perf_counter() - self.started
        self.rates[name].append(words / seconds)
        self.times[name].append(seconds / self.length)

    def ratio(self, one: str, other: str, of: Callable[[Turns], dict[str, list[float]]]) -> float:
        """Median over pairs of turns; the first turn warms up."""
        figures = of(self)
        return statistics.median(a / b for a, b in zip(figures[one][1:], figures[other][1:], strict=True))


OURS, PLAIN, PACKED = "groundup", "bare loop", "bare loop, packed sequences"
WITH, WITHOUT = "our step alone", "our step alone, no CRF"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="../shared/data", help="folder that holds ud_ewt/")
    parser.add_argument("--characters", action="store_true", help="words are known by their spelling, too")
    parser.add_argument("--steps", type=int, default=20, help="in a turn")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each, after one to warm up")
    arguments = parser.parse_args()
    root = str(Path(arguments.root).resolve())
    settings = [*SETTINGS, f"data.root={root}", *(["model.characters=cnn"] if arguments.characters else [])]
    with tempfile.TemporaryDirectory() as folder:
        steps = arguments.steps * (arguments.rounds + 2)
        ours, with_crf, without = (
            build("finetune", [*settings, f"task.crf={crf}"], Path(folder) / name, steps)
            for name, crf in (("run", "true"), ("with", "true"), ("without", "false"))
        )
        torch.manual_seed(1)
        others = {
            PLAIN: bare_loop(ours, arguments.characters, packed=False),
            PACKED: bare_loop(ours, arguments.characters, packed=True),
            WITH: our_step(with_crf),
            WITHOUT: our_step(without),
        }
        turns = Turns(others, arguments.steps, arguments.rounds)
        ours.task.on_train_batch_end = turns
        ours.fit()
    print(f"{arguments.rounds} turns of {arguments.steps} steps each, {torch.get_num_threads()} thread(s), medians")
    print("| loop | words/s | slowest to fastest turn | ms a step |\n|---|---|---|---|")
    for name, rates in turns.rates.items():
        times = turns.times[name][1:]
        spread = f"{min(rates[1:]):,.0f} to {max(rates[1:]):,.0f}"
        print(f"| {name} | {statistics.median(rates[1:]):,.0f} | {spread} | {1e3 * statistics.median(times):.1f} |")
    faster = [turns.ratio(OURS, bare, lambda t: t.rates) for bare in (PLAIN, PACKED)]
    share = 1 - turns.ratio(WITHOUT, WITH, lambda t: t.times)
    print(f"ours / bare, medians over pairs of turns: {faster[0]:.2f}, packed {faster[1]:.2f} (bar 1.5)")
    print(f"the CRF's share of a step: {share:.0%} (bar 30 %)")
    raise SystemExit(0 if min(faster) >= 1.5 and share <= 0.3 else 1)


if __name__ == "__main__":
    main()
