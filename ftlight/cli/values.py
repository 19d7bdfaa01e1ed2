"""Values of a wrong type in one line: those told by a type's text alone, and those that the parser refuses."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from ftlight.cli import classes
from ftlight.utils.errors import did_you_mean

TYPES = {"float": "a number", "int": "a whole number", "bool": "true or false", "str": "text"}
OTHERS = {
    "true",
    "false",
    "yes",
    "no",
    "on",
    "off",
    "y",
    "n",
    "null",
    "none",
    "nan",
    "inf",
    "infinity",
}  # words that may be read as values


def fault(kind: str, value: Any) -> str:
    """What is wrong with a value of a type made of numbers, truth and choices; nothing where that is not certain.

    >>> fault("float | None", "fast"), fault("Literal['warn', 'stop']", "stopp"), fault("int | str", "fast")
    ('expected a number, got fast', 'expected one of warn, stop, got stopp; did you mean "stop"?', '')
    """
    try:
        parts = _parts(ast.parse(kind, mode="eval").body)
    except (SyntaxError, ValueError):  # also a choice that is no plain value, such as of an enum
        return ""
    plain = [p for p in parts if p in ("float", "int", "bool", "None")]
    choices = [p for p in parts if isinstance(p, list)]
    word = (
        isinstance(value, str)
        and bool(re.fullmatch(r"[A-Za-z][A-Za-z_-]*", value))
        and value.lower() not in OTHERS
    )
    broken = (
        plain
        and not choices
        and not {"float", "bool"} & set(plain)
        and bool(re.fullmatch(r"-?\d+\.\d*[1-9]", str(value)))
    )
    if (
        not parts
        or len(plain) + len(choices) < len(parts)
        or not (word or broken)
        or any(value in c for c in choices)
    ):
        return ""
    return _words([str(p) for p in plain if p != "None"], choices, str(value))


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


def _words(types: list[str], choices: list[list[Any]], value: str, given: bool = True) -> str:
    wanted = [TYPES.get(t, t) for t in types] + [
        f"one of {', '.join(map(str, c))}" for c in choices
    ]
    hint = did_you_mean(value, [str(c) for each in choices for c in each])
    return f"expected {' or '.join(dict.fromkeys(wanted))}{f', got {value}' if given else ''}{hint}"


def explain(message: str, places: Mapping[str, str]) -> str:
    """One line for a parser's error: where, what was given, what is expected."""
    keys = [
        k.removeprefix("fit.").replace(".init_args", "")
        for k in re.findall(r'Parser key "([^"]+)"', message)
    ]
    if not keys:
        return " ".join(message.split())
    key = ".".join(dict.fromkeys(keys))
    place = f"{places[key]}: " if key in places else ""
    if inside := _of_class(message):
        return f"{place}{key}: {inside}"
    given = re.search(r"Got value: (.*)$", message, re.M)
    given = given or re.search(
        r"Given value: (?:NestedArg\(key='\w+', val=(.*)\)|(.*))$", message, re.M
    )
    value = next((str(g) for g in given.groups() if g is not None), "").strip("'") if given else ""
    wanted = [t for t in re.findall(r"Expected an? <class '(\w+)'>", message) if t != "NoneType"]
    choices = [
        [c.strip("' ") for c in found.split(",")]
        for found in re.findall(r"Literal\[([^\]]+)\]", message)
    ]
    if not wanted and not choices:
        return f"{place}{key}: expected {message.splitlines()[-1].strip(' -')}{f', got {value}' if given else ''}"
    return f"{place}{key}: {_words(wanted, choices, value, given is not None)}"


def _of_class(message: str) -> str:
    """What is wrong with the options of a class given as a value, such as a logger; nothing where the fault is another."""
    found = re.findall(r"Problem with given class_path '([^']+)':\n\s+(.*)", message)
    if not found or found[-1][1].startswith(("Parser key", "Does not validate", "Expected")):
        return ""
    path, said = found[-1]
    option = re.search(r"Option '(\w+)' is not accepted", said)
    if option is None:
        return f"{path}: {said}"
    about = classes.describe(path)
    return f"{about.name} has no option {option[1]}{did_you_mean(option[1], [o.name for o in about.options])}"
