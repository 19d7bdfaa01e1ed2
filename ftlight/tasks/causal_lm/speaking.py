"""A reply as text while it is generated: whole characters, up to what ends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from ftlight.tasks.causal_lm import audit, generating
from ftlight.tasks.causal_lm.data import ChatData
from ftlight.tasks.causal_lm.generating import Drawing, Kept
from ftlight.tasks.causal_lm.messages import Message
from ftlight.utils.errors import UserError

End = Literal["", "stop", "length"]
BROKEN = "\ufffd"  # what a decoder writes for a part of a character


class How(NamedTuple):
    """How a reply is generated.

    Attributes:
        drawing: how tokens are drawn.
        most: the most tokens.
        stops: texts that end it, and are left out.
    """

    drawing: Drawing
    most: int
    stops: tuple[str, ...] = ()


class Piece(NamedTuple):
    """What a token adds to a reply.

    Attributes:
        text: text, empty as long as a character is not whole.
        tokens: number of tokens so far.
        end: why the reply ends here; empty if it goes on.
    """

    text: str
    tokens: int
    end: End = ""


class Decoder:
    """Tokens to text, a token at a time; together it is the text of all of them.

    Args:
        tokenizer: The tokenizer; its special tokens have no text.
    """

    def __init__(self, tokenizer: Any) -> None:
        added = tokenizer.added_tokens_decoder.items()
        special = {number for number, token in added if token.special}
        self._tokenizer, self._silent = tokenizer, special | set(tokenizer.all_special_ids)
        self._ids: list[int] = []
        self._start = self._done = 0  # ids between them are said, and decide on spaces behind them

    def add(self, token: int) -> str:
        """The text that a token adds, empty as long as it does not end a character."""
        if token not in self._silent:
            self._ids.append(token)
        text = self.rest()
        if not text or text.endswith(BROKEN):
            return ""
        self._start, self._done = self._done, len(self._ids)
        return text

    def rest(self) -> str:
        """The text that is not said yet, whole or not."""
        if self._done == len(self._ids):
            return ""
        said = self._tokenizer.decode(self._ids[self._start : self._done])
        now = self._tokenizer.decode(self._ids[self._start :])
        return str(now[len(said) :])


class Shown:
    """Text as it may be shown: without white space around it, and up to a text that ends it.

    Args:
        stops: texts that end it.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stopped = False
        self._stops, self._held, self._space, self._begun = stops, "", "", False

    def add(self, text: str) -> str:
        """What may be shown now that a text has come; the rest is held."""
        self._held += text
        places = [self._held.find(stop) for stop in self._stops]
        found = [place for place in places if place >= 0]
        self.stopped = self.stopped or bool(found)
        end = min(found) if found else len(self._held) - overlap(self._held, self._stops)
        ready, self._held = self._held[:end], "" if found else self._held[end:]
        return self._trimmed(ready)

    def rest(self) -> str:
        """What is held at the end."""
        held, self._held = self._held, ""
        return self._trimmed(held)

    def _trimmed(self, text: str) -> str:
        text = self._space + text
        text = text if self._begun else text.lstrip()
        solid = text.rstrip()
        self._begun, self._space = self._begun or bool(solid), text[len(solid) :]
        return solid


def overlap(text: str, stops: Sequence[str]) -> int:
    """The most characters at the end of a text that one of others may begin with.

    >>> overlap("that is EN", ["END", "."]), overlap("no", ["END"])
    (2, 0)
    """
    most = len(text) + 1  # a stop may be far longer
    sizes = [n for stop in stops for n in range(1, min(len(stop), most)) if text.endswith(stop[:n])]
    return max(sizes, default=0)


def speak(
    model: Any, data: ChatData, prompt: Sequence[int], how: How, kept: Kept | None = None
) -> Iterator[Piece]:
    """Yields a reply piece by piece, one for each token and a last one with what was held.

    Args:
        model: A decoder with a head, in eval mode.
        data: Gives the tokenizer, and the tokens that end a reply.
        prompt: Tokens of the prompt.
        how: How it is generated.
        kept: What the model has read before; it is changed.
    """
    decoder, shown, ends = Decoder(data.tokenizer), Shown(how.stops), set(data.end_tokens)
    count, end = 0, "length"
    for token in generating.tokens(model, prompt, ends, how.most, how.drawing, kept):
        count += 1
        text = shown.add(decoder.add(token))
        if token in ends or shown.stopped:
            end = "stop"
        yield Piece(text, count)
        if shown.stopped:
            break
    last = "" if shown.stopped else shown.add(decoder.rest())
    if shown.stopped:
        yield Piece(last, count, "stop")
    else:
        yield Piece(last + shown.rest(), count, "stop" if end == "stop" else "length")


def prompt_of(data: ChatData, messages: Sequence[Message]) -> list[int]:
    """The tokens of a whole chat that a reply follows.

    Raises:
        UserError: the template cannot say it.
    """
    if fault := audit.fault(data.template, messages):
        raise UserError(fault)
    return data.template.tokens(data.template.prompt(messages))[0]
