"""From messages to tokens: the chat template, and which tokens belong to a reply."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ftlight.data import tokens
from ftlight.tasks.causal_lm import dialect, places, template_source
from ftlight.tasks.causal_lm.messages import Message
from ftlight.utils.bounded import Exceeded, bounded
from ftlight.utils.errors import UserError


class Sample(NamedTuple):
    """A piece of a chat or text that fits into the context.

    Attributes:
        ids: Tokens.
        loss_mask: Whether each token is predicted and counts for the loss.
        lost: Tokens that were cut off.
    """

    ids: list[int]
    loss_mask: list[bool]
    lost: int = 0


class Template:
    """A tokenizer with a chat template.

    Args:
        tokenizer: A fast tokenizer; it is not changed.
        source: The template, in Jinja.
        tool_source: Another one for chats with tools.

    Raises:
        UserError: The tokenizer gives no offsets of its tokens, or the template may compute without
            end.
    """

    def __init__(self, tokenizer: Any, source: str, tool_source: str | None = None) -> None:
        tokens.check_places(tokenizer)
        for text in filter(None, (source, tool_source)):
            if fault := template_source.fault(text):
                raise UserError(f"the model's chat template {fault}; set data.template: plain")
        self._exceeded: Exceeded | None = None
        self.tokenizer, self.source, self.tool_source = tokenizer, source, tool_source
        self._tails: dict[Any, str] = {}
        self.ending = self._ending()
        eos = tokenizer.eos_token_id
        # What ends a sample if the template ends no reply with a special token.
        self.closing = [] if self.ending or eos is None else [eos]
        ends = {tokenizer.convert_tokens_to_ids(token) for token in self.endings}
        self.ends = sorted(ends if eos is None else ends | {eos})

    # Text

    @functools.cached_property
    def wants(self) -> dialect.Dialect:
        """How the template wants calls of tools."""
        return dialect.probe(self.rendered, self.tool_source or self.source)

    def rendered(self, messages: dialect.Given, tools: dialect.Given, prompts: bool = False) -> str:
        """Renders what a template is given, in bounded time; raises what it raises."""
        if self._exceeded is not None:  # it would take as long again, for each chat
            raise self._exceeded
        try:
            with bounded():
                text = self.tokenizer.apply_chat_template(
                    messages,
                    tools=tools or None,
                    chat_template=self.tool_source if tools and self.tool_source else self.source,
                    tokenize=False,
                    add_generation_prompt=prompts,
                )
        except Exceeded as error:
            self._exceeded = error
            raise
        return str(text)

    def text(self, messages: Sequence[Message], prompts: bool = False) -> str:
        """Renders a chat as text; with ``prompts``, up to where the model is to reply.

        Raises:
            UserError: The template refuses the chat.
        """
        given, tools = dialect.given(self.wants, messages)
        try:
            return self.rendered(given, tools, prompts)
        except Exceeded as error:
            raise UserError(
                f"the model's chat template cannot be used: {error} for a chat; set"
                " data.template: plain"
            ) from None
        except Exception as error:  # whatever a template raises
            roles = ", ".join(turn["role"] for turn in given[:6])
            more = "…" if len(given) > 6 else ""
            raise UserError(
                f"the model's chat template refuses a chat of {roles}{more}: {error}"
            ) from error

    @functools.cached_property
    def endings(self) -> list[str]:
        """The special tokens that end a reply, or a call of tools if another one ends it."""
        endings = [self.ending] if self.ending else []
        wants = self.wants
        arguments = dialect.OBJECT if wants.objects else dialect.TEXT
        given = dialect.called(arguments, wants.blank, wants.short_ids)
        try:
            text = self.rendered(given, dialect.PROBE_TOOLS)
        except Exception:  # it knows no calls
            return endings
        _, found, tail = text.rpartition(dialect.NAME)
        if not found or any(token in tail for token in endings):
            return endings
        last = max(self.tokenizer.added_tokens_encoder, key=tail.rfind, default="")
        return [*endings, last] if last in tail else endings

    def prompt(self, messages: Sequence[Message]) -> str:
        """Renders a chat up to where the model is to reply."""
        return self.text(messages, True)

    def _ending(self) -> str:
        """The special token that ends a reply; empty if there is none."""
        mark = dialect.NAME
        text = self.text([Message("user", dialect.VALUE), Message("assistant", mark)])
        _, found, tail = text.partition(mark)
        at = {tail.index(t): t for t in self.tokenizer.added_tokens_encoder if t in tail}
        return at[min(at)] if found and at else ""

    # Replies

    def spans(self, messages: Sequence[Message]) -> tuple[str, list[tuple[int, int]]]:
        """Renders a chat, and finds the replies to learn in the text, with what ends them.

        Raises:
            UserError: The template changes messages so that replies cannot be found.
        """
        text = self.text(messages)
        where = places.find(self.text, messages, text)
        replies = []
        for i, message in enumerate(messages):
            if message.role == "assistant" and message.in_loss:
                begin = self._begin(messages[:i], text, where, where.get(i))
                later = filter(None, (where.get(j) for j in range(i + 1, len(messages))))
                high = next((place.begin for place in later), len(text))
                end = self._end(text, messages[: i + 1], where.get(i), begin, high)
                if begin < 0 or end < 0:
                    raise UserError(
                        f"the model's chat template rewrites message {i + 1} so that the reply"
                        " cannot be found in it; set data.template: plain"
                    )
                replies.append((begin, end))
        return text, replies

    def _begin(
        self,
        before: Sequence[Message],
        text: str,
        where: places.Places,
        place: places.Place | None,
    ) -> int:
        """Where the model takes over from the prompt for a reply; -1 if that cannot be told."""
        earlier = where.get(len(before) - 1)
        low = earlier.end if earlier else 0
        high = place.begin if place else -1
        for known in (True, False):
            tail = self._tail(before, known)
            if earlier and tail and text.startswith(tail, low):
                if high < 0 or low + len(tail) <= high:
                    return low + len(tail)
        try:
            prompt, shown = self.text(before, True), self.text(before)
        except UserError:
            return high
        if text.startswith(prompt) and (high < 0 or len(prompt) <= high):
            return max(len(prompt), low)
        header = prompt[len(shown) :] if prompt.startswith(shown) else ""
        # the template may render earlier turns differently
        at = text.rfind(header, low, high) if header and high >= 0 else -1
        return at + len(header) if at >= 0 else high

    def _tail(self, before: Sequence[Message], known: bool) -> str:
        """What a prompt has behind its last message; empty if that cannot be told.

        Args:
            before: The messages of the prompt.
            known: Whether what a prompt of the same form had will do: it is to be compared.
        """
        form = tuple((m.role, bool(m.content), len(m.calls), *m.more) for m in before)
        if not (known and form in self._tails):
            try:
                prompt = self.prompt(before)
                place = places.find(self.prompt, before, prompt).get(len(before) - 1)
                self._tails[form] = prompt[place.end :] if place else ""
            except UserError:
                self._tails[form] = ""
        return self._tails[form]

    def _end(
        self, text: str, upto: Sequence[Message], place: places.Place | None, begin: int, high: int
    ) -> int:
        """The character after a reply and what ends it; -1 if that cannot be told."""
        low = place.end if place else begin
        ends = [(text.find(token, low, high), len(token)) for token in self.endings]
        found = [at + size for at, size in ends if at >= 0]
        if found:
            return min(found)
        if place and not upto[-1].calls:
            return low
        shown = self.text(upto)
        return len(shown) if text.startswith(shown) else -1

    # Tokens

    def encode(self, messages: Sequence[Message]) -> Sample:
        """Encodes a chat as ``tokenizer.apply_chat_template`` does; learns replies and their ends.

        The first token is never learned, because nothing precedes it. If the template ends no
        reply with a special token, the end-of-text token follows the last one.
        """
        text, spans = self.spans(messages)
        ids, offsets = self.tokens(text)
        starts, ends = np.asarray(offsets).reshape(-1, 2).T
        mask = np.zeros(len(ids), dtype=bool)
        for a, b in spans:
            mask |= (a <= starts) & (starts < b) & (ends <= b)
        mask[:1] = False
        if messages[-1].role == "assistant" and self.closing:
            return Sample(ids + self.closing, [*mask.tolist(), messages[-1].in_loss])
        return Sample(ids, mask.tolist())

    def count(self, messages: Sequence[Message], prompts: bool = False) -> int:
        """Number of tokens of a chat, or of a prompt for a reply to it."""
        ids, _ = self.tokens(self.text(messages, prompts))
        return len(ids) if prompts else len(ids) + len(self.closing)

    def tokens(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Tokens of a text, and the characters of each."""
        out = self.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        return list(out["input_ids"]), out["offset_mapping"]

    def last_reply(self, messages: Sequence[Message]) -> str:
        """The text of the reply that a chat ends with, without special tokens."""
        silent = [m._replace(in_loss=False) for m in messages[:-1]]
        text, spans = self.spans([*silent, messages[-1]._replace(in_loss=True)])
        begin, end = spans[-1]
        ids, _ = self.tokens(text[begin:end])
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()
