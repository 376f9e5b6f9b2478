"""Tokenizers as others make them, and a folder of theirs brought here: what tests of exchange share."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from groundup.config.compose import compose
from groundup.runs.folder import RunFolder
from groundup.runs.job import Job
from groundup.stages import importing

LINES = [
    "The with statement closes a file, even when an error is raised inside it.",
    "def average(numbers): return sum(numbers) / len(numbers)",
    "海阔凭鱼跃，天高任鸟飞。 A café in São Paulo; 1,234.5 €",
    "  two spaces,\tand a tab 🙂",
    "",
]


def byte_level(special: list[str], begins: str | None = None) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        LINES,
        trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    if begins:
        ids = [(begins, special.index(begins))]
        made.post_processor = processors.TemplateProcessing(single=f"{begins} $A", special_tokens=ids)
    return made


def word_pieces() -> Tokenizer:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(
        LINES, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    )
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


def bring(path: Path, into: Path) -> RunFolder:
    """``groundup import path=PATH``, in this process."""
    config = compose("import", [f"path={path}"])
    job = Job("import", RunFolder(into), (f"path={path}",))
    into.mkdir(parents=True)
    job.folder.set_status("running", stage="import")
    importing.run(config, job)
    job.folder.set_status("done")
    return job.folder
