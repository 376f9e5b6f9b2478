"""Models of Transformers with random weights, here and back again: logits, greedy text, tokens.

    python benchmarks/exchange.py FILE [FILE ...] [--only roberta]

Files are UTF-8 texts, whose first 10,000 lines that are not empty are tokenized. Five shapes of each family.
"names as text": here the name of a special token in a text is plain text, as with their ``split_special_tokens=True``. Greedy text:
tokens that are never written here are suppressed there, too.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path

import torch
import transformers as hf
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from groundup.config.compose import compose
from groundup.decoding.sampling import Greedy
from groundup.runs.folder import RunFolder
from groundup.runs.job import Job
from groundup.stages import importing
from groundup.stages.export_hf import export_hf
from groundup.stages.loading import load_network
from groundup.text.foreign_file import LETTERS

SHAPES = [(32, 2, 2, 1), (48, 3, 4, 2), (64, 2, 8, 8), (96, 4, 6, 3), (128, 6, 8, 4)]  # width, layers, heads, kv heads
PROMPTS = ["The with statement", "A", "import os\n\ndef main():"]
POSITIONS, NEW = 128, 48
ENCODERS = ("bert", "roberta")
FAMILIES = (*ENCODERS, "gpt2", "llama", "qwen2")


def learned(family: str, lines: list[str], size: int = 8000):
    """A tokenizer of the family's kind, with so many entries."""
    if family == "bert":
        made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.WordPiece()
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        made.train_from_iterator(
            lines, trainers.WordPieceTrainer(vocab_size=size, special_tokens=special, show_progress=False)
        )
        ids = [("[CLS]", 2), ("[SEP]", 3)]
        made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ids)
        names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
        return hf.PreTrainedTokenizerFast(tokenizer_object=made, **names)
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(False), decoders.ByteLevel()
    if family == "qwen2":
        made.normalizer = normalizers.NFC()
        parts = [pre_tokenizers.Split(Regex(LETTERS), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
        made.pre_tokenizer = pre_tokenizers.Sequence(parts)
    special = {"llama": ["<unk>", "<s>", "</s>"], "roberta": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]}
    special = special.get(family, ["<|endoftext|>"])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(lines, trainer)
    if family == "llama":
        made.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s> $B", [("<s>", 1)])
        return hf.PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", bos_token="<s>", unk_token="<unk>")
    if family == "roberta":
        made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
        names = zip(("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"), special, strict=True)
        return hf.PreTrainedTokenizerFast(tokenizer_object=made, cls_token="<s>", sep_token="</s>", **dict(names))
    return hf.PreTrainedTokenizerFast(tokenizer_object=made, eos_token=special[0])


def random_model(family: str, shape: tuple[int, int, int, int], vocabulary: int, number: int):
    width, layers, heads, shared = shape
    if family == "gpt2":
        sizes = {"n_embd": width, "n_layer": layers, "n_head": heads, "n_positions": POSITIONS}
        model = hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=vocabulary, bos_token_id=0, eos_token_id=0, **sizes))
    else:
        sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
        sizes |= {"intermediate_size": 3 * width, "max_position_embeddings": POSITIONS, "vocab_size": vocabulary}
        more = {
            "num_key_value_heads": shared,
            "tie_word_embeddings": bool(number % 2),
            "rope_theta": 10_000.0 * 10**number,
        }
        if family == "bert":
            model = hf.BertForMaskedLM(hf.BertConfig(**sizes))
        elif family == "roberta":  # two of its positions are spare, and its texts are of one type
            sizes |= {"max_position_embeddings": POSITIONS + 2, "type_vocab_size": 1}
            model = hf.RobertaForMaskedLM(hf.RobertaConfig(pad_token_id=1, **sizes))
        elif family == "llama":
            model = hf.LlamaForCausalLM(hf.LlamaConfig(**sizes, **more))
        else:
            model = hf.Qwen2ForCausalLM(hf.Qwen2Config(**sizes, **more))
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
        if parameter.ndim == 1 and name.endswith("weight"):
            parameter.data += 1
    return model.eval()


@torch.inference_mode()
def measure(family: str, number: int, tokenizer, lines: list[str], folder: Path) -> tuple:
    torch.manual_seed(number)
    model = random_model(family, SHAPES[number], len(tokenizer), number)
    model.save_pretrained(folder / "theirs")
    tokenizer.save_pretrained(folder / "theirs")
    job = Job("import", RunFolder(folder / "run"))
    job.folder.path.mkdir()
    job.folder.set_status("running", stage="import")
    importing.run(compose("import", [f"path={folder / 'theirs'}"]), job)
    run = load_network(folder / "run", use="evaluate")
    export_hf(run, folder / "ours", None)
    auto = hf.AutoModelForMaskedLM if family in ENCODERS else hf.AutoModelForCausalLM
    back, reread = auto.from_pretrained(folder / "ours").eval(), hf.AutoTokenizer.from_pretrained(folder / "ours")
    ids = torch.randint(5, len(tokenizer), (4, POSITIONS - 8))
    expected = model(ids).logits
    ours = run.task.head(run.task.hidden_states({"input_ids": ids}))
    differences = [(other - expected).abs().max().item() for other in (ours, back(ids).logits)]
    texts = greedy(run, model, back, tokenizer) if family not in ENCODERS else "-"
    tokens, as_text = (
        [0, 0],
        [0],
    )  # here and read back; names of special tokens are plain text here, so also against that
    for line in lines:
        own = run.tokenizer.encode(line)
        tokens[0] += own == tokenizer(line, add_special_tokens=False)["input_ids"]
        tokens[1] += reread(line)["input_ids"] == tokenizer(line)["input_ids"]
        as_text[0] += own == tokenizer(line, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return (*differences, texts, f"{tokens[0]:,}", f"{as_text[0]:,}", f"{tokens[1]:,}")


def greedy(run, model, back, tokenizer) -> str:
    """How many of the prompts all three go on from in the same way."""
    same = 0
    for prompt in PROMPTS:
        ours = "".join(run.task.continuation(prompt, Greedy(max_new_tokens=NEW), 0))
        given = tokenizer(prompt, return_tensors="pt")["input_ids"]
        settings = {
            "max_new_tokens": NEW,
            "do_sample": False,
            "pad_token_id": 0,
            "suppress_tokens": [*run.task.unwritten] or None,
        }
        written = [
            one.generate(input_ids=given, attention_mask=torch.ones_like(given), **settings) for one in (model, back)
        ]
        cut = [tokenizer.decode(row[0][given.shape[1] :], skip_special_tokens=True) for row in written]
        same += ours == cut[0] == cut[1]
    return f"{same}/{len(PROMPTS)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=FAMILIES)
    asked = parser.parse_args()
    hf.logging.set_verbosity_error()
    found = (line for file in asked.files for line in file.read_text("utf-8").splitlines())
    lines = list(itertools.islice((line for line in found if line.strip()), 10_000))
    print(
        "| model | width, layers, heads, kv heads | here, max difference | back, max difference | greedy | tokens here "
        "| names as text | tokens back |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for family in asked.only:
        tokenizer = learned(family, lines)
        for number, shape in enumerate(SHAPES):
            with tempfile.TemporaryDirectory() as folder:
                here, back, texts, *tokens = measure(family, number, tokenizer, lines, Path(folder))
            shown = ", ".join(map(str, shape))
            print(f"| {family} | {shown} | {here:.1e} | {back:.1e} | {texts} | {' | '.join(tokens)} |", flush=True)


if __name__ == "__main__":
    main()
