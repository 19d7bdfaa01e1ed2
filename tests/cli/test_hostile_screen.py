"""Texts, labels, columns and names of files that would steer a terminal never reach it raw."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import yaml
from conftest import write_csv
from rich.table import Table

from ftlight.__main__ import main
from ftlight.run import console
from ftlight.utils.printable import UNSEEN, printable

HOSTILE = [
    *("\x1b[2J\x1b[H", "\x1b]0;owned\x07", "\x1b]8;;http://evil\x1b\\x\x1b]8;;\x1b\\", "\x1b[8m"),
    *("\x1b[31mred", "\x1bP+q\x1b\\", "\x1b[?1049h", "\x1b[6n", "\x1b]52;c;ZXZpbA==\x07", "\x1bc"),
    *("\x9b31m", "\x9d0;owned\x9c", "\x90x", "\x85next", "\x07", "\x08\x08\x08ok", "\x0b", "\x0c"),
    *("\x7f", "\u202egnp.exe", "\u2066x\u2069", "\u200fx", "\u061cx", "\u200bhidden", "\ufeff"),
    *("\u2028line", "\u2029par", "\xadsoft", "\U000e0041tag", "\ufff9note\ufffb", "\x00nul"),
]


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


def test_no_verb_lets_them_through(bert: str, tmp_path: Path, capfd: Any) -> None:
    names = itertools.cycle(text.replace("\x00", "") for text in HOSTILE)
    rows = [
        (f"{next(names)} {word} order {i}", f"{word}{HOSTILE[0]}\u202e")
        for i, word in enumerate(["good", "bad", "late"] * 30)
    ]
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
