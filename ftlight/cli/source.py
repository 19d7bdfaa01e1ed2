"""Source files read without importing them: where a module lies, and what its names stand for."""

from __future__ import annotations

import ast
import functools
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

STAR = "*"  # what a star import, or a file that does not parse, is listed under
Found = tuple[str, ast.stmt]  # a module, and a statement in it


class Unclear(Exception):
    """The source leaves a doubt, which only an import can settle."""


def exists(top: str) -> bool:
    """Whether there is a top-level module of this name; true if that cannot be told."""
    try:
        return importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return True


def file_of(module: str) -> Path | None:
    """The source file of a module, found without importing it or its packages; None if unknown."""
    top, *below = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not below:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        package = Path(folder, *below)
        for file in (package / "__init__.py", package.with_name(f"{package.name}.py")):
            if file.is_file():
                return file
    return None


def defines(module: str, name: str) -> bool | None:
    """Whether a module defines a class of this name itself; None if its source does not tell."""
    names = _names_of(module)
    binding = names.get(name, [])
    if not binding or any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in binding):
        return None if {STAR, "__getattr__"} & names.keys() else False
    return True if len(binding) == 1 and isinstance(binding[0], ast.ClassDef) else None


def look(module: str, dotted: str, depth: int = 0) -> Found | None:
    """Finds what defines a name of a module, through imports.

    Returns:
        The module of the definition and its statement; None if that is not certain, or lies in the
        standard library, which defines no options and takes long to parse.
    """
    file = None if module.split(".")[0] in sys.stdlib_module_names else file_of(module)
    if file is None or depth > 20:
        return None
    head, _, rest = dotted.partition(".")
    names = _names(file)
    binding = names.get(head, [])
    star = max((node.lineno for node in names.get(STAR, ())), default=0)
    if not binding and not star and rest and file_of(f"{module}.{head}"):
        return look(f"{module}.{head}", rest, depth + 1)
    if len(binding) != 1 or star > binding[0].lineno:
        return None
    node = binding[0]
    if not isinstance(node, (ast.Import, ast.ImportFrom)):
        return None if rest else (module, node)
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    home, name = _imported(node, head, package)
    dotted = ".".join(part for part in (name, rest) if part)
    if home == module:  # a package that imports a module of its own
        home, dotted = f"{module}.{name}", rest
    return look(home, dotted, depth + 1) if dotted else None


def _imported(node: ast.Import | ast.ImportFrom, name: str, package: str) -> tuple[str, str]:
    """Where a name that an import binds comes from.

    Args:
        node: The import.
        name: The name it binds.
        package: Package of the file, which relative imports begin from.

    Returns:
        The module, and the name in it; the name is empty if the import binds the module.
    """
    if isinstance(node, ast.Import):
        alias = next(a for a in node.names if name in (a.asname, a.name.partition(".")[0]))
        return (alias.name if alias.asname else name), ""
    alias = next(a for a in node.names if name == (a.asname or a.name))
    for _ in range(node.level - 1):
        package = package.rpartition(".")[0]
    parts = [package if node.level else "", node.module or ""]
    return ".".join(part for part in parts if part), alias.name


def annotation(node: ast.expr | None) -> str:
    """An annotation as text; one in quotes without them."""
    if node is None:
        return ""
    text = ast.unparse(node)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = node.value
    try:
        return ast.unparse(ast.parse(text, mode="eval"))
    except SyntaxError:
        raise Unclear from None


def full_type(module: str, text: str) -> str:
    """A type as text, without the names that modules give to types."""
    return ast.unparse(_Aliases(module).visit(ast.parse(text, mode="eval").body))


class _Aliases(ast.NodeTransformer):
    """Puts types in place of the names that a module gives them."""

    def __init__(self, module: str) -> None:
        self.module = module

    def _replace(self, node: Any) -> Any:
        definition = look(self.module, ast.unparse(node))
        if definition is None or not isinstance(definition[1], (ast.Assign, ast.AnnAssign)):
            return node
        home, alias = definition[0], definition[1].value
        if isinstance(alias, ast.Constant) and isinstance(alias.value, (int, float)):
            return alias  # a bound of a range
        if not isinstance(alias, (ast.Subscript, ast.BinOp, ast.Name, ast.Attribute)):
            return node
        return _Aliases(home).visit(ast.parse(annotation(alias), mode="eval").body)

    visit_Name = visit_Attribute = _replace


def value(module: str, node: ast.expr | None) -> Any:
    """The value of an expression: a plain one, that of a constant, or its text."""
    if node is None:
        return None
    try:
        return ast.literal_eval(node)
    except ValueError:
        named = isinstance(node, (ast.Name, ast.Attribute))
        definition = look(module, ast.unparse(node)) if named else None
        assigned = getattr(definition[1], "value", None) if definition else None
        if definition is None or assigned is None:
            return ast.unparse(node)
        return value(definition[0], assigned)


def _names_of(module: str) -> Mapping[str, Sequence[ast.stmt]]:
    file = file_of(module)
    return _names(file) if file else {STAR: []}


@functools.cache
def _names(file: Path) -> Mapping[str, Sequence[ast.stmt]]:
    """Every name bound at the top level of a file, with the statements that bind it."""
    try:
        body = ast.parse(file.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return {STAR: []}
    binding: dict[str, list[ast.stmt]] = {}
    for node in _statements(body):
        for name in _bound(node):
            binding.setdefault(name, []).append(node)
    return binding


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements in order, also those inside of if, try, with and loops."""
    for node in body:
        if not isinstance(node, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
            yield node
            continue
        for part in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(node, part, ()))
        for handler in getattr(node, "handlers", ()):
            yield from _statements(handler.body)


def _bound(node: ast.stmt) -> list[str]:
    """The names that a statement binds."""
    if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        return [node.name]
    if isinstance(node, ast.Import):
        return [a.asname or a.name.partition(".")[0] for a in node.names]
    if isinstance(node, ast.ImportFrom):
        return [a.asname or a.name for a in node.names]
    names = [part for part in ast.walk(node) if isinstance(part, ast.Name)]
    return [part.id for part in names if not isinstance(part.ctx, ast.Load)]
