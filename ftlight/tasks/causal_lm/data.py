"""Chats, or plain texts, as samples for a decoder: read, rendered by a chat template, tokenized once, cut at turns, packed."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import datasets
import torch

from ftlight.data import files, tokens
from ftlight.data.module import Columns, DataModule, EncodedSplit
from ftlight.models.loading import backbone_file
from ftlight.tasks.causal_lm import chat_template, truncation
from ftlight.tasks.causal_lm import messages as chat
from ftlight.utils.atomic import read_json, write_json
from ftlight.utils.errors import UserError

CONTEXT = 2048  # tokens of a sample, where a model takes more and nothing is said


class ChatData(DataModule):
    """Chats from JSONL, Parquet, CSV or the hub, or plain texts (also .txt), tokenized once; the format is told by the columns.

    Args:
        max_length: the most tokens of a sample and of a prompt with its reply; as many as the backbone takes, at most 2,048, if not given.
        loss: what is learned: assistant for the replies alone, all for every token; measured are always the replies.
        packing: whether short samples of a training batch share rows, blind to each other; by default where tokens_per_batch is given.
        template: auto for the tokenizer's own chat template, or a plain one where it has none; plain for that in any case.
        prompt: column of the prompt, for rows of a prompt and its completion.
        completion: column of the completion.
        text: column of plain text.
        base: options of DataModule.
    """

    suffixes = chat.SUFFIXES

    def __init__(
        self,
        train: str | None = None,
        *,
        max_length: int | None = None,
        loss: Literal["assistant", "all"] = "assistant",
        packing: bool | None = None,
        template: Literal["auto", "plain"] = "auto",
        prompt: str = "prompt",
        completion: str = "completion",
        text: str = "text",
        **base: Any,
    ) -> None:
        super().__init__(train, **base)
        self.given_length, self.loss, self.given_template = max_length, loss, template
        self.packing = self.tokens_per_batch is not None if packing is None else packing
        self.names = chat.Columns(prompt, completion, text)
        self.kept: dict[str, Any] = {}

    # What a run keeps

    @property
    def max_length(self) -> int:
        """The most tokens of a sample."""
        most = tokens.max_length(self.tokenizer_name)
        return (
            tokens.limit(self.tokenizer_name, self.given_length, most)
            if self.given_length
            else min(most, CONTEXT)
        )

    @property
    def plain(self) -> bool:
        """Whether the data are plain texts, not chats."""
        if "format" not in self.kept:
            split = next((s for s in ("train", "test", "validation") if self.files[s]), None)
            self.kept["format"] = self.load_split(split)["format"][0] if split else "messages"
        return bool(self.kept["format"] == "text")

    @functools.cached_property
    def template(self) -> chat_template.Template:
        """The tokenizer with the chat template of the run."""
        source = self.kept.get("template") or (
            chat_template.own(self.tokenizer) if self.given_template == "auto" else None
        )
        return chat_template.Template(self.tokenizer, source or chat_template.plain(self.tokenizer))

    def save_state(self, folder: Path) -> None:
        """Writes format, template and the tokens that end a reply."""
        self.kept = {
            "format": "text" if self.plain else "chat",
            "template": self.template.source,
            "ends": self.end_tokens,
        }
        write_json(folder / "chat.json", self.kept)

    def load_state(self, folder: Path) -> None:
        """Takes what the run has kept."""
        self.kept = read_json(folder / "chat.json")

    @property
    def end_tokens(self) -> list[int]:
        """Tokens that end a reply: the template's, the tokenizer's and those of the model's own generation_config.json."""
        if "ends" in self.kept:
            return list(self.kept["ends"])
        file = backbone_file(self.tokenizer_name, "generation_config.json")
        own = (
            json.loads(Path(file).read_text(encoding="utf-8")).get("eos_token_id") if file else None
        )
        return sorted(
            {*self.template.ends, *(own if isinstance(own, list) else [] if own is None else [own])}
        )

    # Rows

    def reader(
        self, split: str
    ) -> tuple[Callable[..., Iterator[files.Row]], dict[str, Any], datasets.Features]:
        """Reader of a split."""
        text = datasets.Value("string")
        features = datasets.Features(
            {"messages": text, "format": text, "line": datasets.Value("int64")}
        )
        return (
            chat.read_rows,
            {
                "name": self.files[split],
                "split": split,
                "names": self.names,
                "encoding": self.encoding,
            },
            features,
        )

    def read_predict(self, name: str) -> list[files.Row]:
        """The rows of a file to predict."""
        return list(chat.open_file(name, "predict", self.names, self.encoding))

    @property
    def columns(self) -> list[str]:
        """Input column that a row to predict must have: a chat, or a text that is one message; or any other format's."""
        return [self.names.text if self.plain else "messages"]

    def encode(self, table: datasets.Dataset, split: str) -> EncodedSplit:
        """Tokenizes a split: a row per sample for training, a row per chat with all its samples for evaluation."""
        trains, limit = split == "train", self.max_length
        learns_all = trains and self.loss == "all"

        def columns(rows: Columns) -> Columns:
            made = [
                (text, self._samples(chat.load(text), limit, learns_all))
                for text in rows["messages"]
            ]
            if trains:
                made = [
                    (text, [sample])
                    for text, samples in made
                    for sample in samples
                    if any(sample.learned)
                ]
            found: Columns = {
                name: [[getattr(s, name) for s in samples] for _, samples in made]
                for name in ("ids", "learned")
            }
            found |= {"lost": [sum(s.lost for s in samples) for _, samples in made]}
            found |= {"pieces": [len(samples) for _, samples in made]}
            found |= {"length": [sum(len(s.ids) for s in samples) for _, samples in made]}
            return found if trains else {**found, "chat": [text for text, _ in made]}

        about = (
            tokens.identity(self.tokenizer),
            self.template.source,
            limit,
            learns_all,
            trains,
            files.code(truncation.samples, chat_template.plain, chat.load),
        )
        encoded = self.map_cached(table, columns, *about)
        if not len(encoded):
            raise UserError(
                f"{split}: no reply has room in samples of {limit} tokens; give a larger data.max_length"
            )
        self._note(table, encoded, split)
        return EncodedSplit(encoded, fingerprint=encoded._fingerprint)

    def _samples(
        self, messages: list[chat.Message], limit: int, learns_all: bool
    ) -> list[chat_template.Sample]:
        if messages[0].role == "text":
            return truncation.windows(self.tokenizer, messages[0].content, limit)
        found = truncation.samples(self.template, messages, limit)
        return (
            [s._replace(learned=[False, *[True] * (len(s.ids) - 1)]) for s in found]
            if learns_all
            else found
        )

    def _note(self, table: datasets.Dataset, encoded: datasets.Dataset, split: str) -> None:
        name = table["format"][0]
        if split == "train":
            same = chat_template.own(self.tokenizer) == self.template.source
            own = "the tokenizer's own chat template" if same else "a plain chat template"
            ends = ", ".join(self.tokenizer.convert_ids_to_tokens(self.end_tokens))
            said = (
                "plain text, all of it is learned"
                if name == "text"
                else f"chats as {name}, {own}; replies end with {ends}"
            )
            packed = "rows are packed" if self.packing else "rows are padded"
            self.notes.append(f"{said}; at most {self.max_length} tokens, {packed}")
        pieces = sum(encoded["pieces"][:])
        if pieces > len(table):
            self.notes.append(
                f"{split}: {len(table):,} rows are cut into {pieces:,} samples{'' if name == 'text' else ', at turns'}"
            )
        lost = [n for n in encoded["lost"][:] if n]
        if lost:
            share = sum(lost) / (sum(lost) + sum(encoded["length"][:]))
            self.notes.append(
                f"{split}: {len(lost)} turns are longer than {self.max_length} tokens and cut ({share:.1%} of all tokens lost)"
            )
        chats = table["messages"][:]
        special = [
            t.content
            for t in self.tokenizer.added_tokens_decoder.values()
            if t.special and len(t.content) > 2
        ]
        starts = {t[:2] for t in special}  # there may be hundreds
        marked = [
            t
            for text in chats
            if any(s in text for s in starts) and (t := next((t for t in special if t in text), ""))
        ]
        if marked:
            self.notes.append(
                f"{split}: {len(marked)} rows hold the text of a special token such as {marked[0]}, which the model reads as one"
            )
        asked = sum(chat.load(text)[-1].role == "user" for text in chats)
        if asked:
            self.notes.append(
                f"{split}: {asked} chats end with a message of the user, which has no reply to learn"
            )

    def encode_rows(self, rows: Sequence[files.Row], place: str) -> EncodedSplit:
        """Chats to answer; a reply at the end of one is left out."""
        made = [
            chat.dump(self._asked(row, f"{place}:{row.get(files.LINE, i)}", place))
            for i, row in enumerate(rows, 1)
        ]
        return EncodedSplit({"chat": made, "length": [len(text) for text in made]})

    def _asked(self, row: files.Row, place: str, path: str) -> list[chat.Message]:
        kind = chat.detect(row, self.names, path)
        if kind == "text" and not self.plain:
            kind, row = "messages", {"messages": row[self.names.text]}
        messages = chat.read(row, kind, self.names, place, replied=False)
        if not messages[0].content:
            raise UserError(f"{place}: the text is empty; there is nothing to go on from")
        return truncation.upto_reply(messages)[0]

    def prompt(self, messages: list[chat.Message], room: int) -> list[int]:
        """The tokens that a reply, or the rest of a text, follows: at most ``room``."""
        if messages[0].role != "text":
            return truncation.prompt(self.template, messages, room)
        ids, eos = (
            list(self.tokenizer(messages[0].content, verbose=False)["input_ids"]),
            self.tokenizer.eos_token_id,
        )
        return (ids[:-1] if ids[-1:] == [eos] else ids)[-room:]

    # Batches

    def collate(self, columns: Columns, rows: list[int]) -> dict[str, Any]:
        """A batch: ``inputs`` and ``labels`` of its samples, ``int64 [samples, tokens]``; ``places``, the row of each; ``chats``.

        Training has no ``chats``, rows to predict have nothing else. Packed, a row of inputs holds several samples.
        """
        batch: dict[str, Any] = {"index": rows, "inputs": {}}
        if "chat" in columns:
            batch["chats"] = columns["chat"]
        if "ids" in columns:
            ids = [s for row in columns["ids"] for s in row]
            learned = [s for row in columns["learned"] for s in row]
            packs = self.packing and "chat" not in columns
            batch |= (packed if packs else padded)(ids, learned, self.tokenizer.pad_token_id)
            batch["places"] = torch.tensor([i for i, row in enumerate(columns["ids"]) for _ in row])
        return batch


def _labels(ids: list[list[int]], learned: list[list[bool]]) -> list[list[int]]:
    return [
        [t if k else tokens.IGNORE for t, k in zip(row, kept, strict=True)]
        for row, kept in zip(ids, learned, strict=True)
    ]


def padded(ids: list[list[int]], learned: list[list[bool]], pad: int) -> dict[str, Any]:
    """Samples padded to the longest, ``[samples, tokens]``: padding has no label, whichever token pads."""
    inputs = {
        "input_ids": tokens.pad(ids, pad),
        "attention_mask": tokens.pad([[1] * len(row) for row in ids], 0),
    }
    return {"inputs": inputs, "labels": tokens.pad(_labels(ids, learned), tokens.IGNORE)}


def packed(ids: list[list[int]], learned: list[list[bool]], pad: int) -> dict[str, Any]:
    """Samples end to end in rows as long as the longest, ``[rows, tokens]``, first fit from the longest on.

    Positions begin anew with each sample, by which models keep them apart. One long row would waste more on attention than
    it saves on padding: it costs the square of its length, unless a kernel for it is there.
    """
    width = max(map(len, ids))
    rows: list[list[int]] = []
    left: list[int] = []
    for i in sorted(range(len(ids)), key=lambda i: -len(ids[i])):
        row = next((r for r, room in enumerate(left) if room >= len(ids[i])), len(rows))
        if row == len(rows):
            rows.append([])
            left.append(width)
        rows[row].append(i)
        left[row] -= len(ids[i])
    labels = _labels(ids, learned)
    places = [
        [p for n in (*(len(ids[i]) for i in row), room) for p in range(n)]
        for row, room in zip(rows, left, strict=True)
    ]
    inputs = {
        "input_ids": tokens.pad([[t for i in row for t in ids[i]] for row in rows], pad),
        "position_ids": torch.tensor(places),
    }
    return {
        "inputs": inputs,
        "labels": tokens.pad([[t for i in row for t in labels[i]] for row in rows], tokens.IGNORE),
    }
