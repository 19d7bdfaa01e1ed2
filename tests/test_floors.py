"""The house as a table: which package may import which; no rings; no task knows another."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Set
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "ftlight"
# A package imports those of lower floors alone; two of one floor do not know each other.
FLOORS = [
    {"utils"},
    {"models", "metrics", "run"},
    {"data", "training"},
    {"freezing"},
    {"task"},
    {"tasks", "trainer"},
    {"cli"},
    {"__init__", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """Module name below the package: ``data.files``; a package by its own name, ``__init__`` for the whole."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "__init__"


def imports(path: Path) -> set[str]:
    """Modules of ftlight that a file imports anywhere, as ``data.files``; ``__init__`` for the package itself."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.split(".")[0] == "ftlight"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ftlight":
            for alias in node.names:
                whole = Path(*str(node.module).split("."), alias.name)
                is_module = (ROOT / whole).with_suffix(".py").is_file() or (ROOT / whole).is_dir()
                found.add(".".join(whole.parts) if is_module else str(node.module))
    return {m.removeprefix("ftlight").lstrip(".") or "__init__" for m in found}


def room(name: str) -> str:
    """The package of a module; a task's folder counts as one."""
    top, *below = name.split(".")
    return ".".join([top, below[0]]) if top == "tasks" and len(below) > 1 else top


def ring(graph: Mapping[str, Set[str]]) -> list[str]:
    """The first ring of a graph, as the way around it; empty if there is none."""
    done: set[str] = set()

    def visit(name: str, above: list[str]) -> list[str]:
        if name in above:
            return [*above[above.index(name) :], name]
        if name in done:
            return []
        found = next(
            filter(None, (visit(n, [*above, name]) for n in sorted(graph.get(name, ())))), []
        )
        done.add(name)
        return found

    return next(filter(None, (visit(name, []) for name in sorted(graph))), [])


GRAPH = {name_of(p): imports(p) for p in FILES}


def test_a_package_imports_lower_floors_alone() -> None:
    wrong = []
    for name, modules in GRAPH.items():
        own = name.split(".")[0]
        for module in modules:
            other = module.split(".")[0]
            if module == "tasks" and own in ("cli", "__init__"):
                continue  # the table of names, which imports nothing
            if other != own and LEVEL[other] >= LEVEL[own]:
                wrong.append(f"{name} imports {module}")
            if own == "cli" and other == "tasks":
                wrong.append(
                    f"{name} imports {module}: the command line names tasks by string only"
                )
    assert wrong == []


def test_no_task_imports_another() -> None:
    tasks = {n: m for n, m in GRAPH.items() if room(n).startswith("tasks.")}
    wrong = [
        f"{n} imports {m}"
        for n, ms in tasks.items()
        for m in ms
        if room(m).startswith("tasks.") and room(m) != room(n)
    ]
    assert wrong == []


def test_nothing_imports_the_package_itself() -> None:
    assert [name for name, modules in GRAPH.items() if "__init__" in modules] == []


def test_no_rings_of_files_or_packages() -> None:
    files = {n: {m for m in ms if m != n} for n, ms in GRAPH.items() if n != "__init__"}
    assert ring(files) == []
    packages: dict[str, set[str]] = {}
    for name, modules in files.items():
        packages.setdefault(room(name), set()).update(
            room(m) for m in modules if room(m) != room(name)
        )
    assert ring(packages) == []


def test_every_file_has_a_floor() -> None:
    assert {name_of(p).split(".")[0] for p in FILES} == set(LEVEL)


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, ["b", "c", "b"]),
        ({"a": {"a"}}, ["a", "a"]),
    ],
)
def test_the_rings_of_a_graph_are_found(graph: Mapping[str, Set[str]], expected: list[str]) -> None:
    assert ring(graph) == expected
