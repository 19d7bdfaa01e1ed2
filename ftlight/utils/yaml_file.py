"""One YAML file read strictly: YAML 1.2's plain values, no key twice, the line of every key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from ftlight.utils.errors import UserError, did_you_mean

DEEPEST, MOST = 100, 1_000_000  # levels of nesting, and values, an alias counted each time
FLOAT = re.compile(
    r"^(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
INT = re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$")


class Loader(yaml.SafeLoader):
    """YAML with plain values as in version 1.2: 1e-4 is a number, no and on are words."""


def _keeps(tag: str) -> bool:
    """Whether PyYAML's rule for a tag stays; those of version 1.1 are replaced below."""
    return tag.rpartition(":")[2] not in ("bool", "timestamp", "int", "float")


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if _keeps(tag)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind, _pattern, _first in (
    ("bool", BOOL, "tTfF"),
    ("float", FLOAT, "-+0123456789."),
    ("int", INT, "-+0123456789"),
):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _pattern, list(_first))


def read_yaml(path: str | Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Reads one YAML file.

    Returns:
        The mapping, and for each dotted key its place as ``file:line``.

    Raises:
        UserError: the file is missing, does not parse, holds no mapping, holds a key twice, or is
            nested or repeated beyond reason.
    """
    path = Path(path)
    text = _text(path)
    places: dict[str, str] = {}
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        if node is not None:
            _check_size(node, path)
            _walk(node, "", str(path), places)
        data = loader.construct_document(node) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        problem = error.problem or error.context
        raise UserError(
            f"{path}{line}: not valid YAML: {problem}; check indentation and quotes"
        ) from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise _too_deep(path) from None
    except (ValueError, AttributeError) as error:  # a tag and a value that do not go together
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        kind = type(data).__name__
        raise UserError(f"{path}: expected keys such as model: and data:, got {kind}")
    return data, places


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        beside = path.parent.glob("*.y*ml") if path.parent.is_dir() else ()
        nearest = did_you_mean(path.name, [p.name for p in beside])
        raise UserError(f"{path}: no such file{nearest}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from None


def _too_deep(path: Path) -> UserError:
    return UserError(f"{path}: nested more than {DEEPEST} levels deep; make it flatter")


def _check_size(node: yaml.Node, path: Path) -> None:
    """Refuses what is nested too deep, and aliases that unfold to very many values."""
    level, seen = [node], 0
    for _ in range(DEEPEST):
        seen += sum(len(_inside(outer)) for outer in level)
        if seen > MOST:
            raise UserError(f"{path}: holds more than {MOST:,} values; write fewer aliases")
        level = [inner for outer in level for inner in _inside(outer)]
    if level:
        raise _too_deep(path)


def _inside(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _walk(node: yaml.Node, key: str, file: str, places: dict[str, str]) -> None:
    """Notes the line of every key below ``node`` and refuses a key given twice."""
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _walk(item, f"{key}.{number}", file, places)
    if not isinstance(node, yaml.MappingNode):
        return
    for name, value in node.value:
        here = f"{file}:{name.start_mark.line + 1}"
        dotted = f"{key}.{name.value}" if key else str(name.value)
        if dotted in places:
            first = places[dotted].rpartition(":")[2]
            raise UserError(f"{here}: {dotted} is given twice (first in line {first}); keep one")
        places[dotted] = here
        _walk(value, dotted, file, places)
