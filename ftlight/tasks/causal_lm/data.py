"""Chats or plain texts as samples for a decoder: rendered, tokenized once, cut at turns, packed."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import datasets
import torch

from ftlight.data import files, tables, tokens
from ftlight.data.module import Columns, DataModule, EncodedSplit, Reader
from ftlight.models.loading import backbone_file
from ftlight.tasks.causal_lm import chat_template, truncation
from ftlight.tasks.causal_lm import messages as chat
from ftlight.utils import internals
from ftlight.utils.atomic import read_json, write_json
from ftlight.utils.errors import UserError


class ChatData(DataModule):
    """Chats from JSONL, Parquet, CSV or the hub, or plain texts (also .txt), tokenized once.

    The format is told by the columns: messages (OpenAI), conversations (ShareGPT), instruction
    (Alpaca), prompt and completion, or text.

    Args:
        max_length: Most tokens of a sample, and of a prompt with its reply. Default: what the
            backbone takes, at most 2,048.
        loss: Which tokens are trained on: assistant for replies alone, all for every token. Metrics
            always measure replies.
        packing: Whether short samples of a training batch share rows, without seeing each other.
            Default: if tokens_per_batch is given.
        template: auto for the tokenizer's own chat template, or a plain one if it has none; plain
            for the plain one in any case.
        prompt: Column of the prompt, for rows of a prompt and its completion.
        completion: Column of the completion.
        text: Column of plain text.
        base: Options of DataModule.
    """

    suffixes = chat.SUFFIXES
    default_length = 2048

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
    def plain(self) -> bool:
        """Whether the data are plain texts, not chats."""
        if "format" not in self.kept:
            split = next((s for s in ("train", "test", "validation") if self.files[s]), None)
            self.kept["format"] = self.load_split(split)["format"][0] if split else "messages"
        return bool(self.kept["format"] == "text")

    @functools.cached_property
    def template(self) -> chat_template.Template:
        """The tokenizer with the chat template of the run."""
        source = self.kept.get("template")
        if not source and self.given_template == "auto":
            source = chat_template.own(self.tokenizer)
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
        """Reads format, template and end tokens of a run."""
        self.kept = read_json(folder / "chat.json")

    @property
    def end_tokens(self) -> list[int]:
        """Tokens that end a reply: of the template, tokenizer and generation_config.json."""
        if "ends" in self.kept:
            return list(self.kept["ends"])
        file = backbone_file(self.tokenizer_name, "generation_config.json")
        config = json.loads(Path(file).read_text(encoding="utf-8")) if file else {}
        eos = config.get("eos_token_id")
        ends = eos if isinstance(eos, list) else [] if eos is None else [eos]
        return sorted({*self.template.ends, *ends})

    # Rows

    def reader(self, split: str) -> Reader:
        """Reader of a split."""
        features = {"messages": tables.TEXT, "format": tables.TEXT, "line": tables.NUMBER}
        arguments = {"source": self.source_of(split), "names": self.names}
        return chat.read_rows, arguments, datasets.Features(features)

    def read_predict(self, name: str) -> list[files.Row]:
        """The rows of a file to predict."""
        return list(chat.open_rows(self.source_at(name), self.names))

    @property
    def columns(self) -> list[str]:
        """The column of a chat, or of a text that is one message; other formats do too."""
        return [self.names.text if self.plain else "messages"]

    def encode(self, table: datasets.Dataset, split: str) -> EncodedSplit:
        """Tokenizes a split: a row per sample for training, a row per chat for evaluation."""
        trains, limit = split == "train", self.max_length
        learns_all = trains and self.loss == "all"
        encoded = self.map_cached(
            table,
            lambda rows: self._encode(rows["messages"], limit, learns_all, trains),
            tokens.identity(self.tokenizer),
            self.template.source,
            limit,
            learns_all,
            trains,
            files.code(truncation.samples, chat_template.plain, chat.load),
        )
        if not len(encoded):
            raise UserError(
                f"{split}: no reply fits into samples of {limit} tokens;"
                " give a larger data.max_length"
            )
        self._note(table, encoded, split)
        return EncodedSplit(encoded, fingerprint=internals.fingerprint_of(encoded))

    def _encode(self, chats: list[str], limit: int, learns_all: bool, trains: bool) -> Columns:
        """Columns of some chats, lists over the samples of each row: one sample to train on."""
        rows = []
        for text in chats:
            samples = self._samples(chat.load(text), limit, learns_all)
            if trains:
                rows += [(text, [sample]) for sample in samples if any(sample.learned)]
            else:
                rows.append((text, samples))
        columns: Columns = {
            "ids": [[s.ids for s in samples] for _, samples in rows],
            "learned": [[s.learned for s in samples] for _, samples in rows],
            "lost": [sum(s.lost for s in samples) for _, samples in rows],
            "pieces": [len(samples) for _, samples in rows],
            "length": [sum(len(s.ids) for s in samples) for _, samples in rows],
        }
        return columns if trains else {**columns, "chat": [text for text, _ in rows]}

    def _samples(
        self, messages: list[chat.Message], limit: int, learns_all: bool
    ) -> list[chat_template.Sample]:
        if messages[0].role == "text":
            return truncation.windows(self.tokenizer, messages[0].content, limit)
        samples = truncation.samples(self.template, messages, limit)
        if not learns_all:
            return samples
        return [s._replace(learned=[False, *[True] * (len(s.ids) - 1)]) for s in samples]

    def _note(self, table: datasets.Dataset, encoded: datasets.Dataset, split: str) -> None:
        name = table["format"][0]
        if split == "train":
            self._note_format(name)
        pieces = sum(encoded["pieces"][:])
        if pieces > len(table):
            turns = "" if name == "text" else ", at turns"
            self.notes.append(
                f"{split}: {len(table):,} rows are cut into {pieces:,} samples{turns}"
            )
        lost = [count for count in encoded["lost"][:] if count]
        if lost:
            share = sum(lost) / (sum(lost) + sum(encoded["length"][:]))
            self.notes.append(
                f"{split}: {len(lost)} turns are longer than {self.max_length} tokens and cut"
                f" ({share:.1%} of all tokens lost)"
            )
        chats = table["messages"][:]
        self._note_special(chats, split)
        unanswered = sum(chat.load(text)[-1].role == "user" for text in chats)
        if unanswered:
            self.notes.append(
                f"{split}: {unanswered} chats end with a message of the user,"
                " which has no reply to learn"
            )

    def _note_format(self, name: str) -> None:
        """Notes how rows become samples to train on."""
        if name == "text":
            rows = "plain text, all of it is learned"
        else:
            same = chat_template.own(self.tokenizer) == self.template.source
            template = "the tokenizer's own chat template" if same else "a plain chat template"
            ends = ", ".join(self.tokenizer.convert_ids_to_tokens(self.end_tokens))
            rows = f"chats as {name}, {template}; replies end with {ends}"
        packed = "rows are packed" if self.packing else "rows are padded"
        self.notes.append(f"{rows}; at most {self.max_length} tokens, {packed}")

    def _note_special(self, chats: Sequence[str], split: str) -> None:
        """Notes rows whose text holds a special token, which the model would read as one."""
        added = self.tokenizer.added_tokens_decoder.values()
        special = [t.content for t in added if t.special and len(t.content) > 2]
        starts = {token[:2] for token in special}  # special tokens may be hundreds
        marked = []
        for text in chats:
            if any(start in text for start in starts):
                marked += [token for token in special if token in text][:1]
        if marked:
            self.notes.append(
                f"{split}: {len(marked)} rows hold the text of a special token such as {marked[0]},"
                " which the model reads as one"
            )

    def encode_rows(self, rows: Sequence[files.Row], place: str) -> EncodedSplit:
        """Chats to reply to; a reply at the end of one is left out."""
        chats = [chat.dump(self._asked(row, place)) for row in rows]
        return EncodedSplit({"chat": chats, "length": [len(text) for text in chats]})

    def _asked(self, row: files.Row, name: str) -> list[chat.Message]:
        """The messages of a row up to its last reply."""
        place = f"{name}:{row[files.LINE]}"
        kind = chat.detect(row, self.names, name)
        if kind == "text" and not self.plain:
            kind, row = "messages", {"messages": row[self.names.text]}
        messages = chat.read(row, kind, self.names, place, replied=False)
        if not messages[0].content:
            raise UserError(f"{place}: the text is empty; there is nothing to continue")
        return truncation.upto_reply(messages)[0]

    def prompt(self, messages: list[chat.Message], room: int) -> list[int]:
        """The tokens, at most ``room``, that a reply or the rest of a text follows."""
        if messages[0].role != "text":
            return truncation.prompt(self.template, messages, room)
        ids = list(self.tokenizer(messages[0].content, verbose=False)["input_ids"])
        if ids[-1:] == [self.tokenizer.eos_token_id]:
            ids = ids[:-1]
        return ids[-room:]

    # Batches

    def collate(self, columns: Columns, rows: list[int]) -> dict[str, Any]:
        """A batch of samples.

        Returns:
            ``index``, ``inputs`` and ``labels`` (``int64 [samples, tokens]``), ``places`` (the row
            of each sample), in evaluation ``chats``; rows to predict have only the last. Packed, a
            row of inputs holds several samples.
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
    labels = []
    for row, mask in zip(ids, learned, strict=True):
        labels.append([t if kept else tokens.IGNORE for t, kept in zip(row, mask, strict=True)])
    return labels


def padded(ids: list[list[int]], learned: list[list[bool]], pad: int) -> dict[str, Any]:
    """Samples padded to the longest, ``[samples, tokens]``; padding has no label."""
    inputs = {
        "input_ids": tokens.pad(ids, pad),
        "attention_mask": tokens.pad([[1] * len(row) for row in ids], 0),
    }
    return {"inputs": inputs, "labels": tokens.pad(_labels(ids, learned), tokens.IGNORE)}


def packed(ids: list[list[int]], learned: list[list[bool]], pad: int) -> dict[str, Any]:
    """Samples end to end in rows as long as the longest, ``[rows, tokens]``: first fit decreasing.

    Positions start anew with each sample, by which models keep them apart. A single long row would
    cost more attention (the square of its length) than it saves padding, unless a kernel avoids it.
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
    positions = []
    for samples, room in zip(rows, left, strict=True):
        lengths = [*(len(ids[i]) for i in samples), room]
        positions.append([position for length in lengths for position in range(length)])
    joined_ids = [[token for i in samples for token in ids[i]] for samples in rows]
    joined_labels = [[label for i in samples for label in labels[i]] for samples in rows]
    inputs = {
        "input_ids": tokens.pad(joined_ids, pad),
        "position_ids": torch.tensor(positions),
    }
    return {"inputs": inputs, "labels": tokens.pad(joined_labels, tokens.IGNORE)}
