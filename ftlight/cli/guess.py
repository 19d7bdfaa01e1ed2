"""Which task a data file asks for, told by its form and columns: a pure function of its first rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ftlight.data import files
from ftlight.utils.errors import UserError, join_limited

Options = dict[str, Any]
SENTENCE_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
# A backbone that suits the task and is small enough to begin with.
BACKBONES = {
    "CausalLM": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "ImageClassification": "google/mobilenet_v2_1.0_224",
    "Seq2Seq": "google-t5/t5-small",
}
USERS, ITEMS, TIMES = (
    ("user", "user_id", "userid"),
    ("item", "item_id", "itemid", "movieid", "product_id"),
    ("time", "timestamp", "date"),
)
SOURCES = ("source", "document", "dialogue", "article", "input")
TARGETS = ("target", "summary", "highlights", "translation", "output")
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
# What people call the column of a label.
LABELS = (
    "label",
    "labels",
    "category",
    "class",
    "intent",
    "target",
    "topic",
    "sentiment",
    "score",
    "rating",
    "y",
    "tag",
    "tags",
)
TAG = re.compile(r"(O|[BIESLU]-\S+)")


class Guess(NamedTuple):
    """A task, the options of its data, and what told it."""

    task: str
    options: Options
    why: str


def by_form(path: Path) -> Guess | None:
    """The task of what is no table of rows: a folder, a zip, CoNLL text, SQuAD's JSON; None for a table.

    Raises:
        UserError: plain text, which several tasks could learn from.
    """
    kind = files.suffix(path)
    if kind == ".zip" or (path.is_dir() and any(p.is_dir() for p in path.iterdir())):
        return Guess("ImageClassification", {}, "a folder of images for each class")
    if kind in (".conll", ".bio", ".iob", ".iob2", ".bioes") or (kind == ".txt" and _tagged(path)):
        return Guess("TokenClassification", {}, "a word and its tag in each line")
    if kind == ".json":
        start = next((line for _, line in files.text_lines(path) if line.strip()), "")
        return (
            Guess("QuestionAnswering", {}, "SQuAD's layout")
            if '"paragraphs"' in start or start.strip() == "{"
            else None
        )
    if kind == ".txt":
        ways = "--task MaskedLM adapts an encoder to it, --task CausalLM teaches a language model to write it"
        raise UserError(f"{path} is plain text: {ways}; for a label beside each text write a CSV")
    return None


def _tagged(path: Path) -> bool:
    lines = [
        line.split()
        for _, line in islice(files.text_lines(path), 200)
        if line.strip() and not line.startswith(("#", "-DOCSTART-"))
    ]
    return bool(lines) and all(len(words) > 1 and TAG.fullmatch(words[-1]) for words in lines)


def by_columns(rows: Sequence[Mapping[str, Any]]) -> Guess | None:
    """The task of a table by the names of its columns and their values; None where nothing but a label can be meant."""
    first = {k: v for k, v in rows[0].items() if k != files.LINE}
    plain = {k.lower(): k for k in first}

    def one(names: Sequence[str]) -> str | None:
        return next((plain[n] for n in names if n in plain), None)

    if {"messages", "conversations"} & set(first):
        return Guess("CausalLM", {}, "a column of messages")
    if {"prompt", "completion"} <= set(first) or {"instruction", "output"} <= set(first):
        return Guess("CausalLM", {}, "a prompt and its completion")
    if one(("spans", "entities")) and isinstance(first[str(one(("spans", "entities")))], list):
        return Guess("TokenClassification", {}, "texts with spans")
    if "tokens" in first and one(("tags", "ner_tags")):
        return Guess("TokenClassification", {}, "lists of words and tags")
    if {"question", "context"} <= set(first):
        return Guess("QuestionAnswering", {}, "columns question and context")
    if {"query", "positive"} <= set(first):
        return Guess("Retrieval", {}, "columns query and positive")
    user, item, time = one(USERS), one(ITEMS), one(TIMES)
    if user and item and time:
        options = {
            "user": user,
            "item": item,
            "time": time,
            "items": "ITEMS.csv  # the table with a text for each item",
        }
        return Guess("Retrieval", options, "a user, an item and a time in each row")
    image = next(
        (k for k, v in first.items() if isinstance(v, str) and v.lower().endswith(PICTURES)), None
    )
    if image is not None:
        label = one(LABELS)
        return Guess(
            "ImageClassification",
            {"image": image, **({"label": label} if label else {})},
            "paths of images",
        )
    source, target = one(SOURCES), one(TARGETS)
    if (
        source and target and len({str(row.get(target)) for row in rows}) * 2 > len(rows)
    ):  # fewer are labels
        return Guess(
            "Seq2Seq",
            {"source": source, "target": target},
            f"columns {join_limited([source, target])}",
        )
    return None
