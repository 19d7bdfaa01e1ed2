"""Tiny models, data and configs of all tasks, made on the spot: no network, always the same."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

WORDS = "the a my is was it we you parcel order card film plot new blue red one where when".split()
CLASSES = ("awful", "bad", "good", "great")
THAW = [{"train": "head", "steps": 3}, {"train": "last:1", "fraction": 0.3}, {"train": "all"}]
AVERAGE = {
    "class_path": "lightning.pytorch.callbacks.EMAWeightAveraging",
    "init_args": {"decay": 0.8},
}
TRAINER = {"max_epochs": 2, "accelerator": "cpu", "precision": "32-true", "log_every_n_steps": 1}
Config = dict[str, dict[str, Any]]


def save_tokenizer(folder: Path, ends: tuple[str, str | None]) -> int:
    """Writes a tokenizer of words and letters. Returns its number of tokens.

    Args:
        folder: where to.
        ends: what is put around one text, and around two.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,?"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *CLASSES, *WORDS, *letters, *(f"##{c}" for c in letters)]
    numbers = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    made = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(*ends, [("[CLS]", 2), ("[SEP]", 3)])
    names = {f"{name.strip('[]').lower()}_token": name for name in special}
    names |= {"bos_token": "[CLS]", "eos_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=64, **names).save_pretrained(
        folder
    )
    return len(numbers)


def make(home: Path) -> None:
    """Writes all models and data into a new folder."""
    home.mkdir()
    make_models(home)
    make_data(home)


def make_models(home: Path) -> None:
    """Writes a BERT, a Llama, a T5 and a ResNet of a few thousand weights."""
    import torch
    import transformers as hf

    hf.utils.logging.disable_progress_bar()
    size = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    deep = {**size, "num_hidden_layers": 3, "max_position_embeddings": 64}
    wide = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
    ends = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    blocks = {"embedding_size": 8, "hidden_sizes": [8, 12, 16], "depths": [1, 1, 1]}
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "bert": (hf.AutoModel, deep),
        "llama": (hf.AutoModelForCausalLM, {**deep, "num_key_value_heads": 1, **ends}),
        "t5": (hf.AutoModelForSeq2SeqLM, {**wide, **ends, "decoder_start_token_id": 0}),
        "resnet": (hf.AutoModelForImageClassification, {**blocks, "layer_type": "basic"}),
    }
    around = {"llama": ("[CLS] $A", None)}
    for name, (auto, sizes) in kinds.items():
        if name != "resnet":
            two = ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")
            sizes["vocab_size"] = save_tokenizer(home / name, around.get(name, two))
        torch.manual_seed(0)
        auto.from_config(hf.AutoConfig.for_model(name, **sizes)).save_pretrained(home / name)
    reader = {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}}
    (home / "resnet" / "preprocessor_config.json").write_text(json.dumps(reader))


def make_images(home: Path, draw: random.Random) -> None:
    """Writes noisy squares of one colour, in a folder for each split and class."""
    from PIL import Image

    colours = {"red": (220, 50, 60), "green": (50, 200, 40), "blue": (40, 60, 220)}
    for split, count in {"train": 12, "val": 4, "test": 4}.items():
        for name, colour in colours.items():
            folder = home / "images" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                noisy = bytes(c + draw.randint(-35, 35) for _ in range(24 * 20) for c in colour)
                Image.frombytes("RGB", (24, 20), noisy).save(folder / f"{i}.png")


def said(draw: random.Random, label: str) -> list[str]:
    """A text of a few words, the label among them."""
    words = draw.choices(WORDS, k=draw.randint(4, 12))
    return [*words[:2], label, *words[2:]]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def make_data(home: Path) -> None:
    """Writes the files of all tasks."""
    draw = random.Random(0)
    make_images(home, draw)
    for split, count in {"train": 40, "test": 12}.items():
        labels = [CLASSES[i % 4] for i in range(count)]
        make_split(home, split, [said(draw, label) for label in labels], labels)
    turns = [(u, t) for u in range(9) for t in range(14)]
    events = [{"user": f"u{u}", "item": f"i{(3 * u + t) % 30}", "time": 1000 + t} for u, t in turns]
    write_rows(home / "events-train.csv", events)
    items = [{"item": f"i{i}", "text": " ".join(said(draw, CLASSES[i % 4]))} for i in range(30)]
    write_rows(home / "items.csv", items)


def make_split(home: Path, split: str, texts: list[list[str]], labels: list[str]) -> None:
    """Writes the same texts as rows with labels, as pairs, as tagged words, as chats, as SQuAD."""
    rows, pairs, tagged, chats = [], [], [], []
    for i, (words, label) in enumerate(zip(texts, labels, strict=True)):
        first, second = " ".join(words[:4]), " ".join(words[2:6])
        several = f"{label}|{CLASSES[i % 3]}"
        rows.append({"text": " ".join(words), "label": label, "several": several, "number": i % 4})
        pairs.append({"source": f"{first} {i}", "target": second, "history": first})
        tagged.append("".join(f"{w} {'B-MARK' if w in CLASSES else 'O'}\n" for w in words))
        turns = [{"role": "user", "content": first}, {"role": "assistant", "content": second}]
        chats.append(json.dumps({"messages": turns}) + "\n")
    write_rows(home / f"text-{split}.csv", rows)
    write_rows(home / f"pairs-{split}.csv", pairs)
    (home / f"words-{split}.conll").write_text("\n".join(tagged))
    (home / f"chat-{split}.jsonl").write_text("".join(chats))
    (home / f"squad-{split}.json").write_text(json.dumps({"data": questions(texts, labels)}))


def questions(texts: list[list[str]], labels: list[str]) -> list[dict[str, Any]]:
    """SQuAD's articles; every fifth question has no answer."""
    paragraphs = []
    for i, (words, label) in enumerate(zip(texts, labels, strict=True)):
        context, none = " ".join(words), i % 5 == 0
        answers = [] if none else [{"text": label, "answer_start": context.index(label)}]
        qa = {"id": f"q{i}", "question": f"what is {words[1]} ?", "answers": answers}
        paragraphs.append({"context": context, "qas": [{**qa, "is_impossible": none}]})
    return [{"title": "texts", "paragraphs": paragraphs}]


def text(data: Config | None = None, **model: Any) -> Config:
    """A config of text classification."""
    return task("TextClassification", "bert", "text.csv", data, **model)


def task(name: str, backbone: str, kind: str, data: Config | None = None, **model: Any) -> Config:
    """A config of a task, on the files of a kind."""
    stem, _, suffix = kind.rpartition(".")
    files = {"train": f"{stem}-train.{suffix}", "test": f"{stem}-test.{suffix}"}
    return {
        "model": {"task": name, "backbone": backbone, **model},
        "data": {**files, "batch_size": 8, **(data or {})},
        "trainer": TRAINER,
    }


def trained(config: Config, **trainer: Any) -> Config:
    """A config with other options of the trainer."""
    return {**config, "trainer": {**TRAINER, **trainer}}


def cases() -> dict[str, Config]:
    """All runs by name."""
    images = {"train": "images", "test": None}
    chat = {"max_new_tokens": 4, "sample": 2}
    names = {"query": "source", "positive": "target"}
    events: dict[str, Any] = {"items": "items.csv", "user": "user", "test": None, "test_split": 0.2}
    still = task("ImageClassification", "resnet", "x.csv", {**images, "augment": "none"})
    still["model"]["unfreeze"] = "head"
    return {
        "text, single label": text(),
        "text, several labels": text({"label": "several"}),
        "text, regression": text({"label": "number", "kind": "regression"}),
        "images": task("ImageClassification", "resnet", "x.csv", {**images, "augment": "light"}),
        "images, not augmented, head": still,
        "tokens": task("TokenClassification", "bert", "words.conll"),
        "answers": task("QuestionAnswering", "bert", "squad.json"),
        "chat": task("CausalLM", "llama", "chat.jsonl", **chat),
        "chat, packed": task("CausalLM", "llama", "chat.jsonl", {"tokens_per_batch": 256}, **chat),
        "pairs, encoder": task("Seq2Seq", "bert", "pairs.csv", max_new_tokens=6),
        "pairs, t5": task("Seq2Seq", "t5", "pairs.csv", max_new_tokens=6, num_beams=2),
        "retrieval": task("Retrieval", "bert", "pairs.csv", names),
        "recommendation": task("Retrieval", "bert", "events.csv", events),
        "masked": task("MaskedLM", "bert", "text.csv"),
        "gradual, cache": text(unfreeze="gradual", cache=True),
        "gradual, no cache": text({"tokens_per_batch": 96}, unfreeze="gradual", cache=False),
        "head, cache": text(unfreeze="head", cache=True),
        "lp_ft, cache": text(unfreeze="lp_ft", cache=True),
        "stages, cache, decay": text(unfreeze=THAW, cache=True, layer_decay=0.9),
        "bias, no warm-up, cosine": text(unfreeze="bias", warmup=0.0, lr_schedule="cosine"),
        "lora": text(peft="lora"),
        "few rows": text({"shots": 4}, head_init="labels", contrastive=0.5),
        "average of weights": trained(text(unfreeze=THAW, cache=True), callbacks=[AVERAGE]),
        "bf16-mixed": trained(text(), precision="bf16-mixed"),
        "bf16-master": trained(text(unfreeze=THAW, cache=True), precision="bf16-master"),
        "accumulation": trained(text(), accumulate_grad_batches=2, val_check_interval=2),
    }
