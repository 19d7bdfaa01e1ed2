"""Names in source files: where a module lies and what defines a name of it, with nothing imported."""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path


def file_of(module: str) -> Path | None:
    """The source file of a module, found without importing it or the packages it lies in; None where there is none."""
    top, *below = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    homes = [Path(home, *below) for home in spec.submodule_search_locations or ()]
    files = [
        f
        for h in homes
        for f in (h / "__init__.py", *([h.with_name(f"{h.name}.py")] if below else []))
    ]
    if not below and spec.origin is not None and spec.origin.endswith(".py"):
        files = [Path(spec.origin)]
    return next((f for f in files if f.is_file()), None)


@functools.cache
def _names(file: Path) -> Mapping[str, Sequence[ast.stmt]]:
    """Every name bound at the top of a file, also in if and try, with what binds it; ``*`` for star imports."""
    try:
        waiting: list[ast.stmt] = list(ast.parse(file.read_bytes()).body)
    except (OSError, SyntaxError, ValueError):
        return {"*": []}
    bound: dict[str, list[ast.stmt]] = {}
    for node in waiting:  # grows
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            bound.setdefault(node.name, []).append(node)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                key = alias.asname or (
                    alias.name.partition(".")[0] if isinstance(node, ast.Import) else alias.name
                )
                bound.setdefault(key, []).append(node)
        elif isinstance(node, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
            below = [
                child
                for part in ("body", "orelse", "finalbody")
                for child in getattr(node, part, ())
            ]
            waiting += below + [
                child for handler in getattr(node, "handlers", ()) for child in handler.body
            ]
        else:
            for part in ast.walk(node):
                if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load):
                    bound.setdefault(part.id, []).append(node)
    return bound


def exists(top: str) -> bool:
    """Whether there is a module of this name, which has no dots; true where that cannot be told."""
    try:
        return importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return True


def defines(module: str, name: str) -> bool | None:
    """Whether a module defines a class of a name, rather than imports one; None where its source does not tell."""
    file = file_of(module)
    names = _names(file) if file else {"*": []}
    bound = names.get(name, [])
    if any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in bound) or not bound:
        return None if {"*", "__getattr__"} & names.keys() else False
    return True if len(bound) == 1 and isinstance(bound[0], ast.ClassDef) else None


def look(module: str, dotted: str, depth: int = 0) -> tuple[str, ast.stmt] | None:
    """Finds what defines a name of a module, through imports.

    Returns:
        The module of the definition and its statement; None where there is none for certain, or several.
    """
    head, _, rest = dotted.partition(".")
    file = file_of(module)
    if file is None or depth > 20:
        return None
    names = _names(file)
    bound = names.get(head, [])
    star = max((n.lineno for n in names.get("*", ())), default=0)
    if not bound and not star and rest and file_of(f"{module}.{head}"):
        return look(f"{module}.{head}", rest, depth + 1)
    if len(bound) != 1 or star > bound[0].lineno:
        return None
    node = bound[0]
    if isinstance(node, ast.Import):
        alias = next(a for a in node.names if head in (a.asname, a.name.partition(".")[0]))
        return look(alias.name if alias.asname else head, rest, depth + 1) if rest else None
    if isinstance(node, ast.ImportFrom):
        alias = next(a for a in node.names if head == (a.asname or a.name))
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        for _ in range(node.level - 1):
            package = package.rpartition(".")[0]
        home = ".".join(p for p in ((package if node.level else ""), node.module) if p)
        whole = f"{alias.name}.{rest}" if rest else alias.name
        if home == module:  # a package that imports a module of its own
            return look(f"{home}.{alias.name}", rest, depth + 1) if rest else None
        return look(home, whole, depth + 1)
    return None if rest else (module, node)
