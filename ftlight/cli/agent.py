"""The command line of an agent of a W&B sweep, whose values are as Python writes them."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence

from ftlight.run import tracked

SECTIONS = ("model", "data", "trainer")


def words(argv: Sequence[str]) -> list[str]:
    """A command line as ftlight reads it; the same one unless an agent has started this process."""
    if tracked.of_agent() is None:
        return list(argv)
    return [word for given in argv for word in as_options(given)]


def as_options(word: str) -> list[str]:
    """A word of an agent with its value in JSON; one option each for parameters of a section.

    >>> as_options("--model.unfreeze=[{'train': 'head', 'lr': None}]"), as_options("--model.lr=0.1")
    (['--model.unfreeze=[{"train": "head", "lr": null}]'], ['--model.lr=0.1'])
    >>> as_options("--model={'lr': 0.1, 'unfreeze': 'head'}")
    ['--model.lr=0.1', '--model.unfreeze=head']
    """
    name, equals, value = word.partition("=")
    if not (equals and name.startswith("--")):
        return [word]
    try:
        found = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return [word]  # a plain text, as most are
    if isinstance(found, dict) and name.lstrip("-") in SECTIONS:
        return [f"{name}.{key}={_text(inner)}" for key, inner in found.items()]
    return [word] if isinstance(found, str | bytes) else [f"{name}={_text(found)}"]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
