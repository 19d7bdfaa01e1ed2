"""The floors of the house: who may import whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ftlight"
FLOORS = [
    {"errors"},
    {
        "adapters",
        "backbone",
        "checkpoint",
        "config",
        "data",
        "encoder_decoder",
        "few_shot",
        "kernels",
        "layers",
        "lookup",
        "memory",
        "metrics",
        "nonfinite",
        "optim",
        "parts",
        "precision",
        "prefix_cache",
        "run",
        "schedule",
        "screen",
        "secrets",
        "sharding",
        "signatures",
        "source",
        "stops",
        "tap",
        "tracking",
        "values",
    },
    {
        "caching",
        "callbacks",
        "classification",
        "command",
        "decoder",
        "export",
        "freezing",
        "predictor",
        "resume",
        "summary",
        "task",
        "trainer",
        "wise",
    },
    {"tasks"},
    {"cli", "guess", "help", "init"},
    {"__init__", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """Module name below the package: ``data.files``."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__") or "__init__"


def imports(path: Path) -> set[str]:
    """Modules of ftlight that a file imports anywhere, as ``data.files``; ``__init__`` for the package itself."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.split(".")[0] == "ftlight"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ftlight":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = (PACKAGE.parent / Path(*whole.split("."))).with_suffix(".py").is_file()
                found.add(whole if is_module or (PACKAGE.parent / Path(*whole.split("."))).is_dir() else str(node.module))
    return {m.removeprefix("ftlight").lstrip(".") or "__init__" for m in found}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_only_from_its_own_floor_or_below(path: Path) -> None:
    own = LEVEL[name_of(path).split(".")[0]]
    for module in imports(path):
        assert LEVEL[module.split(".")[0]] <= own, f"{name_of(path)} imports {module}, which lies above it"
        assert not (name_of(path).startswith("tasks.") and module.startswith("tasks.")), "a task imports another task"
        assert module != "__init__", f"{name_of(path)} imports the package itself"


def test_no_rings() -> None:
    graph = {name_of(p): imports(p) for p in FILES if name_of(p) != "__init__"}

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above, name])
        for below in graph.get(name, ()):
            visit(below, (*above, name))

    for name in graph:
        visit(name, ())


def test_every_file_has_a_floor() -> None:
    assert {name_of(p).split(".")[0] for p in FILES} == set(LEVEL)
