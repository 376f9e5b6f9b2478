"""Tokens a second: with the cache against without (bar 5x), and against ``generate`` of Hugging Face (bar 1x).

    .venv/bin/pip install -c constraints.txt -e '.[bench]'
    python benchmarks/generation.py

Greedy, 256 new tokens after 16, random weights, all cores, in one process; both sides of a pair take turns, and the
ratio is the median over pairs of turns.

1. Cache: a decoder of 4 layers x 128 (size=tiny), vocabulary 8,192, for one text and for sixteen; without the cache
   every token reads the whole text again, with logits of the last position only.
2. Hugging Face: a Llama of 6 layers x 256, 4 heads, vocabulary 8,192 and a decoder of ours with the same parts (rotary
   positions, SwiGLU of the same width, RMS norms, tied embedding), for one text and for sixteen.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # what the command sets
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import torch

from groundup.decoding.generate import decode
from groundup.decoding.sampling import Sampler
from groundup.models.heads import LanguageModelHead
from groundup.models.transformer import TransformerDecoder

VOCABULARY, PROMPT, NEW = 8192, 16, 256
Write = Callable[[list[list[int]]], list[list[int]]]


def ours(width: int, layers: int, **words) -> tuple[TransformerDecoder, LanguageModelHead]:
    torch.manual_seed(0)
    decoder = TransformerDecoder(VOCABULARY, width, layers, heads=4, zero_init=False, **words)
    return decoder.eval(), LanguageModelHead(decoder)


def cached(decoder: TransformerDecoder, head: LanguageModelHead) -> Write:
    """As ``groundup generate`` and ``predict`` write."""
    greedy = Sampler(temperature=0, max_new_tokens=NEW)

    def write(prompts: list[list[int]]) -> list[list[int]]:
        return [texts[0].tokens for texts in decode(decoder, head, prompts, decoding=greedy, eos_id=None)]

    return write


def uncached(decoder: TransformerDecoder, head: LanguageModelHead) -> Write:
    @torch.inference_mode()
    def write(prompts: list[list[int]]) -> list[list[int]]:
        texts = torch.tensor(prompts)
        for _ in range(NEW):
            hidden, _ = decoder(texts)
            texts = torch.cat((texts, head(hidden[:, -1]).argmax(-1, keepdim=True)), 1)
        return texts[:, PROMPT:].tolist()

    return write


def hugging_face(inner: int) -> tuple[Write, int]:
    """``generate`` with its defaults, greedy, and the number of parameters."""
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=256,
            intermediate_size=inner,
            num_hidden_layers=6,
            num_attention_heads=4,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
        )
    ).eval()
    greedy = GenerationConfig(do_sample=False, max_new_tokens=NEW, min_new_tokens=NEW, pad_token_id=0)

    def write(prompts: list[list[int]]) -> list[list[int]]:
        ids = torch.tensor(prompts)
        written = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=greedy)
        return written[:, PROMPT:].tolist()

    return write, sum(parameter.numel() for parameter in model.parameters())


def compare(name: str, batch: int, rounds: int, first: Write, second: Write, bar: float) -> bool:
    """One row of the table; whether ``first`` writes at least ``bar`` times as fast as ``second``."""
    generator = torch.Generator().manual_seed(1)
    prompts = torch.randint(7, VOCABULARY, (batch, PROMPT), generator=generator).tolist()
    rates: list[list[float]] = [[], []]
    for turn in range(rounds + 1):
        for side, write in zip(rates, (first, second), strict=True):
            started = time.perf_counter()
            texts = write(prompts)
            seconds = time.perf_counter() - started
            assert [len(text) for text in texts] == [NEW] * batch
            if turn:  # the first warms up
                side.append(batch * NEW / seconds)
    ratio = statistics.median(a / b for a, b in zip(*rates, strict=True))
    a, b = (f"{statistics.median(side):,.0f} ({min(side):,.0f} to {max(side):,.0f})" for side in rates)
    print(f"| {name} | {batch} | {a} | {b} | {ratio:.2f} | {bar:g} |", flush=True)
    return ratio >= bar


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side, after one to warm up")
    rounds = parser.parse_args().rounds

    tiny, large = ours(128, 4), ours(256, 6, feed_forward="swiglu", qk_norm=False)
    llama, parameters = hugging_face(inner=large[0].blocks[0].feed_forward.down.in_features)
    print(f"ours {sum(p.numel() for p in large[0].parameters()):,} parameters, Llama {parameters:,}")
    print("| ours against | texts | tokens/s, median turn | theirs | ratio | bar |")
    print("|---" * 6 + "|")
    met = [compare("no cache", batch, rounds, cached(*tiny), uncached(*tiny), 5) for batch in (1, 16)]
    met += [compare("Hugging Face", batch, rounds, cached(*large), llama, 1) for batch in (1, 16)]
    print(f"{rounds} turns each, {torch.get_num_threads()} threads, torch {torch.__version__}")
    raise SystemExit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
