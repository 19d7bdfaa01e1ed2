"""Texts, or pairs of texts, with labels: rows as strings, tokenized once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import datasets
import torch

from ftlight.data import files, tables, tokens, windows
from ftlight.data import swaps as swaps_
from ftlight.data.labelled import Labelled, without
from ftlight.data.module import Columns, EncodedSplit, Reader
from ftlight.data.swaps import Exchanged
from ftlight.data.windows import LongText
from ftlight.run import records
from ftlight.tasks.text_classification.readers import read_rows
from ftlight.utils import internals
from ftlight.utils.atomic import write_json
from ftlight.utils.errors import UserError
from ftlight.utils.ranges import Length


class TextData(Labelled):
    """Texts with labels: a table, a folder of documents for each label, or the hub; tokenized once.

    Args:
        text: Column of the text, or several columns to join.
        text_pair: Column of a second text, for pairs such as question and answer.
        max_length: Most tokens of a text, or of a window of it (see model.long_text). Default:
            what the backbone takes.
        on_empty_text: What to do with rows without a text: keep trains on them and counts them,
            skip leaves them out.
        swaps: Pairs of words that should change no answer, such as [[he, she], [Anna, Fatima]]:
            after a test, rows that hold one are predicted again with the words exchanged.
        base: Options of Labelled.
    """

    keeps_rows = True
    may_change = Labelled.may_change | {"swaps"}

    def __init__(
        self,
        train: str | None = None,
        *,
        text: str | list[str] = "text",
        text_pair: str | None = None,
        max_length: Length | None = None,
        on_empty_text: Literal["keep", "skip"] = "keep",
        swaps: list[list[str]] | None = None,
        **base: Any,
    ) -> None:
        super().__init__(train, **base)
        self.text = (text,) if isinstance(text, str) else tuple(text)
        self.text_pair, self.given_length, self.on_empty_text = text_pair, max_length, on_empty_text
        self.swaps = swaps_.check(swaps or ())
        self.find_splits()
        self.given_long_text: LongText | Literal["auto"] = "cut"  # what the task asks for
        self.decided: LongText | None = None  # by train, or a run

    # Rows

    @property
    def columns(self) -> list[str]:
        """Input columns that a row to predict must have."""
        return [*self.text, *([self.text_pair] if self.text_pair else [])]

    @property
    def column_names(self) -> dict[str, str]:
        """The user's column names by the names that rows hold them under: text to message, say."""
        names = super().column_names
        if len(self.text) == 1:
            names["text"] = self.text[0]
        return {**names, "pair": self.text_pair} if self.text_pair else names

    def reader(self, split: str) -> Reader:
        """Reader of a split."""
        features = {"text": tables.TEXT, "pair": tables.TEXT, "label": tables.TEXT}
        arguments = {
            "source": self.source_of(split),
            "text": self.text,
            "text_pair": self.text_pair,
            "label": self.label,
        }
        return read_rows, arguments, datasets.Features({**features, "line": self.place_type(split)})

    def _load(self, split: str, name: str | None) -> datasets.Dataset:
        """Reads a split; counts, or leaves out, the rows that have no text."""
        table = super()._load(split, name)
        empty = self._without_text(table)
        if not empty:
            return table
        lines = files.places([table["line"][i] for i in empty], 3)
        count = f"{len(empty):,} of {len(table):,} rows"
        if self.on_empty_text == "keep":
            self.notes.append(
                f"{split}: {count} have no text ({lines});"
                " to leave them out set data.on_empty_text: skip"
            )
            return table
        if len(empty) == len(table):
            raise UserError(f"{name}: none of the {len(table):,} rows of {split} has a text")
        self.notes.append(f"{split}: {count} left out: they have no text ({lines})")
        return without(table, empty)

    def _without_text(self, table: datasets.Dataset) -> list[int]:
        """Numbers of the rows that lack a text, or one of a pair."""
        empty = []
        for name in ["text", "pair"] if self.text_pair else ["text"]:
            empty += [i for i, text in enumerate(tables.column(table, name)) if not text.strip()]
        return sorted(set(empty))

    def row_texts(self, table: datasets.Dataset) -> list[list[str]]:
        """The text of each row, or the two texts of a pair."""
        names = ["text", "pair"] if self.text_pair else ["text"]
        return [tables.column(table, name) for name in names]

    # Tokens

    def set_task(self, task: Any) -> None:
        """Learns how the task reads long texts; one without such an option has them cut."""
        self.given_long_text = getattr(task, "long_text", "cut")

    @property
    def long_text(self) -> LongText:
        """How texts of more than max_length tokens are read: as asked, or by how many train has."""
        if self.given_long_text != "auto":
            return self.given_long_text
        if self.decided is None:
            self.decided = self._decide()
        return self.decided

    def _decide(self) -> LongText:
        if not self.files["train"] or not self.tokenizer.is_fast:
            return "cut"
        uncut = tables.column(self._tokens(self.load_split("train"), "cut"), "uncut")
        return "window" if windows.are_many(uncut, self.max_length) else "cut"

    def save_state(self, folder: Path) -> None:
        """Adds to a run's labels.json that long texts are read in windows."""
        super().save_state(folder)
        if self.long_text == "window":
            write_json(folder / "labels.json", {**records.labels(folder), "long_text": "window"})

    def load_state(self, folder: Path) -> None:
        """Reads how a run reads long texts."""
        super().load_state(folder)
        self.decided = records.labels(folder).get("long_text", "cut")

    def _tokenize(self, rows: Columns) -> Columns:
        pairs = rows["pair"] if self.text_pair else None
        return tokens.tokenize(self.tokenizer, rows["text"], pairs, self.max_length)

    def _divide(self, rows: Columns) -> Columns:
        pairs = rows["pair"] if self.text_pair else None
        return windows.tokenize(self.tokenizer, rows["text"], pairs, self.max_length)

    def _tokens(self, table: datasets.Dataset, long_text: LongText) -> datasets.Dataset:
        """Tokens of a split, cached by data, tokenizer and length."""
        make = self._divide if long_text == "window" else self._tokenize
        code = files.code(tokens.tokenize, windows.tokenize)
        about = self.max_length, bool(self.text_pair), long_text
        return self.map_cached(table, make, tokens.identity(self.tokenizer), *about, code)

    def encode(self, table: datasets.Dataset, split: str) -> EncodedSplit:
        """Tokenizes a split; adds labels as numbers."""
        targets = self.numbers(table, split)
        encoded = self._tokens(table, self.long_text)
        self.notes += self._notes_of_long(encoded, split)
        own = {"uncut", "shortened"} & set(encoded.column_names)
        mark = internals.fingerprint_of(encoded)
        return EncodedSplit(encoded.remove_columns(list(own)), targets, mark)

    def _notes_of_long(self, encoded: datasets.Dataset, split: str) -> list[str]:
        """How long texts of a split were read, and of train why."""
        why = ""
        if split == "train" and self.given_long_text == "auto":
            since = windows.MANY[self.long_text] if self.tokenizer.is_fast else windows.SLOW
            why = f"; model.long_text: {self.long_text}, since {since}"
        if self.long_text == "cut":
            uncut = tables.column(encoded, "uncut")  # tokens of each text before truncation
            cut = tokens.cut_notes(split, "rows", uncut, self.max_length)
            return [f"{line}{why}" for line in cut]
        counts = [len(sizes) for sizes in tables.column(encoded, "sizes")]
        short = sum(tables.column(encoded, "shortened"))
        return [*windows.notes(split, counts, short, self.max_length, why)]

    def _encoded(self, rows: Columns) -> EncodedSplit:
        """Rows that are not cached."""
        make = self._divide if self.long_text == "window" else self._tokenize
        return EncodedSplit(tables.mapped(make, rows) if rows["text"] else {})

    def encode_rows(self, rows: Sequence[files.Row], place: str) -> EncodedSplit:
        """Tokenizes rows to predict, with the text columns that the run was trained on."""
        return self._encoded(self._texts_of(rows, place))

    def _texts_of(self, rows: Sequence[files.Row], place: str) -> dict[str, list[str]]:
        for row in rows:
            files.need(row, self.columns, place)
        texts = {"text": [files.joined(row, self.text, place) for row in rows]}
        if self.text_pair:
            texts["pair"] = [files.cell(row, self.text_pair, place) for row in rows]
        return texts

    def without_text(self, rows: Sequence[files.Row], place: str) -> list[int]:
        """Numbers of the rows without a text; of pairs, without both.

        If training left out rows without a text, pairs that lack one of them count, too.
        """
        lacks = any if self.on_empty_text == "skip" else all
        pairs = zip(*self._texts_of(rows, place).values(), strict=True)
        return [i for i, texts in enumerate(pairs) if lacks(not text.strip() for text in texts)]

    def exchanged(self, split: str, rows: Sequence[int]) -> Exchanged | None:
        """Rows that hold a word of data.swaps, with the words of all texts exchanged."""
        if not self.swaps:
            return None
        table = self.load_split(split).select(list(rows))
        names = ["text", "pair"] if self.text_pair else ["text"]
        texts = list(zip(*(tables.column(table, name) for name in names), strict=True))
        new = [tuple(swaps_.exchange(text, self.swaps) for text in row) for row in texts]
        held = [i for i, row in enumerate(texts) if row != new[i]]
        columns = {name: [new[i][part] for i in held] for part, name in enumerate(names)}
        encoded = self._encoded(columns)
        before, after = ([" | ".join(side[i]) for i in held] for side in (texts, new))
        return Exchanged([rows[i] for i in held], before, after, encoded)

    def collate(self, columns: Columns, rows: list[int]) -> dict[str, Any]:
        """A batch: ``inputs`` (``int64 [rows, tokens]``), ``index``, and ``targets`` if known.

        If a row has several windows, inputs are ``[windows, tokens]``. Then ``windows``
        (``int64 [rows]``) holds how many each row has, and ``at_once`` how many may run together:
        those that take the memory of a batch of short texts.
        """
        batch: dict[str, Any] = {"index": rows}
        if any(len(sizes) > 1 for sizes in columns.get("sizes", ())):
            batch["inputs"], counts = windows.collate(columns, self.tokenizer)
            batch["windows"] = torch.tensor(counts)
            padded = (self.tokens_per_batch or 0) // batch["inputs"]["input_ids"].shape[1]
            batch["at_once"] = max(self.batch_size, padded)
        else:
            batch["inputs"] = tokens.collate(columns, self.tokenizer)
        if "target" in columns:
            batch |= self.batch_targets(columns["target"])
        return batch
