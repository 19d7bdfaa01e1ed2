"""Values of a wrong type in one line: by the text of the type, and from the parser's errors."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ftlight.cli import classes
from ftlight.utils.errors import did_you_mean

NAMES = {"float": "a number", "int": "a whole number", "bool": "true or false", "str": "text"}
# Words that the parser may read as values of some type.
SPECIAL = {
    *("true", "false", "yes", "no", "on", "off", "y", "n"),
    *("null", "none", "nan", "inf", "infinity"),
}


def fault(kind: str, value: Any) -> str:
    """What is wrong with a value of a type made of numbers, truth values and choices.

    Returns:
        The words for an error; empty if it is right or only the parser can tell.

    >>> fault("float | None", "fast"), fault("int | str", "fast")
    ('expected a number, got fast', '')
    >>> fault("Literal['warn', 'stop']", "stopp")
    'expected one of warn, stop, got stopp; did you mean "stop"?'
    """
    try:
        parts = _parts(ast.parse(kind, mode="eval").body)
    except (SyntaxError, ValueError):  # also a choice that is no plain value, such as of an enum
        return ""
    plain = [p for p in parts if p in ("float", "int", "bool", "None")]
    choices = [p for p in parts if isinstance(p, list)]
    if not parts or len(plain) + len(choices) < len(parts) or any(value in c for c in choices):
        return ""
    is_word = isinstance(value, str) and re.fullmatch(r"[A-Za-z][A-Za-z_-]*", value)
    is_fraction = re.fullmatch(r"-?\d+\.\d*[1-9]", str(value))
    takes_fraction = choices or "float" in plain or "bool" in plain
    if is_word and value.lower() in SPECIAL:
        return ""
    if not is_word and (not is_fraction or takes_fraction):
        return ""
    return _expected([str(p) for p in plain if p != "None"], choices, f", got {value}", str(value))


def _parts(node: ast.expr) -> list[Any]:
    """The types of a union: names as they are, choices as lists of words."""
    if isinstance(node, ast.BinOp):
        return [*_parts(node.left), *_parts(node.right)]
    if isinstance(node, ast.Subscript):
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        match ast.unparse(node.value).rpartition(".")[2]:
            case "Literal":
                return [[ast.literal_eval(item) for item in inner]]
            case "Union":
                return [part for item in inner for part in _parts(item)]
            case "Optional":
                return [*_parts(inner[0]), "None"]
    return [ast.unparse(node)]


def _expected(types: Sequence[str], choices: Sequence[list[Any]], got: str, value: str) -> str:
    """The words for a value of another type than these; with the nearest choice."""
    wanted = [NAMES.get(t, t) for t in types]
    words: list[str] = []
    for choice in choices:
        words += map(str, choice)
        wanted.append(f"one of {', '.join(map(str, choice))}")
    return f"expected {' or '.join(dict.fromkeys(wanted))}{got}{did_you_mean(value, words)}"


def explain(message: str, places: Mapping[str, str]) -> str:
    """One line for an error of the parser: where, what is expected, what was given.

    Args:
        message: What jsonargparse says, over many lines.
        places: Dotted key to ``file:line``.
    """
    keys = re.findall(r'Parser key "([^"]+)"', message)
    if not keys:
        return " ".join(message.split())
    key = ".".join(dict.fromkeys(k.replace(".init_args", "") for k in keys))
    where = f"{places[key]}: {key}" if key in places else key
    if inside := _of_class(message):
        return f"{where}: {inside}"
    value = _given(message)
    got = "" if value is None else f", got {value}"
    types = [t for t in re.findall(r"Expected an? <class '(\w+)'>", message) if t != "NoneType"]
    literals = re.findall(r"Literal\[([^\]]+)\]", message)
    choices = [[word.strip("' ") for word in literal.split(",")] for literal in literals]
    if types or choices:
        return f"{where}: {_expected(types, choices, got, value or '')}"
    return f"{where}: expected {message.splitlines()[-1].strip(' -')}{got}"


def _given(message: str) -> str | None:
    """The value that the parser refused; None if its error does not show it."""
    for pattern in (
        r"Got value: (.*)$",
        r"Given value: NestedArg\(key='\w+', val=(.*)\)",
        r"Given value: (.*)$",
    ):
        if match := re.search(pattern, message, re.MULTILINE):
            return match[1].strip("'")
    return None


def _of_class(message: str) -> str:
    """What is wrong with the options of a class given as a value, such as a logger; else empty."""
    problems = re.findall(r"Problem with given class_path '([^']+)':\n\s+(.*)", message)
    if not problems or problems[-1][1].startswith(("Parser key", "Does not validate", "Expected")):
        return ""
    path, problem = problems[-1]
    option = re.search(r"Option '(\w+)' is not accepted", problem)
    if option is None:
        return f"{path}: {problem}"
    described = classes.describe(path)
    nearest = did_you_mean(option[1], [o.name for o in described.options])
    return f"{described.name} has no option {option[1]}{nearest}"
