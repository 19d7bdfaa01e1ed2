"""Checks of ``explain`` that need nothing imported: file or text, numbers, method, output."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from ftlight.cli.command import Words
from ftlight.explain.explanation import Method
from ftlight.run import outputs
from ftlight.utils.errors import UserError, did_you_mean

METHODS: tuple[Method, ...] = get_args(Method)
SUFFIXES = (".html", ".json")


def check(words: Words) -> None:
    """Checks the command line of an explanation.

    Raises:
        UserError: something is wrong with it.
    """
    if words.alone and "text" in words.own:
        raise UserError(f'{words.alone[0]} and --text "…": give one of them')
    method(words)
    out(words)


def method(words: Words) -> Method:
    """How words are weighed.

    Raises:
        UserError: there is no such method.
    """
    given = words.own.get("method", "occlusion")
    for known in METHODS:
        if given == known:
            return known
    hint = did_you_mean(given, METHODS)
    raise UserError(f"--method {given}: expected {' or '.join(METHODS)}{hint}")


def out(words: Words) -> Path | None:
    """The file to write, if one is named.

    Raises:
        UserError: it cannot be written, or explanations are not written in its format.
    """
    name = words.own.get("out", "")
    if not name:
        return None
    path = outputs.named(name)
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out {name}: explanations are written as .html or .json; name one")
    outputs.check(path)
    return path
