from __future__ import annotations

import pytest
from conftest import each

from ftlight.talk import terminal
from ftlight.talk.commands import HELP, Line, read
from ftlight.tasks.causal_lm.messages import Message
from ftlight.utils.errors import UserError


def test_what_a_line_asks() -> None:
    def check(line: str, expected: Line) -> None:
        assert read(line) == expected

    each(
        [
            ("hello there\n", Line("", "hello there")),
            (" \n", Line("")),
            ("/reset\n", Line("reset")),
            ("/save  my chats.jsonl \n", Line("save", "my chats.jsonl")),
            ("/help", Line("help")),
            ("/quit", Line("quit")),
            ("//etc", Line("", "/etc")),
        ],
        check,
    )
    assert read("/rset").command == read("/save").command == read("/save a.txt").command == "error"
    assert 'did you mean "/reset"?' in read("/rset").text
    assert all(word in HELP for word in ("/reset", "/save", "/help", "/quit", "Ctrl-C"))


def test_a_file_that_cannot_be_is_a_line_and_the_chat_goes_on() -> None:
    for name in ("~no.such.user/a.jsonl", "a\0.jsonl", "no/a.jsonl", "a" * 300 + ".jsonl"):
        with pytest.raises(UserError, match=r"^/save"):
            terminal.save(name, [Message("user", "a"), Message("assistant", "b")])
