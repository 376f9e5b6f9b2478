"""Memory (bar 1,500 MB) and time of learning a vocabulary from a very long text and encoding it; each case in a process of its own.

python benchmarks/long_texts.py [--tokenizers byte_bpe unigram] [--texts dna_50]
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

TOKENIZERS = ("byte_bpe", "char", "word", "wordpiece", "unigram")
TEXTS = ("plain_30", "plain_100", "line_50", "dna_50", "lines_5")  # kind of text, million characters
BAR = 1500  # MB

ONE = """
import sys
from groundup.data.batching import Packed
from groundup.data.packing import PackedText
from groundup.data.sources.files import Files
from groundup.data.text_data import TextData
from groundup.text.tokenizer import TokenizerSpec
file, kind, cache = sys.argv[1:]
source = Files(train=file, validation_share=0.01)
data = TextData(source, PackedText, TokenizerSpec(kind, 4096, min_frequency=2), Packed(), cache, seed=1)
data.prepare()
"""


def make(name: str, file: Path) -> None:
    """Writes the text ``name``."""
    kind, millions = name.split("_")
    size, draw = int(millions) * 1_000_000, random.Random(1)
    letters = "etaoinshrdlucmfwypvbgkqjxz"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(30_000)]
    with open(file, "w", encoding="utf-8") as out:
        written = 0
        while written < size:
            if kind == "dna":
                text = "".join(draw.choices("acgt", k=1_000_000))
            elif kind == "lines":
                text = "\n" * 999_990 + "it ended. "
            else:
                known = int(draw.paretovariate(0.6) * 40) % 30_000 + 1
                end = ".\n" if kind == "plain" else ". "
                text = " ".join(draw.choices(words[:known], k=14)).capitalize() + end
            written += out.write(text[: size - written])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokenizers", nargs="+", choices=TOKENIZERS, default=TOKENIZERS)
    parser.add_argument("--texts", nargs="+", choices=TEXTS, default=TEXTS)
    wanted = parser.parse_args()
    over = 0
    print("| text | tokenizer | peak MB | CPU s |\n|---|---|---:|---:|")
    for name in wanted.texts:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{name}.txt"
            make(name, file)
            for kind in wanted.tokenizers:
                measured = [sys.executable, __file__, "--child", str(file), kind, f"{folder}/{kind}"]
                line = subprocess.run(measured, check=True, capture_output=True, text=True).stdout
                over += int(line.split(" | ")[0]) > BAR
                print(f"| {name} | {kind} | {line.strip()} |", flush=True)
    sys.exit(1 if over else 0)


def child(file: str, kind: str, cache: str) -> None:
    """Prints peak and CPU time of one case: the peak of all children of a process is that of its largest."""
    subprocess.run([sys.executable, "-c", ONE, file, kind, cache], check=True, stdout=subprocess.DEVNULL)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{used.ru_maxrss // 1024} | {used.ru_utime + used.ru_stime:.0f}")


if __name__ == "__main__":
    child(*sys.argv[2:]) if sys.argv[1:2] == ["--child"] else main()
