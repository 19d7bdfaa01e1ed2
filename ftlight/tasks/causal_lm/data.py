"""Chats or plain texts as samples for a decoder: rendered, tokenized once, cut at turns, packed."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import datasets
import torch

from ftlight.data import documents, files, tables, tokens
from ftlight.data.module import Columns, DataModule, EncodedSplit, Reader
from ftlight.models.loading import read_file
from ftlight.run import records
from ftlight.tasks.causal_lm import (
    audit,
    chat_template,
    formats,
    notes,
    packing,
    readers,
    samples,
    template_source,
    truncation,
)
from ftlight.tasks.causal_lm import messages as chat
from ftlight.utils import internals
from ftlight.utils.atomic import write_json
from ftlight.utils.errors import UserError
from ftlight.utils.ranges import Length

# What a run keeps of its chats.
CHAT = {"format": {"text", "chat"}, "template": str, "tool_template": str, "ends": [int]}
CHANGED = "__changed"  # of a row whose messages have other texts: these as JSON


class ChatData(DataModule):
    """Chats from JSONL, Parquet, CSV or the hub, or plain texts (also .txt, documents), tokenized.

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
        on_bad_chat: What to do with a row that is no chat, or that the chat template cannot say:
            error, or skip to leave it out and count it.
        prompt: Column of the prompt, for rows of a prompt and its completion.
        completion: Column of the completion.
        text: Column of plain text.
        base: Options of DataModule.
    """

    suffixes = readers.SUFFIXES
    default_length = 2048

    def __init__(
        self,
        train: str | None = None,
        *,
        max_length: Length | None = None,
        loss: Literal["assistant", "all"] = "assistant",
        packing: bool | None = None,
        template: Literal["auto", "plain"] = "auto",
        on_bad_chat: readers.OnBadChat = "error",
        prompt: str = "prompt",
        completion: str = "completion",
        text: str = "text",
        **base: Any,
    ) -> None:
        super().__init__(train, **base)
        self.given_length, self.loss, self.given_template = max_length, loss, template
        self.packing = self.tokens_per_batch is not None if packing is None else packing
        self.on_bad_chat = on_bad_chat
        self.names = formats.Columns(prompt, completion, text)
        self.kept: dict[str, Any] = {}
        self.find_splits()

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
        source, with_tools = self.kept.get("template"), self.kept.get("tool_template")
        if not source and self.given_template == "auto":
            source, with_tools = template_source.own(self.tokenizer)
        source = source or template_source.plain(self.tokenizer)
        return chat_template.Template(self.tokenizer, source, with_tools)

    def save_state(self, folder: Path) -> None:
        """Writes format, template and the tokens that end a reply."""
        self.kept = {
            "format": "text" if self.plain else "chat",
            "template": self.template.source,
            "ends": self.end_tokens,
        }
        if self.template.tool_source:
            self.kept["tool_template"] = self.template.tool_source
        write_json(folder / "chat.json", self.kept)

    def load_state(self, folder: Path) -> None:
        """Reads format, template and end tokens of a run."""
        self.kept = records.of(folder / "chat.json", CHAT)

    @property
    def end_tokens(self) -> list[int]:
        """Tokens that end a reply: of the template, tokenizer and generation_config.json."""
        if "ends" in self.kept:
            return list(self.kept["ends"])
        shape = {"eos_token_id": (int, [int], None)}
        config = read_file(self.tokenizer_name, "generation_config.json", shape)
        eos = config.get("eos_token_id")
        ends = eos if isinstance(eos, list) else [] if eos is None else [eos]
        return sorted({*self.template.ends, *ends})

    def made_with(self) -> dict[str, str]:
        """Tokenizer and chat template, as text."""
        template = f"{self.template.source} {self.template.tool_source}"
        return {**super().made_with(), "chat template": template}

    # Rows

    def reader(self, split: str) -> Reader:
        """Reader of a split."""
        texts = dict.fromkeys(("messages", "format", "__unused", "__bad"), tables.TEXT)
        features = datasets.Features({**texts, "line": self.place_type(split)})
        arguments = {
            "source": self.source_of(split),
            "names": self.names,
            "on_bad_chat": self.on_bad_chat,
        }
        return readers.read_rows, arguments, features

    def _load(self, split: str, name: str | None) -> datasets.Dataset:
        """Reads a split, without the chats that the template cannot say.

        Raises:
            UserError: there is such a chat, and data.on_bad_chat is error; names file and line.
        """
        table = super()._load(split, name)
        bad = [fault for text in table["__bad"][:] for fault in json.loads(text)]
        self.notes += notes.unused_notes(split, table["__unused"][:], "columns")
        if table["format"][0] != "text":
            table, unsaid = self._said(table, split, str(name))
            bad += unsaid
        self.notes += notes.bad_notes(split, bad)
        return table

    def row_texts(self, table: datasets.Dataset) -> list[list[str]]:
        """What a chat asks: its turns before the last reply, without the system's; or the text."""
        texts = []
        for row in table["messages"][:]:
            turns = [m for m in chat.load(row) if m.role not in ("system", chat.TOOLS)]
            asked = turns[:-1] if len(turns) > 1 and turns[-1].role == "assistant" else turns
            texts.append("\n".join(turn.content for turn in asked))
        return [texts]

    def _said(
        self, table: datasets.Dataset, split: str, name: str
    ) -> tuple[datasets.Dataset, list[str]]:
        """The chats that the template can say, and why it cannot say the others."""
        template = self.template
        audits = self.map_cached(
            table, lambda rows: audit.audited(template, rows["messages"]), *self._rendering
        )
        self.notes += notes.unused_notes(split, audits["unused"][:], "keys of messages")
        faults, lines = audits["fault"][:], table["line"][:]
        bad = [i for i, fault in enumerate(faults) if fault]
        if not bad:
            return table, []
        unsaid = [f"{files.place(name, lines[i])}: {faults[i]}" for i in bad]
        if self.on_bad_chat == "error":
            raise UserError(f"{unsaid[0]}{self._way_out}")
        if len(bad) == len(table):
            raise UserError(f"{name}: no chat is left; the first: {unsaid[0]}{self._way_out}")
        return table.select([i for i, fault in enumerate(faults) if not fault]), unsaid

    @property
    def _rendering(self) -> tuple[Any, ...]:
        """What the tokens of a chat depend on, for cache keys."""
        sources = self.template.source, self.template.tool_source
        return tokens.identity(self.tokenizer), *sources, files.package_code(ChatData)

    @property
    def _way_out(self) -> str:
        return audit.way_out(self.template.source == template_source.plain(self.tokenizer))

    def read_predict(self, name: str) -> list[files.Row]:
        """The rows of a file to predict."""
        return list(readers.open_rows(self.source_at(name), self.names))

    @property
    def columns(self) -> list[str]:
        """The column of a chat, or of a text that is one message; other formats do too."""
        return [self.names.text if self.plain else "messages"]

    @property
    def document_columns(self) -> documents.Columns:
        """Names of the columns of a folder of documents: each is a plain text."""
        return documents.Columns(self.names.text)

    def encode(self, table: datasets.Dataset, split: str) -> EncodedSplit:
        """Tokenizes a split: a row per sample for training, a row per chat for evaluation."""
        trains, limit, template = split == "train", self.max_length, self.template
        learns_all = trains and self.loss == "all"
        encoded = self.map_cached(
            table,
            lambda rows: samples.encode(template, rows["messages"], limit, learns_all, trains),
            *self._rendering,
            limit,
            learns_all,
            trains,
        )
        if not len(encoded):
            raise UserError(
                f"{split}: no reply fits into samples of {limit} tokens;"
                " give a larger data.max_length"
            )
        if split == "train":
            kind = table["format"][0]
            self.notes.append(notes.format_note(kind, self.template, self.end_tokens))
            packed = "packed" if self.packing else "padded"
            self.notes[-1] += f"; at most {limit} tokens, rows are {packed}"
        self.notes += notes.sample_notes(split, table, encoded, limit)
        self.notes += notes.chat_notes(split, table["messages"][:], self.tokenizer)
        return EncodedSplit(encoded, fingerprint=internals.fingerprint_of(encoded))

    def encode_rows(self, rows: Sequence[files.Row], place: str) -> EncodedSplit:
        """Chats to reply to; a reply at the end of one is left out.

        One that is no chat is empty text and gets no reply if data.on_bad_chat is skip.
        """
        read = [self._asked_or_none(row, place) for row in rows]
        chats = [chat.dump(messages) if messages else "" for messages in read]
        return EncodedSplit({"chat": chats, "length": [len(text) for text in chats]})

    def _asked_or_none(self, row: files.Row, place: str) -> list[chat.Message]:
        """The same as :meth:`_asked`; empty if it is no chat and data.on_bad_chat is skip."""
        try:
            return self._asked(row, place)
        except UserError:
            if self.on_bad_chat == "error":
                raise
            return []

    def texts_of(self, row: files.Row) -> dict[str, str]:
        """The text of each message to reply to by its role: user, user 2 …; or the plain text."""
        messages = self._asked_or_none({files.LINE: 1, **row}, "rows")
        names = chat.names(messages)
        return {name: m.content for name, m in zip(names, messages, strict=True) if name}

    def with_texts(self, row: files.Row, texts: Mapping[str, str]) -> files.Row:
        """A row with other texts in its messages, one of which may be empty."""
        messages = self._asked_or_none({files.LINE: 1, **row}, "rows")
        changed = [
            message._replace(content=texts.get(name, message.content))
            for name, message in zip(chat.names(messages), messages, strict=True)
        ]
        return {**row, CHANGED: chat.dump(changed)} if messages else row

    def reply_tokens(self, text: str) -> list[int]:
        """The tokens of a reply as a model writes it behind a prompt, with the one that ends it.

        A plain text goes on with a space. Without an end if the chat template rewrites the reply.
        """
        if self.plain:
            ids, places = self.template.tokens(f"a {text}")
            end = self.tokenizer.eos_token_id
            own = [token for token, place in zip(ids, places, strict=True) if place[1] > 1]
            return own if end is None else [*own, end]
        try:
            said = [chat.Message("user", "a"), chat.Message("assistant", text)]
            sample = self.template.encode(said)
        except UserError:
            return self.template.tokens(text)[0]
        pairs = zip(sample.ids, sample.loss_mask, strict=True)
        return [token for token, is_written in pairs if is_written]

    def _asked(self, row: files.Row, name: str) -> list[chat.Message]:
        """The messages of a row up to its last reply.

        Raises:
            UserError: it is no chat, or the template cannot say it.
        """
        if CHANGED in row:
            return chat.load(row[CHANGED])
        place = files.place(name, row[files.LINE])
        kind = formats.detect(row, self.names, name)
        if kind == "text" and not self.plain:
            kind, row = "messages", {"messages": row[self.names.text]}
        messages = formats.read(row, kind, self.names, place, replied=False)
        if not messages[0].content:
            raise UserError(f"{place}: the text is empty; there is nothing to continue")
        asked = truncation.upto_reply(messages)[0]
        if kind != "text" and (fault := audit.fault(self.template, asked)):
            raise UserError(f"{place}: {fault}{self._way_out}")
        return asked

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
            masks = [s for row in columns["loss_mask"] for s in row]
            packs = self.packing and "chat" not in columns
            batch |= (packing.packed if packs else packing.padded)(
                ids, masks, self.tokenizer.pad_token_id
            )
            batch["places"] = torch.tensor([i for i, row in enumerate(columns["ids"]) for _ in row])
        return batch
