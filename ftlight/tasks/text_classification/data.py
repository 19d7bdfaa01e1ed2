"""Texts, or pairs of texts, with labels: rows as strings, tokenized once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import datasets

from ftlight.data import files, tables, tokens
from ftlight.data import swaps as swaps_
from ftlight.data.labelled import Labelled, without
from ftlight.data.module import Columns, EncodedSplit, Reader
from ftlight.data.swaps import Exchanged
from ftlight.tasks.text_classification.readers import read_rows
from ftlight.utils import internals
from ftlight.utils.errors import UserError, join_limited
from ftlight.utils.ranges import Length


class TextData(Labelled):
    """Texts with labels from CSV, TSV, JSONL, Parquet or the hub, tokenized once.

    Args:
        text: Column of the text, or several columns to join.
        text_pair: Column of a second text, for pairs such as question and answer.
        max_length: Most tokens of a text; longer ones are cut. Default: what the backbone takes.
        on_empty_text: What to do with rows without a text: keep trains on them and counts them,
            skip leaves them out.
        swaps: Pairs of words that should change no answer, such as [[he, she], [Anna, Fatima]]:
            after a test, rows that hold one are predicted again with the words exchanged.
        base: Options of Labelled.
    """

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
        return read_rows, arguments, datasets.Features({**features, "line": tables.NUMBER})

    def _load(self, split: str, name: str | None) -> datasets.Dataset:
        """Reads a split; counts, or leaves out, the rows that have no text."""
        table = super()._load(split, name)
        empty = self._without_text(table)
        if not empty:
            return table
        lines = join_limited((table["line"][i] for i in empty), 3)
        count = f"{len(empty):,} of {len(table):,} rows"
        if self.on_empty_text == "keep":
            self.notes.append(
                f"{split}: {count} have no text (lines {lines});"
                " to leave them out set data.on_empty_text: skip"
            )
            return table
        if len(empty) == len(table):
            raise UserError(f"{name}: none of the {len(table):,} rows of {split} has a text")
        self.notes.append(f"{split}: {count} left out: they have no text (lines {lines})")
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

    def _tokenize(self, rows: Columns) -> Columns:
        pairs = rows["pair"] if self.text_pair else None
        return tokens.tokenize(self.tokenizer, rows["text"], pairs, self.max_length)

    def encode(self, table: datasets.Dataset, split: str) -> EncodedSplit:
        """Tokenizes a split, cached by data, tokenizer and length; adds labels as numbers."""
        if self.swaps and self.kind != "single":
            raise UserError(f"data.swaps needs one label a row; these data are {self.kind}")
        targets = self.numbers(table, split)
        encoded = self.map_cached(
            table,
            self._tokenize,
            tokens.identity(self.tokenizer),
            self.max_length,
            bool(self.text_pair),
            files.code(tokens.tokenize),
        )
        uncut = tables.column(encoded, "uncut")  # tokens of each text before truncation
        self.notes += tokens.cut_notes(split, "rows", uncut, self.max_length)
        return EncodedSplit(
            encoded.remove_columns("uncut"), targets, internals.fingerprint_of(encoded)
        )

    def encode_rows(self, rows: Sequence[files.Row], place: str) -> EncodedSplit:
        """Tokenizes rows to predict, with the text columns that the run was trained on."""
        for row in rows:
            files.need(row, self.columns, place)
        texts = {"text": [files.joined(row, self.text, place) for row in rows]}
        if self.text_pair:
            texts["pair"] = [files.cell(row, self.text_pair, place) for row in rows]
        return EncodedSplit(tables.mapped(self._tokenize, texts))

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
        encoded = EncodedSplit(tables.mapped(self._tokenize, columns) if held else {})
        before, after = ([" | ".join(side[i]) for i in held] for side in (texts, new))
        return Exchanged([rows[i] for i in held], before, after, encoded)

    def collate(self, columns: Columns, rows: list[int]) -> dict[str, Any]:
        """A batch: ``inputs`` (``int64 [rows, tokens]``), ``index``, and ``targets`` if known."""
        batch: dict[str, Any] = {"inputs": tokens.collate(columns, self.tokenizer), "index": rows}
        if "target" in columns:
            batch |= self.batch_targets(columns["target"])
        return batch
