"""From messages to tokens: the chat template, and which tokens belong to a reply."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ftlight.data import tokens
from ftlight.tasks.causal_lm.messages import Message
from ftlight.utils.errors import UserError

PLAIN = (
    "{{ START }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ 'Assistant: ' + message['content'] + eos_token }}"
    "{% else %}{{ message['role'].capitalize() + ': ' + message['content'] + '\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""The template for a model without one: plain words, and the end-of-text token after a reply."""


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


class _Skeleton(NamedTuple):
    """What a template writes around the messages of a chat.

    Attributes:
        gaps: Text before, between and after the messages.
        lead: For each message, the characters of the gap before it that belong to a reply: what
            the model itself writes after the prompt.
        tail: Likewise of the gap after it: the token that ends the turn.
    """

    gaps: list[str]
    lead: list[int]
    tail: list[int]


def own(tokenizer: Any) -> str | None:
    """The tokenizer's own chat template (the default of several), or None."""
    template = tokenizer.chat_template
    return template.get("default") if isinstance(template, dict) else template


def plain(tokenizer: Any) -> str:
    """Returns the plain template for a tokenizer, with its begin-of-text token if it uses one.

    Raises:
        UserError: It has no end-of-text token.
    """
    if tokenizer.eos_token is None:
        raise UserError(
            f"the tokenizer of {tokenizer.name_or_path} has no end-of-text token to end a reply;"
            " set eos_token in its files"
        )
    bos = tokenizer.bos_token_id
    starts = bos is not None and tokenizer("a")["input_ids"][:1] == [bos]
    return PLAIN.replace("{{ START }}", "{{ bos_token }}" if starts else "")


class Template:
    """A tokenizer with a chat template.

    Args:
        tokenizer: A fast tokenizer; it is not changed.
        source: The template, in Jinja.

    Raises:
        UserError: The tokenizer gives no offsets of its tokens.
    """

    def __init__(self, tokenizer: Any, source: str) -> None:
        tokens.check_places(tokenizer)
        self.tokenizer, self.source = tokenizer, source
        self._skeletons: dict[tuple[str, ...], _Skeleton | None] = {}
        self.ending = self._ending()
        eos = tokenizer.eos_token_id
        # What ends a sample if the template ends no reply with a special token.
        self.closing = [] if self.ending or eos is None else [eos]
        ends = {tokenizer.convert_tokens_to_ids(self.ending)} if self.ending else set()
        self.ends = sorted(ends if eos is None else ends | {eos})

    # Text

    def text(self, messages: Sequence[Message], prompts: bool = False) -> str:
        """Renders a chat as text; with ``prompts``, up to where the model is to reply.

        Raises:
            UserError: The template refuses the chat.
        """
        given = [{"role": m.role, "content": m.content} for m in messages]
        try:
            rendered = self.tokenizer.apply_chat_template(
                given, chat_template=self.source, tokenize=False, add_generation_prompt=prompts
            )
        except Exception as error:  # whatever a template raises
            roles = ", ".join(m.role for m in messages[:6])
            more = "…" if len(messages) > 6 else ""
            raise UserError(
                f"the model's chat template refuses a chat of {roles}{more}: {error}"
            ) from error
        return str(rendered)

    def _ending(self) -> str:
        """The special token that ends a reply; empty if there is none."""
        mark = _mark(1)
        text = self.text([Message("user", _mark(0)), Message("assistant", mark)])
        _, found, tail = text.partition(mark)
        at = {tail.index(t): t for t in self.tokenizer.added_tokens_encoder if t in tail}
        return at[min(at)] if found and at else ""

    def _skeleton(self, roles: tuple[str, ...]) -> _Skeleton | None:
        """What the template writes around messages of these roles; None if it changes messages."""
        if roles not in self._skeletons:
            marked = [Message(role, _mark(i)) for i, role in enumerate(roles)]
            self._skeletons[roles] = self._build(marked)
        return self._skeletons[roles]

    def _build(self, marked: list[Message]) -> _Skeleton | None:
        whole = self.text(marked)
        gaps = re.split("|".join(m.content for m in marked), whole)
        if re.findall(r"\x02\d+\x03", whole) != [m.content for m in marked]:
            return None
        lead, tail, place = [], [], 0
        for i, message in enumerate(marked):
            begin = place + len(gaps[i])
            before = after = 0
            if message.role == "assistant":
                before = begin - self._prompt_end(marked[:i], whole, place, begin)
                if self.ending and self.ending in gaps[i + 1]:
                    after = gaps[i + 1].find(self.ending) + len(self.ending)
            lead.append(before)
            tail.append(after)
            place = begin + len(message.content)
        return _Skeleton(gaps, lead, tail)

    def _prompt_end(self, before: list[Message], whole: str, low: int, high: int) -> int:
        """Where the prompt for a reply ends, between ``low`` and ``high``, the reply's begin."""
        try:
            prompt, shown = self.text(before, True), self.text(before)
        except UserError:
            return high
        if whole.startswith(prompt) and len(prompt) <= high:
            return max(len(prompt), low)
        header = prompt[len(shown) :] if prompt.startswith(shown) else ""
        # the template may render earlier turns differently
        at = whole.rfind(header, low, high) if header else -1
        return at + len(header) if at >= 0 else high

    # Replies

    def spans(self, messages: Sequence[Message]) -> tuple[str, list[tuple[int, int]]]:
        """Renders a chat, and finds the replies to learn in the text, with what ends them.

        Raises:
            UserError: The template changes messages so that replies cannot be found.
        """
        text = self.text(messages)
        skeleton = self._skeleton(tuple(m.role for m in messages))
        if skeleton is not None:
            place, replies, parts = 0, [], []
            for i, message in enumerate(messages):
                parts += [skeleton.gaps[i], message.content]
                begin = place + len(skeleton.gaps[i])
                place = begin + len(message.content)
                if message.role == "assistant" and message.in_loss:
                    replies.append((begin - skeleton.lead[i], place + skeleton.tail[i]))
            if "".join([*parts, skeleton.gaps[-1]]) == text:
                return text, replies
        return text, self._marked(messages, text) or self._searched(messages, text)

    def _marked(self, messages: Sequence[Message], text: str) -> list[tuple[int, int]]:
        """Replies as the template marks them by ``{% generation %}``; empty if it does not."""
        from transformers.utils.chat_template_utils import render_jinja_template

        if not re.search(r"\{%-?\s*generation\s*-?%\}", self.source):
            return []
        conversation = [{"role": m.role, "content": m.content} for m in messages]
        rendered, marks = render_jinja_template(
            conversations=[conversation],
            chat_template=self.source,
            return_assistant_tokens_mask=True,
            **self.tokenizer.special_tokens_map,
        )
        in_loss = [m.in_loss for m in messages if m.role == "assistant"]
        if rendered[0] != text or len(marks[0]) != len(in_loss):
            return []
        replies = []
        for (begin, end), learns in zip(marks[0], in_loss, strict=True):
            if self.ending and text.startswith(self.ending, end):
                end += len(self.ending)
            if learns:
                replies.append((begin, end))
        return replies

    def _searched(self, messages: Sequence[Message], text: str) -> list[tuple[int, int]]:
        """Replies from the end of the prompt before them to the token that ends a turn."""
        replies = []
        for i, message in enumerate(messages):
            if message.role == "assistant" and message.in_loss:
                prompt = self.text(messages[:i], True)
                end = text.find(self.ending, len(prompt)) if self.ending else -1
                if not text.startswith(prompt) or end < 0:
                    raise UserError(
                        f"the model's chat template rewrites message {i + 1} so that the reply"
                        " cannot be found in it; set data.template: plain, or a template with"
                        " {% generation %}"
                    )
                replies.append((len(prompt), end + len(self.ending)))
        return replies

    # Tokens

    def encode(self, messages: Sequence[Message]) -> Sample:
        """Encodes a chat as ``tokenizer.apply_chat_template`` does; learns replies and their ends.

        The first token is never learned, because nothing precedes it. If the template ends no
        reply with a special token, the end-of-text token follows the last one.
        """
        text, spans = self.spans(messages)
        ids, places = self.tokens(text)
        starts, ends = np.asarray(places).reshape(-1, 2).T
        learned = np.zeros(len(ids), dtype=bool)
        for a, b in spans:
            learned |= (a <= starts) & (starts < b) & (ends <= b)
        learned[:1] = False
        if messages[-1].role == "assistant" and self.closing:
            return Sample(ids + self.closing, [*learned.tolist(), messages[-1].in_loss])
        return Sample(ids, learned.tolist())

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


def _mark(number: int) -> str:
    """A text that no template contains or trims."""
    return f"\x02{number}\x03"
