"""Texts, or pairs of texts, with labels: rows as strings, tokenized once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, cast

import datasets
import numpy as np
import torch

from ftlight.data import files, labels, tokens
from ftlight.data.module import Columns, DataModule, Encoded
from ftlight.errors import UserError


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

    A list of labels (JSONL, Parquet) is joined with ``|`` and ends with one, so that it stays a list.

    Raises:
        UserError: a column is missing, or a row has no label.
    """
    columns = [*text, *([text_pair] if text_pair else []), label]
    kind: type | None = None
    for row in files.open_rows(name, split, columns, encoding):
        line, value = row[files.LINE], row[label]
        kind = kind or (type(value) if value is not None else None)
        if kind is not None and value is not None and type(value) is not kind and {type(value), kind} != {int, float}:
            what = f"label {value!r} is {type(value).__name__}, those before are {kind.__name__}"
            raise UserError(f"{name}:{line}: {what}; write them alike")
        if isinstance(value, list):
            value = "".join(f"{files.as_text(v, name, line, label)}{labels.SEPARATOR}" for v in value) or labels.SEPARATOR
        value = files.as_text(value, name, line, label).strip()
        if not value:
            raise UserError(f"{name}:{line}: column {label} has no label; fill it in or take the row out (of several labels, | means none)")
        joined = "\n".join(files.as_text(row[c], name, line, c) for c in text)
        pair = files.as_text(row[text_pair], name, line, text_pair) if text_pair else ""
        yield {"text": joined, "pair": pair, "label": value, "line": line}


class TextData(DataModule):
    """Texts with labels from CSV, TSV, JSONL, Parquet or the hub, tokenized once.

    Args:
        text: column of the text, or several that are joined.
        text_pair: column of a second text, for pairs such as question and answer.
        label: column of the label.
        kind: single label, multi (several, a|b or a list) or regression (a number); auto tells by the label column.
        max_length: the most tokens of a text, longer ones are cut; as many as the backbone takes if not given.
        base: options of DataModule.
    """

    def __init__(
        self,
        train: str | None = None,
        *,
        text: str | list[str] = "text",
        text_pair: str | None = None,
        label: str = "label",
        kind: Literal["auto", "single", "multi", "regression"] = "auto",
        max_length: int | None = None,
        **base: Any,
    ) -> None:
        super().__init__(train, **base)
        self.text = (text,) if isinstance(text, str) else tuple(text)
        self.text_pair, self.label, self.given_kind = text_pair, label, kind
        self.given_length = max_length
        self._labels: list[str] | None = None

    # Labels

    @property
    def kind(self) -> labels.Kind:
        """What the label column asks for; read from train, before anything is held out of it, where it is not given."""
        if self.given_kind == "auto" and self.given_labels is not None and not self.files["train"]:
            return "single"
        if self.given_kind == "auto":
            self._infer_kind(self.raw("train"))
        return cast(labels.Kind, self.given_kind)

    def _infer_kind(self, table: datasets.Dataset) -> None:
        if self.given_kind == "auto":
            self.given_kind = labels.infer_kind(table.unique("label"))
            self.notes.append(f"kind of task: {self.given_kind}, by column {self.label} (data.kind)")

    @property
    def labels(self) -> list[str]:
        """The labels in order: as given, else those of train sorted; none for regression."""
        if self.kind == "regression":
            return []
        if self._labels is None:
            self._labels = list(self.given_labels or self._read_labels())
        return self._labels

    def _read_labels(self) -> list[str]:
        self.raw("train")
        # shares held out of train belong to it
        shares = [s for s in ("train", "validation", "test") if s == "train" or (s in self._raw and not self.files[s])]
        counts = Counter(value for s in shares for value in self._raw[s]["label"])
        names, notes = labels.collect(counts, self.kind, f"{self.files['train']}: column {self.label}")
        self.notes += notes
        return names

    def classes(self, table: datasets.Dataset) -> Sequence[str] | None:
        """Labels of the rows, where there is one each."""
        self._infer_kind(table)
        return table["label"][:] if self.given_kind == "single" else None

    # Rows

    @property
    def columns(self) -> list[str]:
        """Input columns that a row to predict must have."""
        return [*self.text, *([self.text_pair] if self.text_pair else [])]

    def source(self, split: str) -> tuple[Callable[..., Iterator[files.Row]], dict[str, Any], datasets.Features]:
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

    @property
    def max_length(self) -> int:
        """The most tokens of a row."""
        return tokens.limit(self.tokenizer_name, self.given_length)

    def _tokenize(self, texts: Sequence[str], pairs: Sequence[str]) -> Columns:
        return tokens.tokenize(self.tokenizer, texts, pairs if self.text_pair else None, self.max_length)

    def encode(self, table: datasets.Dataset, split: str) -> Encoded:
        """Tokenizes a split, cached by data, tokenizer and length; adds labels as numbers."""
        place = str(self.files[split] or self.files["train"])
        where = "data.labels" if self.given_labels else "train"
        targets = labels.encode(table["label"][:], table["line"][:], self.kind, self.labels, place, where)
        about = (tokens.identity(self.tokenizer), self.max_length, bool(self.text_pair), files.code(tokens.tokenize))
        encoded = self.mapped(table, lambda rows: self._tokenize(rows["text"], rows["pair"]), *about)
        self._note_cut(np.asarray(encoded["uncut"][:]), split)
        empty = sum(not t.strip() for t in table["text"][:])
        if empty:
            self.notes.append(f"{split}: {empty} rows have no text")
        return Encoded(encoded.remove_columns("uncut"), targets, encoded._fingerprint)

    def _note_cut(self, uncut: np.ndarray, split: str) -> None:
        over = np.maximum(uncut - self.max_length, 0)
        if over.any():
            self.notes.append(
                f"{split}: {np.count_nonzero(over)} of {len(uncut)} rows are longer than {self.max_length} tokens and cut"
                f" ({over.sum() / uncut.sum():.1%} of all tokens lost, longest {uncut.max()})"
            )

    def collate(self, columns: Columns, rows: list[int]) -> dict[str, Any]:
        """A batch: ``inputs`` (``int64 [rows, tokens]`` each), ``index`` and, where known, ``targets``."""
        batch: dict[str, Any] = {"inputs": tokens.collate(columns, self.tokenizer), "index": rows}
        if "target" in columns:
            given = columns["target"]
            if self.kind == "multi":
                batch["targets"] = torch.zeros(len(rows), len(self.labels))
                for i, numbers in enumerate(given):
                    batch["targets"][i, numbers] = 1
            else:
                batch["targets"] = torch.tensor(given)
        return batch

    def encode_rows(self, rows: Sequence[files.Row], place: str) -> Encoded:
        """Tokenizes rows to predict, with the text columns the run was trained on."""
        for row in rows:
            files.need(row, self.columns, place)
        texts = ["\n".join(files.as_text(r[c], place, i, c) for c in self.text) for i, r in enumerate(rows, 1)]
        pairs = [files.as_text(r[self.text_pair], place, i, self.text_pair) for i, r in enumerate(rows, 1)] if self.text_pair else []
        chunks = [self._tokenize(texts[i : i + 1000], pairs[i : i + 1000]) for i in range(0, len(rows), 1000)]
        return Encoded({k: [v for chunk in chunks for v in chunk[k]] for k in chunks[0]})
