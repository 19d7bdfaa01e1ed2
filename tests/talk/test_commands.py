from __future__ import annotations

from conftest import each

from ftlight.talk.commands import HELP, Line, read


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
