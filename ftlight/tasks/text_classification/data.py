"""Texts, or pairs of texts, with labels: rows as strings, tokenized once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import datasets

from ftlight.data import duplicates, files, tables, tokens
from ftlight.data.labelled import Labelled, label_text, without
from ftlight.data.module import Columns, EncodedSplit
from ftlight.data.sources import open_rows
from ftlight.utils.errors import UserError, join_limited


def read_rows(
    name: str,
    split: str,
    text: tuple[str, ...],
    text_pair: str | None,
    label: str,
    encoding: str,
    digest: str,
) -> Iterator[files.Row]:
    """Rows of a split as strings: ``text``, ``pair``, ``label`` and the ``line`` of the file.

    Raises:
        UserError: a column is missing, or labels are not written alike.
    """
    columns = [*text, *([text_pair] if text_pair else []), label]
    kind: type | None = None
    for row in open_rows(name, split, columns, encoding):
        line, value = row[files.LINE], row[label]
        kind = kind or (type(value) if value is not None else None)
        if (
            kind is not None
            and value is not None
            and type(value) is not kind
            and {type(value), kind} != {int, float}
        ):
            what = f"label {value!r} is {type(value).__name__}, those before are {kind.__name__}"
            raise UserError(f"{name}:{line}: {what}; write them alike")
        value = label_text(value, name, line, label)
        joined = "\n".join(files.as_text(row[c], name, line, c) for c in text)
        pair = files.as_text(row[text_pair], name, line, text_pair) if text_pair else ""
        yield {"text": joined, "pair": pair, "label": value, "line": line}


class TextData(Labelled):
    """Texts with labels from CSV, TSV, JSONL, Parquet or the hub, tokenized once.

    Args:
        text: column of the text, or several that are joined.
        text_pair: column of a second text, for pairs such as question and answer.
        max_length: the most tokens of a text, longer ones are cut; as many as the backbone takes if not given.
        on_empty_text: keep trains on rows that have no text and counts them, skip leaves them out.
        base: options of Labelled.
    """

    def __init__(
        self,
        train: str | None = None,
        *,
        text: str | list[str] = "text",
        text_pair: str | None = None,
        max_length: int | None = None,
        on_empty_text: Literal["keep", "skip"] = "keep",
        **base: Any,
    ) -> None:
        super().__init__(train, **base)
        self.text = (text,) if isinstance(text, str) else tuple(text)
        self.text_pair, self.given_length, self.on_empty_text = text_pair, max_length, on_empty_text

    # Rows

    @property
    def columns(self) -> list[str]:
        """Input columns that a row to predict must have."""
        return [*self.text, *([self.text_pair] if self.text_pair else [])]

    def reader(
        self, split: str
    ) -> tuple[Callable[..., Iterator[files.Row]], dict[str, Any], datasets.Features]:
        """Reader of a split."""
        text, number = datasets.Value("string"), datasets.Value("int64")
        features = datasets.Features({"text": text, "pair": text, "label": text, "line": number})
        arguments = {
            "name": self.files[split],
            "split": split,
            "text": self.text,
            "text_pair": self.text_pair,
            "label": self.label,
            "encoding": self.encoding,
        }
        return read_rows, arguments, features

    def _load(self, split: str, name: str | None) -> datasets.Dataset:
        """Reads a split; counts, or leaves out, the rows that have no text."""
        table = super()._load(split, name)
        given = ["text", "pair"] if self.text_pair else ["text"]
        full = (
            all(t.strip() for t in texts)
            for some in tables.batches(table, given)
            for texts in zip(*some.values(), strict=True)
        )
        empty = [i for i, whole in enumerate(full) if not whole]
        if not empty:
            return table
        lines = join_limited((table["line"][i] for i in empty), 3)
        told = f"{len(empty):,} of {len(table):,} rows {'left out: they ' if self.on_empty_text == 'skip' else ''}have no text (lines {lines})"
        if self.on_empty_text == "keep":
            self.notes.append(f"{split}: {told}; to leave them out set data.on_empty_text: skip")
            return table
        if len(empty) == len(table):
            raise UserError(f"{name}: none of the {len(table):,} rows of {split} has a text")
        self.notes.append(f"{split}: {told}")
        return without(table, empty)

    def duplicate_keys(self, table: datasets.Dataset) -> list[str]:
        """What tells the texts of each row from others."""
        batches = tables.batches(table, ["text", "pair"])
        return [
            duplicates.key(*texts)
            for some in batches
            for texts in zip(some["text"], some["pair"], strict=True)
        ]

    @property
    def max_length(self) -> int:
        """The most tokens of a row."""
        return tokens.limit(self.tokenizer_name, self.given_length)

    def _tokenize(self, texts: Sequence[str], pairs: Sequence[str]) -> Columns:
        return tokens.tokenize(
            self.tokenizer, texts, pairs if self.text_pair else None, self.max_length
        )

    def encode(self, table: datasets.Dataset, split: str) -> EncodedSplit:
        """Tokenizes a split, cached by data, tokenizer and length; adds labels as numbers."""
        targets = self.numbers(table, split)
        about = (
            tokens.identity(self.tokenizer),
            self.max_length,
            bool(self.text_pair),
            files.code(tokens.tokenize),
        )
        encoded = self.map_cached(
            table, lambda rows: self._tokenize(rows["text"], rows["pair"]), *about
        )
        self.notes += tokens.cut_notes(
            split, "rows", tables.column(encoded, "uncut"), self.max_length
        )
        return EncodedSplit(encoded.remove_columns("uncut"), targets, encoded._fingerprint)

    def collate(self, columns: Columns, rows: list[int]) -> dict[str, Any]:
        """A batch: ``inputs`` (``int64 [rows, tokens]`` each), ``index`` and, where known, ``targets``."""
        batch: dict[str, Any] = {"inputs": tokens.collate(columns, self.tokenizer), "index": rows}
        if "target" in columns:
            batch["targets"] = self.targets(columns["target"])
        return batch

    def encode_rows(self, rows: Sequence[files.Row], place: str) -> EncodedSplit:
        """Tokenizes rows to predict, with the text columns the run was trained on."""
        for row in rows:
            files.need(row, self.columns, place)
        texts = [
            "\n".join(files.as_text(r[c], place, i, c) for c in self.text)
            for i, r in enumerate(rows, 1)
        ]
        pairs = (
            [
                files.as_text(r[self.text_pair], place, i, self.text_pair)
                for i, r in enumerate(rows, 1)
            ]
            if self.text_pair
            else []
        )
        chunks = [
            self._tokenize(texts[i : i + 1000], pairs[i : i + 1000])
            for i in range(0, len(rows), 1000)
        ]
        return EncodedSplit({k: [v for chunk in chunks for v in chunk[k]] for k in chunks[0]})
