"""Texts, labels, columns and names of files that would steer a terminal never reach it raw."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import struct
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import write_csv
from hostile import HOSTILE
from rich.table import Table

from ftlight.__main__ import main
from ftlight.run import console
from ftlight.utils.printable import UNSEEN, printable


def test_each_becomes_signs_of_the_same_length() -> None:
    assert len(HOSTILE) >= 30
    for text in HOSTILE:
        shown = printable(text)
        assert len(shown) == len(text)
        assert not UNSEEN.search(shown)
        assert printable(shown) == shown
    assert printable("a\tb\nc é 漢 😀 العربية") == "a\tb\nc é 漢 😀 العربية"


def test_the_console_writes_its_own_colours_alone(capsys: Any) -> None:
    screen = console.Screen(
        force_terminal=True, color_system="standard", width=200, highlight=False
    )
    for text in HOSTILE:
        made = Table(text)
        made.add_row(f"x{text}")
        with screen.capture() as found:
            screen.print(f"x{text}", style="bold")
            screen.print(made)
        styles = re.sub(r"\x1b\[[01]m", "", found.get())
        assert "\x1b[1m" in found.get()
        assert not UNSEEN.search(styles)


def hostile_rows() -> list[tuple[str, str]]:
    """Rows with each of them in some text, and some in the labels."""
    names = itertools.cycle(text.replace("\x00", "") for text in HOSTILE)
    return [
        (f"{next(names)} {word} order {i}", f"{word}{HOSTILE[0]}\u202e")
        for i, word in enumerate(["good", "bad", "late"] * 30)
    ]


def test_no_verb_lets_them_through(bert: str, tmp_path: Path, capfd: Any) -> None:
    rows = hostile_rows()
    file = Path(write_csv(tmp_path / "in\x1b[31m\u202e.csv", rows, ("text\x1b[8m", "label\x9b1m")))
    assert main(["init", str(file)]) == 0
    said = capfd.readouterr().out
    assert not UNSEEN.search(said)
    config = yaml.safe_load(said)
    assert config["data"]["text"] == "text\x1b[8m"
    Path("x.yaml").write_text(said)
    limits = ["--trainer.max_epochs", "1", "--model.backbone", bert, "--trainer.accelerator", "cpu"]
    text = ["--text", rows[0][0]]
    commands = [
        ["fit", "-c", "x.yaml", *limits, "--run", "run"],
        *(["check", "run"], ["validate", "run"], ["test", "run"], ["predict", "run", *text]),
        *(["predict", "run", str(file)], ["explain", "run", *text], ["report", "run"]),
        *(["baselines", "run"], ["export", "run", "--out", "out"], ["compare", "run", "run"]),
        *(["predict", "run", "no\x1b[2J.csv"], ["fit", "-c", "none\x1b]0;x\x07.yaml"]),
        *(["fit", "-c", "x.yaml", "--data.label", "no\x1b[31m"], ["fi\x1b[1mt"]),
    ]
    for words in commands:
        main(words)
        shown = capfd.readouterr()
        for stream in shown:
            found = UNSEEN.search(stream)
            assert not found, (words, stream[max(0, found.start() - 80) : found.end() + 40])
        assert shown.out or shown.err


# What our own console sends to a terminal: styles, and a line of progress that is drawn anew.
OURS = re.compile(r"\x1b\[(?:[0-9;]*m|[012]?K|\d*[ABCDG]|\?25[lh])|\r")


@contextlib.contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """A terminal in place of both streams; gives the bytes that have reached it at the end."""
    master, slave = os.openpty()
    tty.setraw(slave)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    got: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            while data := os.read(master, 65536):
                got.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    with open(slave, "w", encoding="utf-8", newline="") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", stream)
        patch.setenv("TERM", "xterm-256color")
        yield got
        stream.flush()
    reader.join()
    os.close(master)


def test_a_terminal_gets_our_own_sequences_alone(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = hostile_rows()
    file = write_csv(tmp_path / "in.csv", rows, ("text", "label"))
    model = ["--model", "TextClassification", "--model.backbone", bert, "--data.train", file]
    limits = ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
    for words in (
        ["fit", *model, *limits, "--data.test", file, "--run", "run"],
        ["check", "run"],
        ["predict", "run", "--text", rows[0][0]],
        ["explain", "run", "--text", rows[1][0]],
        ["fit", *model, "--data.label", "no\x1b[31m"],
    ):
        with terminal(monkeypatch) as got:
            main(words)
        screen = b"".join(got).decode()
        sent = OURS.findall(screen)
        assert not UNSEEN.search(OURS.sub("", screen)), words
        assert sent or "--run" not in words, "a terminal is drawn on"
        assert not {"\x1b[31m", "\x1b[8m"} & set(sent)
