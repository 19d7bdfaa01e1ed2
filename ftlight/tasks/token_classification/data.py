"""Data of token classification."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import torch

from ftlight.data import duplicates, files, labels, tokens
from ftlight.data.module import Columns, DataModule, EncodedSplit
from ftlight.tasks.token_classification import readers, windows
from ftlight.tasks.token_classification import tags as spans
from ftlight.utils.errors import UserError, join_limited


def tag_names(types: Sequence[str]) -> list[str]:
    """The tags of a model.

    >>> tag_names(["LOC", "PER"])
    ['O', 'B-LOC', 'I-LOC', 'B-PER', 'I-PER']
    """
    return ["O", *(f"{letter}-{name}" for name in types for letter in "BI")]


class TokenData(DataModule):
    """Documents with entities: CoNLL text, JSONL or Parquet with words and tags, or with text and spans of characters.

    Args:
        token: column of the word in CoNLL text, from 0, or from the end with -1.
        tag: column of the tag in CoNLL text; the last by default.
        tokens: column of the list of words.
        tags: column of the list of tags; tags or ner_tags if not given.
        text: column of the text, where it comes with spans.
        spans: column of the spans, each {start, end, label} or [start, end, label]; spans or entities if not given.
        tag_names: what the tags mean where they are numbers, in order.
        max_length: the most tokens of a window; as many as the backbone takes (or was trained with) if not given.
        stride: tokens that two windows of a longer row share; a quarter of max_length if not given.
        base: options of DataModule.
    """

    suffixes = readers.SUFFIXES

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
        max_length: int | None = None,
        stride: int | None = None,
        **base: Any,
    ) -> None:
        super().__init__(train, **base)
        lists = {"tags": (tags,)} if tags else {}
        lists |= {"spans": (spans,)} if spans else {}
        self.layout = readers.Layout(
            token=token,
            tag=tag,
            tokens=tokens,
            text=text,
            tag_names=tuple(tag_names or ()),
            **lists,
        )
        self.given_length, self.given_stride = max_length, stride
        self._labels: list[str] | None = None

    # Labels

    @property
    def labels(self) -> list[str]:
        """Types of entities: as given, else those of train sorted."""
        if self._labels is None:
            self._labels = list(self.given_labels or self._read_labels())
        return self._labels

    def _read_labels(self) -> list[str]:
        tables = [
            self.load_split("train"),
            *(
                self.load_split(s)
                for s in ("validation", "test")
                if self.has(s) and not self.files[s]
            ),
        ]
        rare = Counter(s["type"] for table in tables for gold in table["__gold"] for s in gold)
        if not rare:
            raise UserError(f"{self.files['train']}: no entity anywhere; there is nothing to learn")
        few = [name for name, count in rare.items() if count < labels.RARE]
        if few:
            self.notes.append(
                f"{len(few)} types have fewer than {labels.RARE} entities ({join_limited(few, 3)})"
            )
        return sorted(rare)

    # Rows

    @property
    def columns(self) -> list[str]:
        """What ``--text`` fills; rows may have a list of words instead."""
        return [self.layout.text]

    def reader(
        self, split: str
    ) -> tuple[Callable[..., Iterator[files.Row]], dict[str, Any], datasets.Features]:
        """Reader of a split."""
        text, number = datasets.Value("string"), datasets.Value("int64")
        span = {"type": text, "start": number, "end": number}
        features = {
            "text": text,
            "spans": datasets.List({"type": text, "text": text, "start": number, "end": number}),
            "__words": datasets.List(datasets.List(number)),
            "__gold": datasets.List(span),
            "__tags": datasets.List(text),
            "__moved": number,
            "__lost": number,
            "line": number,
        }
        code = files.code(spans.find)
        arguments = {
            "name": self.files[split],
            "split": split,
            "layout": self.layout,
            "encoding": self.encoding,
            "code": code,
        }
        return readers.read_rows, arguments, datasets.Features(features)

    def read_predict(self, name: str) -> list[files.Row]:
        """Rows of a file as in training, with or without tags; a .txt file of running text has one in each line."""
        if files.suffix(files.check(name, suffixes=readers.SUFFIXES)) == ".txt":
            lines = [
                (n, line)
                for n, line in files.text_lines(Path(name).expanduser(), self.encoding)
                if line.strip()
            ]
            words = [line.split() for _, line in lines]
            column = any("\t" in line for _, line in lines) or all(len(w) == 1 for w in words)
            if not column and not all(spans.is_tag(w[-1]) for w in words):
                return [{self.layout.text: line, files.LINE: n} for n, line in lines]
        return list(readers.open_rows(name, "", self.layout, self.encoding, tagged=False))

    def document(
        self, row: Mapping[str, Any], place: str = "input:1"
    ) -> tuple[str, list[spans.Range]]:
        """Text of a row to predict, and the characters of its words."""
        return readers.document(row, self.layout, place)

    # Windows

    @property
    def max_length(self) -> int:
        """The most tokens of a window."""
        most = tokens.max_length(self.tokenizer_name, trained=False)
        return tokens.limit(
            self.tokenizer_name, self.given_length, most if self.given_length else None
        )

    @property
    def stride(self) -> int:
        """Tokens that two windows share."""
        stride, room = (
            self.given_stride,
            self.max_length - self.tokenizer.num_special_tokens_to_add(),
        )
        if stride is not None and not 0 <= stride < room:
            raise UserError(
                f"data.stride: {stride} is not 0 to {room - 1}, what a window of {self.max_length} tokens leaves"
            )
        return min(self.max_length // 4, room - 1) if stride is None else stride

    def duplicate_keys(self, table: datasets.Dataset) -> list[str]:
        """What tells the text of each row from others."""
        return [duplicates.key(text) for text in table["text"]]

    def duplicate_labels(self, table: datasets.Dataset) -> list[str]:
        """The entities of each row."""
        return [str([(s["type"], s["start"], s["end"]) for s in row]) for row in table["__gold"]]

    def _windows(self, texts: Sequence[str], words: Sequence[Sequence[spans.Range]]) -> Columns:
        return windows.cut(self.tokenizer, texts, words, self.max_length, self.stride)

    def encode(self, table: datasets.Dataset, split: str) -> EncodedSplit:
        """Cuts a split into windows, cached by data, tokenizer and lengths; adds the tag of each word."""
        place, where = (
            str(self.files[split] or self.files["train"]),
            "data.labels" if self.given_labels else "train",
        )
        gold = [[(s["type"], s["start"], s["end"]) for s in row] for row in table["__gold"]]
        flat = [
            (name, line)
            for row, line in zip(gold, table["line"][:], strict=True)
            for name, *_ in row
        ]
        labels.encode(
            [n for n, _ in flat], [line for _, line in flat], "single", self.labels, place, where
        )
        number = {name: i for i, name in enumerate(tag_names(self.labels))}
        words = [len(row) for row in table["__words"]]
        targets = [
            [number[t] for t in spans.write(spans.apart(g), n)]
            for g, n in zip(gold, words, strict=True)
        ]
        about = (tokens.identity(self.tokenizer), self.max_length, self.stride)
        encoded = self.map_cached(
            table, lambda rows: self._windows(rows["text"], rows["__words"]), *about
        )
        self._note(table, split, place, gold)
        self._note_long(encoded["input_ids"], split)
        return EncodedSplit(encoded, targets, encoded._fingerprint)

    def _note(
        self, table: datasets.Dataset, split: str, place: str, gold: list[list[spans.Span]]
    ) -> None:
        """Says how tags were read, and which spans are not as the file has them."""
        tags = [row for row in table["__tags"] if row]
        if tags:
            scheme = spans.scheme(tags)
            odd = sum(spans.write(spans.find(row), len(row), scheme) != row for row in tags)
            mixed = (
                [t for row in tags for t in row if t != "O" and spans.is_tag(t)]
                if scheme == "plain"
                else []
            )
            if mixed:
                raise UserError(
                    f"{place}: tags with and without a letter are mixed (for example {mixed[0]}); write all as B-TYPE, I-TYPE"
                )
            told = f"{split}: tags are {'types without letters' if scheme == 'plain' else scheme}"
            if odd:
                told += f", {odd} of {len(tags)} rows not quite: an I- that follows nothing starts an entity"
            if odd or split == "train":
                self.notes.append(told + ("" if scheme == "IOB2" else "; trained on as IOB2"))
        over = sum(len(row) - len(spans.apart(row)) for row in gold)
        moved, lost = sum(table["__moved"][:]), sum(table["__lost"][:])
        what = {
            f"{moved} entities begin or end inside a word and take the whole word": moved,
            f"{lost} entities touch no word and are left out": lost,
            f"{over} entities overlap longer ones: they are not trained on, but count as missed in the metrics": over,
        }
        self.notes += [f"{split}: {words}" for words, count in what.items() if count]

    def _note_long(self, rows: Any, split: str) -> None:
        parts = [len(row) for row in rows]
        long = sum(n > 1 for n in parts)
        if long:
            told = f"longer than {self.max_length} tokens and read in windows that share {self.stride} (at most {max(parts)} of a row)"
            self.notes.append(f"{split}: {long} of {len(parts)} rows are {told}; nothing is cut")

    def encode_rows(self, rows: Sequence[files.Row], place: str) -> EncodedSplit:
        """Cuts rows to predict into windows; they have a text or a list of words."""
        made = [
            self.document(row, f"{place}:{row.get(files.LINE, i)}") for i, row in enumerate(rows, 1)
        ]
        return EncodedSplit(self._windows([text for text, _ in made], [words for _, words in made]))

    def collate(self, columns: Columns, rows: list[int]) -> dict[str, Any]:
        """A batch of whole rows.

        Returns:
            ``inputs`` (``int64 [windows, tokens]`` each), ``index``, ``words`` (number of words of each row), and for all words
            ``window``, ``place`` (of the first piece), ``has_piece`` (bool) and, where known, ``targets``, each ``[words]``.
        """
        parts = [len(row) for row in columns["input_ids"]]
        flat = [window for row in columns["input_ids"] for window in row]
        inputs = tokens.collate({"input_ids": flat}, self.tokenizer)
        base = itertools.accumulate(parts[:-1], initial=0)
        window = torch.tensor(
            [w + b for row, b in zip(columns["window"], base, strict=True) for w in row],
            dtype=torch.long,
        )
        place = torch.tensor([p for row in columns["place"] for p in row], dtype=torch.long)
        has_piece = place >= 0
        if self.tokenizer.padding_side == "left":
            place += inputs["input_ids"].shape[1] - torch.tensor([len(w) for w in flat])[window]
        words = [len(row) for row in columns["place"]]
        batch = {
            "inputs": inputs,
            "index": rows,
            "words": words,
            "window": window,
            "place": place.clamp(min=0),
            "has_piece": has_piece,
        }
        if "target" in columns:
            batch["targets"] = torch.tensor(
                [t for row in columns["target"] for t in row], dtype=torch.long
            )
        return batch
