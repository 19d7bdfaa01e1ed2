"""Data of token classification."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets

from ftlight.data import files, labels, tables, tokens
from ftlight.data.module import Columns, DataModule, EncodedSplit, Reader
from ftlight.run import records
from ftlight.tasks.token_classification import (
    conll,
    label_studio,
    marks,
    notes,
    offsets,
    readers,
    spelling,
    windows,
    word_rows,
)
from ftlight.tasks.token_classification import tags as spans
from ftlight.tasks.token_classification.layout import layout_of
from ftlight.utils import internals
from ftlight.utils.atomic import write_json
from ftlight.utils.errors import UserError, join_limited
from ftlight.utils.ranges import Count, Length

# What readers.read_rows calls: rows in the cache must not outlive its code.
READS = (conll.sentences, marks.plain, offsets.unit_of, spelling.standard, word_rows.sentences)


def tag_names(types: Sequence[str]) -> list[str]:
    """The tags of a model.

    >>> tag_names(["LOC", "PER"])
    ['O', 'B-LOC', 'I-LOC', 'B-PER', 'I-PER']
    """
    return ["O", *(f"{letter}-{name}" for name in types for letter in "BI")]


def _gold(table: datasets.Dataset) -> list[list[spans.Span]]:
    """The entities of each row, in words."""
    return [[(s["type"], s["start"], s["end"]) for s in row] for row in table["__gold"]]


class TokenData(DataModule):
    """Texts with entities: CoNLL text, tables with a word in each row, JSONL or Parquet.

    A row of JSONL or Parquet has a list of words and one of tags, or a text and its spans.

    Args:
        token: Column of the word in CoNLL text, from 0, or from the end with -1.
        tag: Column of the tag in CoNLL text. Default: the last.
        tokens: Column of the list of words, or of the word in a table with a word in each row.
        tags: Column of the list of tags, or of the word's tag. Default: tags or ner_tags.
        text: Column of the text that spans refer to.
        spans: Column of the spans, each {start, end, label} or [start, end, label] in characters.
            Default: spans, entities, label or labels; tasks of Label Studio have their own.
        tag_names: Names of the tags in order, if tags are numbers.
        sentence: Column that tells the sentences of a table with a word in each row: a new one
            begins where it changes. Default: blank rows divide sentences.
        max_length: Most tokens of a window. Default: what the backbone takes (or was trained with).
        stride: Tokens that two windows of a longer text share. Default: a quarter of max_length.
        base: Options of DataModule.
    """

    suffixes = readers.SUFFIXES
    trained_length = "default"

    def __init__(
        self,
        train: str | None = None,
        *,
        token: int = 0,
        tag: int = -1,
        tokens: str = "tokens",
        tags: str | None = None,
        text: str = "text",
        spans: str | None = None,
        tag_names: list[str] | None = None,
        sentence: str | None = None,
        max_length: Length | None = None,
        stride: Count | None = None,
        **base: Any,
    ) -> None:
        super().__init__(train, **base)
        self.layout = layout_of(token, tag, tokens, tags, text, spans, tag_names, sentence)
        self.predicted_layout = self.layout  # of rows to predict
        self.given_length, self.given_stride = max_length, stride
        self.config = label_studio.UNKNOWN  # of the export that a run was trained on
        self._labels: list[str] | None = None

    # Labels

    @property
    def labels(self) -> list[str]:
        """Types of entities: as given, else those of train sorted."""
        if self._labels is None:
            self._labels = list(self.given_labels or self._read_labels())
        return self._labels

    def _read_labels(self) -> list[str]:
        counts = Counter[str]()
        for table in self.train_tables():
            for row in table["__gold"]:
                counts.update(span["type"] for span in row)
        if not counts:
            raise UserError(f"{self.files['train']}: no entity anywhere; there is nothing to learn")
        rare = [name for name, count in counts.items() if count < labels.RARE]
        if rare:
            names = join_limited(rare, 3)
            self.notes.append(f"{len(rare)} types have fewer than {labels.RARE} entities ({names})")
        return list(dict.fromkeys([*self.known_labels, *sorted(counts)]))

    # Rows

    @property
    def columns(self) -> list[str]:
        """The column of the text; rows may have a list of words instead."""
        return [self.layout.text]

    @property
    def column_names(self) -> dict[str, str]:
        """The user's names of columns that rows as read hold under others, by those."""
        names = {"text": self.layout.text}
        if len(self.layout.spans) == 1:
            names["spans"] = self.layout.spans[0]
        return names

    def reader(self, split: str) -> Reader:
        """Reader of a split."""
        text, number = tables.TEXT, tables.NUMBER
        span = {"type": text, "start": number, "end": number}
        features = {
            "text": text,
            "spans": datasets.List({"type": text, "text": text, "start": number, "end": number}),
            "__words": datasets.List(datasets.List(number)),
            "__gold": datasets.List(span),
            "__tags": datasets.List(text),
            "__moved": number,
            "__lost": number,
            "line": self.place_type(split),
        }
        arguments = {
            "source": self.source_of(split),
            "layout": self.layout,
            "code": files.code(spans.find, *READS),
        }
        return readers.read_rows, arguments, datasets.Features(features)

    def read_predict(self, name: str) -> list[files.Row]:
        """Rows of a file, with or without tags; a .txt file of running text is one document."""
        source = self.source_at(name)
        if source.suffix == ".txt" and not conll.is_words(source.path, self.encoding):
            return super().read_predict(name)
        rows = list(readers.open_rows(source, self.layout, tagged=False))
        text = label_studio.config_of(rows, self.layout).text or self.config.text
        self.predicted_layout = self.layout._replace(task_text=text)
        return rows

    def document(
        self, row: Mapping[str, Any], place: str = "input:1"
    ) -> tuple[str, list[spans.Range]]:
        """Text of a row to predict, and the characters of its words; a hidden one is a word."""
        text, words = readers.document(row, self.predicted_layout, place)
        hidden = tokens.hidden(self.tokenizer) if self.tokenizer_name else ""
        return text, spans.unite(words, text, hidden)

    def texts_of(self, row: files.Row) -> dict[str, str]:
        """The text of a row to predict; of a list of words, these joined by spaces."""
        return {self.layout.text: self.document(row)[0]}

    def with_texts(self, row: files.Row, texts: Mapping[str, str]) -> files.Row:
        """A row with another text, which a space divides into words if the row is a list of them.

        Its marks are left out, since they are of the old text.
        """
        text = texts.get(self.layout.text)
        if text is None:
            return row
        line = {files.LINE: row[files.LINE]} if files.LINE in row else {}
        if readers.has_words(marks.plain(row, self.predicted_layout), self.predicted_layout):
            return {**line, self.layout.tokens: text.split(" ")}
        return {**line, self.layout.text: text}

    # What a run keeps

    def save_state(self, folder: Path) -> None:
        """Writes how the labelling config of Label Studio names things, if train is its export."""
        super().save_state(folder)
        source = self.source_of("train")
        if self.files["train"] and source.suffix in (".json", ".jsonl"):
            rows = readers.open_rows(source, self.layout, tagged=False)
            self.config = label_studio.config_of(rows, self.layout)
        if self.config.tags:
            write_json(folder / label_studio.NAME, self.config.to_json())

    def load_state(self, folder: Path) -> None:
        """Reads what :meth:`save_state` wrote."""
        super().load_state(folder)
        kept = records.of(folder / label_studio.NAME, label_studio.SHAPE)
        self.config = label_studio.from_json(kept)
        self.predicted_layout = self.layout._replace(task_text=self.config.text)

    # Windows

    @property
    def stride(self) -> int:
        """Tokens that two windows share."""
        stride = self.given_stride
        room = self.max_length - self.tokenizer.num_special_tokens_to_add()
        if stride is None:
            return min(self.max_length // 4, room - 1)
        if not 0 <= stride < room:
            raise UserError(
                f"data.stride: {stride} is not 0 to {room - 1},"
                f" what a window of {self.max_length} tokens leaves"
            )
        return stride

    def row_texts(self, table: datasets.Dataset) -> list[list[str]]:
        """The text of each row."""
        return [table["text"][:]]

    def duplicate_labels(self, table: datasets.Dataset) -> list[str]:
        """The entities of each row."""
        return [str(row) for row in _gold(table)]

    def _windows(self, texts: Sequence[str], words: Sequence[Sequence[spans.Range]]) -> Columns:
        return windows.cut(self.tokenizer, texts, words, self.max_length, self.stride)

    def encode(self, table: datasets.Dataset, split: str) -> EncodedSplit:
        """Cuts a split into windows, cached; adds the tag of each word."""
        gold = _gold(table)
        names, lines = [], []
        for row, line in zip(gold, table["line"][:], strict=True):
            names += [name for name, _, _ in row]
            lines += [line] * len(row)
        place = self.file_of(split)
        labels.encode(names, lines, "single", self.labels, place, self.labels_from)
        number = {name: i for i, name in enumerate(tag_names(self.labels))}
        targets = []
        for row, words in zip(gold, table["__words"], strict=True):
            tags = spans.write(spans.apart(row), len(words))
            targets.append([number[tag] for tag in tags])
        about = (tokens.identity(self.tokenizer), self.max_length, self.stride)
        encoded = self.map_cached(
            table, lambda rows: self._windows(rows["text"], rows["__words"]), *about
        )
        self.notes += notes.of_rows(table, gold, split, place)
        counts = [len(row) for row in encoded["input_ids"]]
        self.notes += notes.of_windows(counts, self.max_length, self.stride, split)
        return EncodedSplit(encoded, targets, internals.fingerprint_of(encoded))

    def encode_rows(self, rows: Sequence[files.Row], place: str) -> EncodedSplit:
        """Cuts rows to predict into windows; they have a text or a list of words."""
        read = [self.document(row, files.place(place, row[files.LINE])) for row in rows]
        return EncodedSplit(self._windows([text for text, _ in read], [words for _, words in read]))

    def collate(self, columns: Columns, rows: list[int]) -> dict[str, Any]:
        """A batch of whole rows, see :func:`.windows.collate`."""
        return windows.collate(columns, rows, self.tokenizer)
