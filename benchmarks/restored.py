"""The best BLEU that a tokenizer lets a model reach: a test split's texts, encoded and decoded, against themselves.

python benchmarks/restored.py --root DATA
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path

import sacrebleu

from groundup.data.sources.python_docs import PythonDocs
from groundup.text.tokenizer import Tokenizer

KINDS = ("word", "wordpiece", "unigram", "byte_bpe", "char")


def texts(file: Path, column: str) -> list[str]:
    """A column of ``NAME/SPLIT.jsonl.gz``."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line)[column] for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=Path, required=True)
    root = parser.parse_args().root
    sets = {
        "multi30k, German": ([texts(root / f"multi30k/{split}.jsonl.gz", "de") for split in ("train", "test")], "13a"),
        "tatoeba, Chinese": (
            [texts(root / f"tatoeba_en_zh/{split}.jsonl.gz", "zh") for split in ("train", "test")],
            "zh",
        ),
    }
    docs = PythonDocs("summary")
    pairs = [row[role] for row in docs.rows("train") for role in ("source", "target")]
    sets["python_docs_summary"] = ([pairs, [row["target"] for row in docs.rows("test")]], "13a")
    print("| texts | tokenizer | tokens | unknown | BLEU |\n|---|---|---:|---:|---:|")
    for name, ((train, test), words) in sets.items():
        for kind in KINDS:
            tokenizer = Tokenizer.train(train, kind, 8192)
            ids = tokenizer.encode_batch(test)
            tokens, unknown = sum(map(len, ids)), sum(row.count(tokenizer.unk_id) for row in ids)
            found = sacrebleu.corpus_bleu([tokenizer.decode(row) for row in ids], [test], tokenize=words, force=True)
            print(f"| {name} | {kind} | {tokens:,} | {unknown / tokens:.2%} | {found.score:.2f} |", flush=True)


if __name__ == "__main__":
    main()
