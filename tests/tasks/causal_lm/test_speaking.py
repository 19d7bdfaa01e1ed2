"""A reply as text: whole characters, what ends it, and calls of tools in it."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import each
from tasks.causal_lm.test_tools import ALL, CALL, TOOLS, template
from tiny.causal_lm import byte_tokenizer, piece_tokenizer

from ftlight.tasks.causal_lm import chat_template, generating, said_calls, speaking
from ftlight.tasks.causal_lm import messages as chat
from ftlight.tasks.causal_lm.messages import Message
from ftlight.tasks.causal_lm.speaking import Decoder, How, Shown
from ftlight.utils.errors import UserError

TEXTS = ["größer 🙂 and 👩‍👩‍👧 end", " two  spaces ", "日本語", "a\n\tb", "é́ combining"]


def test_pieces_are_whole_characters_and_together_the_text() -> None:
    def check(make: Any, text: str) -> None:
        tokenizer = make(["<mark>"])
        mark = tokenizer.convert_tokens_to_ids("<mark>")
        ids = tokenizer.encode(text, add_special_tokens=False)
        ids = [*ids[:3], mark, *ids[3:], 2]
        decoder = Decoder(tokenizer)
        pieces = [decoder.add(token) for token in ids]
        assert not any("\ufffd" in piece for piece in pieces)
        assert "".join(pieces) == tokenizer.decode(ids, skip_special_tokens=True)
        assert decoder.rest() == ""

    each([(make, text) for make in (byte_tokenizer, piece_tokenizer) for text in TEXTS], check)


def test_bytes_that_are_no_text_come_out_as_the_decoder_writes_them() -> None:
    rng = random.Random(0)
    tokenizer = byte_tokenizer([])
    for _ in range(200):
        ids = [rng.randrange(3, 259) for _ in range(12)]
        decoder = Decoder(tokenizer)
        text = "".join(decoder.add(token) for token in ids) + decoder.rest()
        assert text == tokenizer.decode(ids)


def shown(pieces: list[str], *stops: str) -> tuple[str, bool]:
    made = Shown(stops)
    parts = []
    for piece in pieces:
        parts.append(made.add(piece))
        if made.stopped:
            break
    return "".join(parts) + ("" if made.stopped else made.rest()), made.stopped


def test_no_more_of_a_stop_is_compared_than_a_text_has() -> None:
    class Long(str):
        def __getitem__(self, part: Any) -> str:
            assert part.stop <= len("the EN")
            return super().__getitem__(part)

    assert speaking.overlap("the EN", [Long("END" * 1000), Long("x" * 1000)]) == 2


def test_a_reply_ends_before_a_stop_wherever_pieces_are_cut() -> None:
    rng = random.Random(1)

    def check(text: str, stops: tuple[str, ...], expected: str, stopped: bool) -> None:
        for _ in range(20):
            cuts = sorted(rng.sample(range(len(text) + 1), min(4, len(text))))
            pieces = [text[a:b] for a, b in pairwise([0, *cuts, len(text)])]
            assert shown(pieces, *stops) == (expected, stopped), pieces

    each(
        [
            ("  hello there \n", (), "hello there", False),
            ("hello END there", ("END",), "hello", True),
            ("hello EN", ("END",), "hello EN", False),
            ("one\ntwo", ("\n",), "one", True),
            ("\n\nno", ("\n",), "", True),
            ("aab", ("ab",), "a", True),
            ("x a. b", (". c", "a."), "x", True),
        ],
        check,
    )


def test_white_space_is_held_until_something_follows() -> None:
    made = Shown([])
    assert [made.add(piece) for piece in (" ", "a", " ", "\n", "b ")] == ["", "a", "", "", " \nb"]
    assert made.rest() == ""


def said(monkeypatch: pytest.MonkeyPatch, text: str, how: How, end: bool = True) -> Any:
    """The pieces of a model that writes a text."""
    tokenizer = byte_tokenizer([])
    ids = [*tokenizer.encode(text, add_special_tokens=False), *([2] if end else [])]
    monkeypatch.setattr(generating, "tokens", lambda *given: iter(ids[: given[3]]))
    data: Any = SimpleNamespace(tokenizer=tokenizer, end_tokens=[2])
    return list(speaking.speak(None, data, [1], how))


def test_why_a_reply_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(text: str, how: How, expected: tuple[str, int, str], end: bool = True) -> None:
        pieces = said(monkeypatch, text, how, end)
        assert ("".join(p.text for p in pieces), pieces[-1].tokens, pieces[-1].end) == expected
        assert {piece.end for piece in pieces[:-1]} <= {""}

    greedy = generating.GREEDY
    each(
        [
            ("hello", How(greedy, 9), ("hello", 6, "stop")),
            ("hello", How(greedy, 3), ("hel", 3, "length")),
            ("hello", How(greedy, 9, ("l",)), ("he", 3, "stop")),
            ("hello", How(greedy, 9, ("lox",)), ("hello", 6, "stop")),
            ("", How(greedy, 9), ("", 1, "stop")),
        ],
        check,
    )


def test_calls_are_found_as_each_template_writes_them() -> None:
    def check(name: str) -> None:
        made = template(name)
        ids, _ = made.tokens(CALL[name])
        reply = made.tokenizer.decode(ids, skip_special_tokens=True).strip()
        lead = said_calls.lead_of(made)
        found = said_calls.find(reply, ["weather", "time"], lead)
        assert found == said_calls.Said("", [("weather", '{"city": "Rome"}')])
        with_text = said_calls.find(f"I look. {reply}", ["weather"], lead)
        assert with_text.content == "I look."
        assert said_calls.find(reply, ["time"], lead) == said_calls.Said(reply, [])

    each(ALL, check)


def test_replies_that_are_no_calls_are_texts() -> None:
    for text in ("[" * 5000, "{" * 5000, '{"name": "get"', "[1, 2]", "{}", '{"name": ["get"]}'):
        assert said_calls.find(text, ["get"]) == said_calls.Said(text, [])
    two = '[{"name": "a", "arguments": {}}, {"name": "b", "arguments": "{\\"x\\": 1}"}]'
    assert said_calls.find(two, ["a", "b"]).calls == [("a", "{}"), ("b", '{"x": 1}')]


def test_a_template_that_knows_no_tools_or_role_is_told() -> None:
    source = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + eos_token }}{% endfor %}"
    tokenizer = byte_tokenizer([])
    data: Any = SimpleNamespace(template=chat_template.Template(tokenizer, source))
    asked = [Message("user", "hi")]
    assert tokenizer.decode(speaking.prompt_of(data, asked)) == "user: hi</s>"
    with pytest.raises(UserError, match="leaves out the tools"):
        speaking.prompt_of(data, [Message(chat.TOOLS, json.dumps(TOOLS)), *asked])
    data.template = template("mistral")
    with pytest.raises(UserError, match="roles must alternate"):
        speaking.prompt_of(data, [*asked, *asked])
