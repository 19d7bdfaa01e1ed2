"""One YAML file read strictly: YAML 1.2's plain values, no key twice, the line of every key."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ftlight.utils.errors import UserError, did_you_mean
from ftlight.utils.printable import UNSEEN

FLOAT = re.compile(
    r"^(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
INT = re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$")
DIGITS = 300  # of a whole number: more do not fit a float, and Python refuses to read thousands
# No file name may have the first, no text in UTF-8 the others.
UNUSABLE = re.compile(r"[\0\ud800-\udfff]")
NO_TAG = "not valid YAML: remove the tag, for"
DEEPEST, MOST, SIZE = 50, 100_000, 4_000_000  # levels, values and bytes of a config


class Loader(yaml.SafeLoader):
    """YAML with plain values as in version 1.2: 1e-4 is a number, no and on are words.

    Thousands of levels would take PyYAML seconds before Python ends its recursion, and millions of
    values half a minute.
    """

    depth = 0
    count = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Makes a node, and those below it."""
        self.depth += 1
        self.count += 1
        if self.depth > DEEPEST or self.count > MOST:
            what = f"more than {MOST:,} values"
            if self.depth > DEEPEST:
                what = f"nested more than {DEEPEST} levels deep"
            here = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem=what, problem_mark=here)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _keeps(tag: str) -> bool:
    """Whether PyYAML's rule for a tag stays; those of version 1.1 are replaced below."""
    return tag.rpartition(":")[2] not in ("bool", "timestamp", "int", "float", "value")


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
for _kind in ("float", "int"):
    Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", lambda _, node: number(node.value))


def number(text: str) -> float | None:
    """The number that a text is in YAML; None if it is none.

    >>> number("1e-4"), number("0x10"), number("1_000"), number("-.inf")
    (0.0001, None, None, -inf)
    """
    if INT.match(text):
        return int(text) if len(text) < DIGITS else float(text)
    if FLOAT.match(text):
        return float(re.sub(r"\.(inf|nan)", r"\1", text.lower()))
    return None


def quoted(value: Any) -> str:
    r"""A plain value, list or mapping as JSON that YAML reads as the same: without raw controls.

    >>> print(quoted({"a": ["b\x9b\u2028", "é"]}))
    {"a": ["b\u009b\u2028", "é"]}
    """
    return UNSEEN.sub(_escaped, json.dumps(value, ensure_ascii=False))


def _escaped(match: re.Match[str]) -> str:
    """A character that cannot be seen as YAML writes it in quotes."""
    code = ord(match[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def read_yaml(path: str | Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Reads one YAML file.

    Returns:
        The mapping, and for each dotted key its place as ``file:line``.

    Raises:
        UserError: the file is missing, does not parse, holds no mapping, holds a key twice, or is
            nested or repeated beyond reason.
    """
    data, places = parse(_text(Path(path)), str(path))
    if not isinstance(data, dict):
        kind = type(data).__name__
        raise UserError(f"{path}: expected keys such as model: and data:, got {kind}")
    return data, places


def parse(text: str, name: str) -> tuple[Any, dict[str, str]]:
    """Reads a YAML text.

    Args:
        text: the text.
        name: its file, or option of the command line, for errors.

    Returns:
        What it holds, an empty mapping if nothing; for each dotted key its place as ``name:line``.

    Raises:
        UserError: it does not parse, or holds a key twice.
    """
    return _parse(text, name, lambda loader, node: loader.construct_document(node))


def read_words(path: Path) -> Any:
    """Reads a YAML or JSON file with every value as text, so that a label NO stays NO.

    Raises:
        UserError: as for :func:`read_yaml`.
    """
    return _parse(_text(path), str(path), lambda loader, node: _words(node))[0]


def _words(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {name.value: _words(value) for name, value in node.value}
    return [_words(item) for item in node.value] if isinstance(node.value, list) else node.value


def _parse(
    text: str, name: str, build: Callable[[Loader, yaml.Node], Any]
) -> tuple[Any, dict[str, str]]:
    """Reads a YAML text; ``build`` makes a value of its node once that is known to be bounded."""
    places: dict[str, str] = {}
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        if node is None:
            return {}, places
        _Places(name, loader, places).walk(node, "", 0)
        return build(loader, node), places
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        problem = error.problem or error.context
        raise UserError(
            f"{name}{line}: not valid YAML: {problem}; check indentation and quotes"
        ) from None
    except (yaml.YAMLError, ValueError, AttributeError) as error:  # also of a tag's value
        raise UserError(f"{name}: not valid YAML: {' '.join(str(error).split())}") from None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(SIZE + 1)
        if len(content) > SIZE:
            raise UserError(f"{path}: a config has less than {SIZE:,} bytes; is this a data file?")
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        beside = path.parent.glob("*.y*ml") if path.parent.is_dir() else ()
        nearest = did_you_mean(path.name, [p.name for p in beside])
        raise UserError(f"{path}: no such file{nearest}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from None


class _Places:
    """Notes the line of every key, and refuses what no config needs.

    Args:
        file: the file.
        loader: the loader that knows which tag a plain value has.
        places: takes dotted key to ``file:line``.
    """

    def __init__(self, file: str, loader: Loader, places: dict[str, str]) -> None:
        self.file, self.loader, self.places = file, loader, places
        self.count = 0

    def walk(self, node: yaml.Node, key: str, depth: int) -> None:
        """Goes through a value and all below it.

        Raises:
            UserError: a key is given twice or is no plain value; a value has a tag that is not its
                own, or characters that no text has; there are too many values or levels, as with
                aliases that hold each other.
        """
        here = f"{self.file}:{node.start_mark.line + 1}"
        self.count += 1
        if depth > DEEPEST:
            raise UserError(f"{here}: nested more than {DEEPEST} levels deep")
        if self.count > MOST:
            raise UserError(f"{here}: more than {MOST:,} values, those of aliases included")
        if isinstance(node, yaml.ScalarNode):
            self._check_scalar(node, here)
        elif node.tag.rpartition(":")[2] not in ("map", "seq"):
            raise UserError(f"{here}: {NO_TAG} {_short(node.tag)} is not for configs")
        elif isinstance(node, yaml.SequenceNode):
            for i, item in enumerate(node.value):
                self.walk(item, f"{key}.{i}", depth + 1)
        else:
            for name, value in node.value:
                self._add(name, key)
                self.walk(value, f"{key}.{name.value}" if key else str(name.value), depth + 1)

    def _add(self, name: yaml.Node, key: str) -> None:
        here = f"{self.file}:{name.start_mark.line + 1}"
        if not isinstance(name, yaml.ScalarNode):
            raise UserError(f"{here}: a key must be a plain value, not a list or a mapping")
        self._check_scalar(name, here)
        dotted = f"{key}.{name.value}" if key else str(name.value)
        if dotted in self.places:
            first = self.places[dotted].rpartition(":")[2]
            raise UserError(f"{here}: {dotted} is given twice (first in line {first}); keep one")
        self.places[dotted] = here

    def _check_scalar(self, node: yaml.ScalarNode, here: str) -> None:
        plain = self.loader.resolve(yaml.ScalarNode, node.value, (True, False))  # type: ignore[no-untyped-call]
        if node.tag not in (plain, "tag:yaml.org,2002:str"):
            raise UserError(f"{here}: {NO_TAG} {_short(node.tag)} does not fit its value")
        if UNUSABLE.search(node.value):
            raise UserError(f"{here}: holds a character that no text may have (NUL or a surrogate)")


def _short(tag: str) -> str:
    """A tag as it is written: ``!!set``."""
    return tag.replace("tag:yaml.org,2002:", "!!")
