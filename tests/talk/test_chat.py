"""``chat`` in this process, and as one of its own in a pipe and in a terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from tiny import words_of

from ftlight.__main__ import main
from ftlight.tasks.causal_lm import generating, speaking

FEW = "--trainer.max_steps 3 --trainer.accelerator cpu --trainer.report false --test false"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny run of a decoder."""
    folder = tmp_path_factory.mktemp("bot")
    words = [*words_of("causal_lm", folder), *FEW.split(), "--data.max_length", "256"]
    assert main([*words, "--run", str(folder / "run")]) == 0
    return str(folder / "run")


class Talk:
    """Chats of this process: lines in, replies and notes out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        self._patch, self._capsys = monkeypatch, capsys

    def __call__(self, run: str, lines: str, *words: str, status: int = 0) -> tuple[str, str]:
        self._patch.setattr(sys, "stdin", io.StringIO(lines))
        self._capsys.readouterr()
        assert main(["chat", run, *words]) == status
        out, err = self._capsys.readouterr()
        return out, err


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Talk:
    return Talk(monkeypatch, capsys)


@pytest.mark.run
def test_replies_are_those_of_predict_and_turns_are_remembered(run: str, talk: Talk) -> None:
    out, err = talk(
        run, "where is my card\n\n/save a.jsonl\nand now\n/save a.jsonl\n/quit\nnever\n"
    )
    assert err.count("added to a.jsonl") == 2
    one, two = (json.loads(line)["messages"] for line in Path("a.jsonl").read_text().splitlines())
    assert [m["role"] for m in two] == ["user", "assistant"] * 2
    assert two[:2] == one
    assert out == f"{two[1]['content']}\n{two[3]['content']}\n"
    rows = [{"messages": one[:1]}, {"messages": two[:3]}]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["predict", run, "rows.jsonl", "--out", "out.jsonl"]) == 0
    predicted = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [p["prediction"] for p in predicted] == [one[1]["content"], two[3]["content"]]


@pytest.mark.run
def test_a_saved_chat_is_trained_on(run: str, talk: Talk, tmp_path: Path) -> None:
    Path("a.jsonl").write_text('{"messages": []}')  # without an end of line
    lines = "one\n/reset\ntwo\n/save a.jsonl\n"
    talk(run, lines, "--system", "Be kind.")
    rows = Path("a.jsonl").read_text().splitlines()
    assert [m["role"] for m in json.loads(rows[1])["messages"]] == ["system", "user", "assistant"]
    Path("a.jsonl").write_text("".join(f"{rows[1]}\n".replace("two", f"two {i}") for i in range(8)))
    words = [*words_of("causal_lm", tmp_path), *FEW.split(), "--data.train", "a.jsonl"]
    assert main([*words, "--run", "again"]) == 0


@pytest.mark.run
def test_what_was_read_is_not_read_again(
    run: str, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []
    rewind = generating.Kept.rewind

    def noted(self: generating.Kept, ids: list[int]) -> int:
        starts.append((rewind(self, ids), len(ids)))
        return starts[-1][0]

    monkeypatch.setattr(generating.Kept, "rewind", noted)
    talk(run, "where is my card\nand now\n")
    assert starts[0][0] == 0
    assert all(read == size - 1 for read, size in starts[1:4])
    assert starts[4][0] >= starts[0][1]  # of the second turn, the first is known


@pytest.mark.run
def test_the_model_before_training_replies_beside(run: str, talk: Talk) -> None:
    out, _ = talk(run, "where is my card\nand now\n", "--base")
    assert re.fullmatch(r"(tuned: .*\nbase:  .*\n){2}", out)
    drawn = [
        talk(run, "where\n", "--temperature", "1.5", "--max_new_tokens", "30", "--seed", seed)[0]
        for seed in ("1", "1", "2")
    ]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.run
def test_hostile_replies_and_faults_are_lines(
    run: str, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def speak(*given: Any) -> Iterator[speaking.Piece]:
        yield speaking.Piece("a\x1b[31m\u202eb", 1)
        yield speaking.Piece("", 1, "stop")

    long = "x" * 300
    out, err = talk(run, f"/rset\n/save a.jsonl\n/help\n{long}\nhi\n/save no/a.jsonl\n")
    assert "no command /rset" in err
    assert "nothing to save yet" in err
    assert "Ctrl-C while a reply" in err
    assert "no longer fit" in err
    assert "/save no/a.jsonl: cannot be written" in err
    monkeypatch.setattr(speaking, "speak", speak)
    out, _ = talk(run, "hi\n")
    assert out == "a␛[31m�b\n"


@pytest.mark.run
def test_what_is_wrong_with_the_command(run: str, fit: Run, talk: Talk) -> None:
    for words, line in (
        ([], "chat needs a run"),
        ([run, "more"], "more: unexpected"),
        ([run, "--temperature", "hot"], "--temperature hot: expected a number from 0 on"),
        ([run, "--top_p", "2"], "--top_p 2: expected a number from 0 to 1"),
        ([run, "--max_new_tokens", "0"], "expected a whole number from 1"),
        ([run, "--sytem", "a"], 'did you mean "--system"?'),
        ([str(fit())], "a run of TextClassification; runs of CausalLM can be talked to"),
    ):
        talk._capsys.readouterr()
        assert main(["chat", *words]) == 2
        said = talk._capsys.readouterr().err
        assert line in said
        assert said.count("\n") == 1


@pytest.mark.run
@pytest.mark.processes
def test_each_line_of_a_pipe_is_a_message(run: str) -> None:
    command = [sys.executable, "-m", "ftlight", "chat", run]
    lines = b"where is my card\n\xff\xfe odd\nlast"
    done = subprocess.run(command, input=lines, capture_output=True, timeout=120)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    assert len(done.stdout.splitlines()) >= 3


class Terminal:
    """A process in a terminal of its own, which is read until something stands there."""

    def __init__(self, *command: str) -> None:
        self.process, self._master = pty.fork()
        if not self.process:
            os.execv(command[0], command)
        self.text = ""

    def until(self, wanted: str) -> str:
        """All that came up to a text; it is an error if the process ends before."""
        while wanted not in self.text:
            self.text += os.read(self._master, 4096).decode(errors="replace")
        found, _, self.text = self.text.partition(wanted)
        return found

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def status(self, pressed: str = "") -> int:
        """The exit status, when it has ended; a key is pressed again if nothing comes of it.

        A signal between two looks of readline is first seen at the next key.
        """
        try:
            while True:
                if not select.select([self._master], [], [], 5 if pressed else None)[0]:
                    self.type(pressed)
                elif not os.read(self._master, 4096):
                    break
        except OSError:  # the terminal is closed
            pass
        _, status = os.waitpid(self.process, 0)
        os.close(self._master)
        return os.waitstatus_to_exitcode(status)


ENDLESS = """
import sys
from ftlight.tasks.causal_lm import speaking
from ftlight.__main__ import main

def speak(model, data, prompt, how, kept):
    if "again" in data.tokenizer.decode(prompt[-40:]):
        yield speaking.Piece("fine", 1, "stop")
        return
    count = 0
    while True:
        count += 1
        yield speaking.Piece("on ", count)

speaking.speak = speak
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.run
@pytest.mark.processes
def test_ctrl_c_ends_a_reply_and_at_the_prompt_the_program(run: str) -> None:
    Path("endless.py").write_text(ENDLESS)
    terminal = Terminal(sys.executable, "endless.py", "chat", run)
    title = terminal.until("> ")
    assert "/help lists what can be typed" in title
    terminal.type("begin\r")
    terminal.until("on on on")
    terminal.type("\x03")
    terminal.until("\n> ")
    terminal.type("again\r")
    assert "fine" in terminal.until("\n> ")
    terminal.type("\x03")
    assert terminal.status("\x03") == 130
    terminal = Terminal(sys.executable, "endless.py", "chat", run)
    terminal.until("> ")
    terminal.type("\x04")  # the end of the input
    assert terminal.status() == 0
