"""Values of a wrong type in one line: by the text of the type, and from the parser's errors."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ftlight.cli import classes
from ftlight.cli.options import Option
from ftlight.utils.errors import did_you_mean, shortened
from ftlight.utils.ranges import Part, Range, refusal
from ftlight.utils.yaml_file import number

NAMES = {"float": "a number", "int": "a whole number", "bool": "true or false", "str": "text"}
# Words that the parser may read as values of some type.
SPECIAL = {
    *("true", "false", "yes", "no", "on", "off", "y", "n"),
    *("null", "none"),
}


def fault(kind: str, value: Any) -> str:
    """What is wrong with a value of a type made of numbers, truth values and choices.

    Args:
        kind: the type as text.
        value: a value of YAML, or the text of one on the command line.

    Returns:
        The words for an error; empty if it is right or only the parser can tell.

    >>> fault("float | None", "fast"), fault("int | str", "fast")
    ('expected a number, got fast', '')
    >>> fault("Annotated[int, Range(least=1)] | str", "0")
    '0 is out of range; it must be at least 1'
    >>> fault("Literal['warn', 'stop']", "stopp")
    'expected one of warn, stop, got stopp; did you mean "stop"?'
    """
    parts = parts_of(kind)
    given = _number(value)
    choices = [p for p in parts if isinstance(p, list)]
    if not parts or any(value in c or given in c for c in choices):
        return ""
    numbers = [p for p in parts if isinstance(p, Part)]
    others = [p for p in parts if p not in choices and p not in numbers]
    is_plain = not set(others) - {"bool", "None"}
    is_of_type = isinstance(given, int) or any(p.name == "float" for p in numbers)
    if given is not None and is_of_type and numbers:
        return refusal(given, numbers)
    is_special = isinstance(value, str) and value.lower() in SPECIAL
    takes_truth = isinstance(value, bool) and "bool" in others
    if not is_plain or value is None or is_special or takes_truth:
        return ""
    wanted = [*(p.name for p in numbers), *(str(p) for p in others if p != "None")]
    return _expected(wanted, choices, f", got {shortened(str(value))}", str(value))


def takes_null(option: Option) -> bool:
    """Whether an option may be null; true if its type or default leaves a doubt."""
    parts = parts_of(option.full_type)
    words = [p for p in parts if isinstance(p, str)]
    return option.default is None or not parts or not {"None", "Any"}.isdisjoint(words)


def _number(value: Any) -> float | None:
    """The number that a value is, or that a text is in YAML; None if it is none."""
    if isinstance(value, str):
        return number(value.strip())
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number else None


def parts_of(kind: str) -> list[Any]:
    """The types of a union: numbers with their ranges, choices as lists, others as text.

    Empty if it cannot be told, as with a choice that is no plain value.

    >>> number, *others = parts_of("Annotated[int, Range(least=1)] | Literal['auto'] | None")
    >>> number.range.words, others
    ('at least 1', [['auto'], 'None'])
    """
    try:
        return _parts(ast.parse(kind, mode="eval").body)
    except (SyntaxError, ValueError):
        return []


def _parts(node: ast.expr) -> list[Any]:
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
            case "Annotated":
                of_range = next((r for r in map(_range, inner[1:]) if r), None)
                parts = _parts(inner[0])
                return [Part(p.name, of_range) if isinstance(p, Part) else p for p in parts]
    text = ast.unparse(node)
    return [Part(text, None) if text in ("int", "float") else text.replace("NoneType", "None")]


def _range(node: ast.expr) -> Range | None:
    """The range that an annotation adds to a type; None if it adds something else."""
    if not isinstance(node, ast.Call) or not ast.unparse(node.func).endswith("Range"):
        return None
    bounds = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
    return Range(*map(ast.literal_eval, node.args), **bounds)


def _expected(types: Sequence[str], choices: Sequence[list[Any]], got: str, value: str) -> str:
    """The words for a value of another type than these; with the nearest choice."""
    wanted = [NAMES.get(t, t) for t in types]
    words: list[str] = []
    for choice in choices:
        words += map(str, choice)
        listed = ", ".join(map(str, choice))
        wanted.append(listed if len(choice) == 1 else f"one of {listed}")
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
