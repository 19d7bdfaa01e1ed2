"""From messages to tokens: a model's chat template, and which tokens are a reply."""

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
    "{% else %}{{ message['role'].capitalize() + ': ' + message['content'] + '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""The template of a model that has none: words that every tokenizer knows, and the end-of-text token after each reply."""


class Sample(NamedTuple):
    """A piece of a chat or text that fits the context.

    Attributes:
        ids: tokens.
        learned: whether each is predicted and counts for the loss.
        lost: tokens that were cut off.
    """

    ids: list[int]
    learned: list[bool]
    lost: int = 0


class _Skeleton(NamedTuple):
    """What a template writes around the messages of a chat, ``gaps`` before, between and after them.

    ``lead`` and ``tail`` are the characters of the gaps before and after each message that belong to a reply: what the model
    itself writes after the prompt, and the token that ends its turn.
    """

    gaps: list[str]
    lead: list[int]
    tail: list[int]


def own(tokenizer: Any) -> str | None:
    """The tokenizer's own chat template, of several the default, or None."""
    template = tokenizer.chat_template
    return template.get("default") if isinstance(template, dict) else template


def plain(tokenizer: Any) -> str:
    """The plain template for a tokenizer, beginning as it begins every text.

    Raises:
        UserError: it has no token that could end a reply.
    """
    if tokenizer.eos_token is None:
        raise UserError(
            f"the tokenizer of {tokenizer.name_or_path} has no end-of-text token to end a reply; set eos_token in its files"
        )
    bos = tokenizer.bos_token_id
    starts = bos is not None and tokenizer("a")["input_ids"][:1] == [bos]
    return PLAIN.replace("{{ START }}", "{{ bos_token }}" if starts else "")


class Template:
    """A tokenizer with a chat template.

    Args:
        tokenizer: a fast tokenizer; left as it is.
        source: the template, in Jinja.

    Raises:
        UserError: the tokenizer cannot tell where its tokens are in the text.
    """

    def __init__(self, tokenizer: Any, source: str) -> None:
        tokens.check_places(tokenizer)
        self.tokenizer, self.source = tokenizer, source
        self._skeletons: dict[tuple[str, ...], _Skeleton | None] = {}
        self.ending = self._ending()
        eos = tokenizer.eos_token_id
        self.closing = (
            [] if self.ending or eos is None else [eos]
        )  # what ends a sample where the template ends no reply
        ends = [tokenizer.convert_tokens_to_ids(self.ending)] if self.ending else []
        self.ends = sorted({*ends, *([eos] if eos is not None else [])})

    # Text

    def text(self, messages: Sequence[Message], prompts: bool = False) -> str:
        """A chat as text, with the beginning of a reply where the model is prompted for one.

        Raises:
            UserError: the template refuses the chat.
        """
        given = [{"role": m.role, "content": m.content} for m in messages]
        try:
            found = self.tokenizer.apply_chat_template(
                given, chat_template=self.source, tokenize=False, add_generation_prompt=prompts
            )
        except Exception as error:  # whatever a template raises
            roles = ", ".join(m.role for m in messages[:6])
            raise UserError(
                f"the model's chat template refuses a chat of {roles}{'…' * (len(messages) > 6)}: {error}"
            ) from error
        return str(found)

    def _ending(self) -> str:
        """The special token that ends a reply, or nothing."""
        mark = _mark(1)
        _, found, tail = self.text(
            [Message("user", _mark(0)), Message("assistant", mark)]
        ).partition(mark)
        at = {tail.index(t): t for t in self.tokenizer.added_tokens_encoder if t in tail}
        return at[min(at)] if found and at else ""

    def _skeleton(self, roles: tuple[str, ...]) -> _Skeleton | None:
        """What the template writes around messages of these roles, or None where it does not write them as they are."""
        if roles not in self._skeletons:
            self._skeletons[roles] = self._build(
                [Message(role, _mark(i)) for i, role in enumerate(roles)]
            )
        return self._skeletons[roles]

    def _build(self, marked: list[Message]) -> _Skeleton | None:
        whole = self.text(marked)
        gaps = re.split("|".join(m.content for m in marked), whole)
        if re.findall(r"\x02\d+\x03", whole) != [m.content for m in marked]:
            return None
        lead, tail, place = [], [], 0
        for i, message in enumerate(marked):
            before = place + len(gaps[i])  # where the message begins
            replied = message.role == "assistant"
            lead.append(before - self._prompted(marked[:i], whole, place, before) if replied else 0)
            tail.append(
                gaps[i + 1].find(self.ending) + len(self.ending)
                if replied and self.ending in gaps[i + 1] and self.ending
                else 0
            )
            place = before + len(message.content)
        return _Skeleton(gaps, lead, tail)

    def _prompted(self, before: list[Message], whole: str, low: int, high: int) -> int:
        """Where the prompt ends that comes before a reply: between ``low`` and ``high``, where that begins."""
        try:
            prompt, shown = self.text(before, True), self.text(before)
        except UserError:
            return high
        if whole.startswith(prompt) and len(prompt) <= high:
            return max(len(prompt), low)
        header = prompt[len(shown) :] if prompt.startswith(shown) else ""
        at = (
            whole.rfind(header, low, high) if header else -1
        )  # a template that writes earlier turns in another way
        return at + len(header) if at >= 0 else high

    # Replies

    def spans(self, messages: Sequence[Message]) -> tuple[str, list[tuple[int, int]]]:
        """A chat as text, and where its learned replies are in it, with what ends them.

        Raises:
            UserError: the template writes messages so that replies cannot be found.
        """
        text, skeleton = self.text(messages), self._skeleton(tuple(m.role for m in messages))
        if skeleton is not None:
            place, found, parts = 0, [], []
            for i, m in enumerate(messages):
                parts += [skeleton.gaps[i], m.content]
                place += len(skeleton.gaps[i])
                if m.role == "assistant" and m.learned:
                    found.append(
                        (place - skeleton.lead[i], place + len(m.content) + skeleton.tail[i])
                    )
                place += len(m.content)
            if "".join([*parts, skeleton.gaps[-1]]) == text:
                return text, found
        return text, self._marked(messages, text) or self._searched(messages, text)

    def _marked(self, messages: Sequence[Message], text: str) -> list[tuple[int, int]]:
        """Replies as the template itself marks them by ``{% generation %}``; nothing where it does not."""
        from transformers.utils.chat_template_utils import render_jinja_template

        if not re.search(r"\{%-?\s*generation\s*-?%\}", self.source):
            return []
        given = [{"role": m.role, "content": m.content} for m in messages]
        about = {
            **self.tokenizer.special_tokens_map,
            "chat_template": self.source,
            "return_assistant_tokens_mask": True,
        }
        rendered, marks = render_jinja_template(conversations=[given], **about)
        replies = [m.learned for m in messages if m.role == "assistant"]
        if rendered[0] != text or len(marks[0]) != len(replies):
            return []
        ends = [
            (a, b + len(self.ending) if self.ending and text.startswith(self.ending, b) else b)
            for a, b in marks[0]
        ]
        return [span for span, learned in zip(ends, replies, strict=True) if learned]

    def _searched(self, messages: Sequence[Message], text: str) -> list[tuple[int, int]]:
        """Replies from where the prompt before them ends to the token that ends a turn."""
        found = []
        for i, message in enumerate(messages):
            if message.role == "assistant" and message.learned:
                prompt = self.text(messages[:i], True)
                end = text.find(self.ending, len(prompt)) if self.ending else -1
                if not text.startswith(prompt) or end < 0:
                    raise UserError(
                        f"the model's chat template rewrites message {i + 1} so that the reply cannot be found in it;"
                        " set data.template: plain, or a template with {% generation %}"
                    )
                found.append((len(prompt), end + len(self.ending)))
        return found

    # Tokens

    def encode(self, messages: Sequence[Message]) -> Sample:
        """A chat as tokens: those that ``tokenizer.apply_chat_template`` gives; of the replies all are learned, with their end.

        The first token is not, nothing is before it to predict it from. Where the template ends no reply by a special token
        the end-of-text token is put behind the last.
        """
        text, spans = self.spans(messages)
        ids, places = self.tokens(text)
        starts, ends = np.asarray(places).reshape(-1, 2).T
        learned = np.zeros(len(ids), dtype=bool)
        for a, b in spans:
            learned |= (a <= starts) & (starts < b) & (ends <= b)
        learned[:1] = False
        if messages[-1].role == "assistant" and self.closing:
            return Sample(ids + self.closing, [*learned.tolist(), messages[-1].learned])
        return Sample(ids, learned.tolist())

    def count(self, messages: Sequence[Message], prompts: bool = False) -> int:
        """Tokens of a chat, or of a prompt for a reply to it."""
        return len(self.tokens(self.text(messages, prompts))[0]) + (
            0 if prompts else len(self.closing)
        )

    def tokens(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Tokens of a text, and the characters that each is."""
        out = self.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        return list(out["input_ids"]), out["offset_mapping"]


def _mark(number: int) -> str:
    """A text that no template writes or trims."""
    return f"\x02{number}\x03"
