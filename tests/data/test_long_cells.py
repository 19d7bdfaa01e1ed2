"""Searches in texts of a million characters: none may take the square of their length."""

from __future__ import annotations

from pathlib import Path

from ftlight.data import encoding_guess, personal
from ftlight.tasks.seq2seq.truecase import truecased
from ftlight.utils.errors import did_you_mean, unknown

LONG = 1_000_000


def test_an_encoding_is_guessed_of_a_file_of_one_long_word() -> None:
    Path("a.csv").write_bytes(b"text,label\n" + b"a" * LONG + "größer,ja\n".encode("cp1252"))
    assert encoding_guess.guess(Path("a.csv")) == "cp1252"


def test_personal_data_are_found_beside_a_long_word() -> None:
    assert personal.kinds("x" * LONG + " @ ann@example.org") == {"mail addresses"}
    assert personal.kinds("x" * LONG + " @") == set()


def test_names_are_found_after_many_line_breaks() -> None:
    source = "the" + "\n" * LONG + "Blue. Red is Ann " * 2
    assert truecased("red is ann", source) == "Red is Ann"


def test_the_nearest_of_many_or_long_names_is_found_and_shown_short() -> None:
    names = [f"column_{i}" for i in range(100_000)]
    assert did_you_mean("colum_99999", names) == '; did you mean "column_99999"?'
    long = ["a" * LONG, "a" * (LONG - 1) + "b", "label"]
    said = unknown("a.csv: no column", "b" + "a" * LONG, long, "columns")
    assert len(said) < 1000
    assert said.endswith("label)")
    assert did_you_mean("lable", long) == '; did you mean "label"?'
