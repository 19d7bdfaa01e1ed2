"""The task of a data file, by its form and columns: a pure function of its first rows."""

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
USERS = ("user", "user_id", "userid")
ITEMS = ("item", "item_id", "itemid", "movieid", "product_id")
TIMES = ("time", "timestamp", "date")
SOURCES = ("source", "document", "dialogue", "article", "input")
TARGETS = ("target", "summary", "highlights", "translation", "output")
# What people call the column of a label.
LABELS = (
    *("label", "labels", "category", "class", "intent", "target", "topic", "sentiment"),
    *("score", "rating", "y", "tag", "tags"),
)
TAG = re.compile(r"(O|[BIESLU]-\S+)")


class Guess(NamedTuple):
    """A task, the options of its data, and what told it."""

    task: str
    options: Options
    why: str


def by_form(path: Path) -> Guess | None:
    """The task of data that are no table: a folder, a zip, CoNLL text or SQuAD's JSON.

    Returns:
        None for a table.

    Raises:
        UserError: it is plain text, which several tasks could learn from.
    """
    kind = files.suffix(path)
    if kind == ".zip" or (path.is_dir() and any(p.is_dir() for p in path.iterdir())):
        return Guess("ImageClassification", {}, "a folder of images for each class")
    if kind in (".conll", ".conllu", ".bio", ".iob", ".iob2", ".bioes") or (
        kind == ".txt" and _tagged(path)
    ):
        return Guess("TokenClassification", {}, "a word and its tag in each line")
    if kind == ".json":
        start = next((line for _, line in files.text_lines(path) if line.strip()), "")
        if '"paragraphs"' in start or start.strip() == "{":
            return Guess("QuestionAnswering", {}, "SQuAD's layout")
        return None
    if kind == ".txt":
        raise UserError(
            f"{path} is plain text: --task MaskedLM adapts an encoder to it, --task CausalLM "
            "teaches a language model to write it; for a label beside each text write a CSV"
        )
    return None


def _tagged(path: Path) -> bool:
    """Whether each of the first lines is words that end in a tag such as ``B-PER``."""
    lines = [line for _, line in islice(files.text_lines(path), 200)]
    words = [
        line.split() for line in lines if line.strip() and not line.startswith(("#", "-DOCSTART-"))
    ]
    return bool(words) and all(len(w) > 1 and TAG.fullmatch(w[-1]) for w in words)


def by_columns(rows: Sequence[Mapping[str, Any]]) -> Guess | None:
    """The task of a table, by the names of its columns and their values.

    Returns:
        None if nothing but a text with a label fits.
    """
    first = {k: v for k, v in rows[0].items() if k != files.LINE}
    names = {k.lower(): k for k in first}

    def one(wanted: Sequence[str]) -> str:
        return next((names[n] for n in wanted if n in names), "")

    if {"messages", "conversations"} & set(first):
        return Guess("CausalLM", {}, "a column of messages")
    if {"prompt", "completion"} <= set(first) or {"instruction", "output"} <= set(first):
        return Guess("CausalLM", {}, "a prompt and its completion")
    if isinstance(first.get(one(("spans", "entities"))), list):
        return Guess("TokenClassification", {}, "texts with spans")
    if "tokens" in first and one(("tags", "ner_tags")):
        return Guess("TokenClassification", {}, "lists of words and tags")
    if {"question", "context"} <= set(first):
        return Guess("QuestionAnswering", {}, "columns question and context")
    if {"query", "positive"} <= set(first):
        return Guess("Retrieval", {}, "columns query and positive")
    user, item, time = one(USERS), one(ITEMS), one(TIMES)
    if user and item and time:
        items = "ITEMS.csv  # the table with a text for each item"
        options = {"user": user, "item": item, "time": time, "items": items}
        return Guess("Retrieval", options, "a user, an item and a time in each row")
    return _images(first, one(LABELS)) or _pairs(rows, one(SOURCES), one(TARGETS))


def _images(first: Mapping[str, Any], label: str) -> Guess | None:
    """Images, if a column of the first row is the path of one."""
    for column, value in first.items():
        if isinstance(value, str) and value.lower().endswith(files.IMAGE_SUFFIXES):
            options = {"image": column, **({"label": label} if label else {})}
            return Guess("ImageClassification", options, "paths of images")
    return None


def _pairs(rows: Sequence[Mapping[str, Any]], source: str, target: str) -> Guess | None:
    """Texts to write from others, if most targets differ; few different ones are labels."""
    if source and target and len({str(row.get(target)) for row in rows}) * 2 > len(rows):
        options = {"source": source, "target": target}
        return Guess("Seq2Seq", options, f"columns {join_limited([source, target])}")
    return None
