"""Checks of ``predict`` that need nothing imported: files, columns, shares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftlight.cli import early
from ftlight.cli.command import Words
from ftlight.run import outputs, workbook
from ftlight.run.predictions import SUFFIXES
from ftlight.utils.errors import UserError

OTHERS = (".xls", ".xlsm", ".xlsb", ".ods", ".parquet", ".arrow", ".gz", ".zip")


def check(words: Words, data: Mapping[str, Any]) -> None:
    """Checks the command line of a prediction.

    Args:
        words: the command line.
        data: the config's section of the data, in ``class_path`` form.

    Raises:
        UserError: something is wrong with it.
    """
    file = source(words)
    for option in ("at_least", "coverage"):
        share(words, option)
    out(words)
    always = early.ALWAYS.get(data["class_path"].rpartition(".")[2], ())
    if file and data["class_path"].startswith("ftlight."):
        inputs = [name for name in always if name != "label"]
        early.columns(early.asked("data", words.options, data), file, inputs)


def source(words: Words) -> str:
    """The file to predict; empty for standard input or a text.

    Raises:
        UserError: neither is given, or both are.
    """
    if words.alone and "text" in words.own:
        raise UserError(f'{words.alone[0]} and --text "…": give one of them')
    if not words.alone and "text" not in words.own:
        raise UserError('give a file to predict, or - for standard input, or --text "…"')
    return words.alone[0] if words.alone and words.alone[0] != "-" else ""


def share(words: Words, option: str) -> float | None:
    """The value of an option that is a share of rows; None if it is not given.

    Raises:
        UserError: it is none.
    """
    value = words.own.get(option)
    try:
        number = None if value is None else float(value)
    except ValueError:
        number = 0.0
    if number is not None and not 0 < number < 1:
        hint = "expected a share between 0 and 1, such as 0.95"
        raise UserError(f"--{option} {value}: {hint}")
    return number


def out(words: Words) -> Path | None:
    """The file to write, if one is named.

    Raises:
        UserError: it would be a folder, or predictions cannot be written in its format.
    """
    name = words.own.get("out", "")
    if not name:
        return None
    path = outputs.named(name)
    if path.suffix.lower() in OTHERS:
        known = ", ".join(SUFFIXES[:-1])
        raise UserError(
            f"--out {name}: predictions are written as {known} or {SUFFIXES[-1]}; name one"
        )
    if path.suffix.lower() == ".xlsx":
        workbook.need(f"--out {name}")
    return path
