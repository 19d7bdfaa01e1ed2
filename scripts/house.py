"""Counts how a checkout of ftlight is built: size, long lines, imports between packages.

    python scripts/house.py [CHECKOUT] [--tests]

A room is a package or module right below `ftlight`, or the folder of a task. A room's floor is the
longest chain of imports below it; rooms in a ring share a floor. Works on every commit of this
repository: where modules lie flat, they are the rooms.
"""

from __future__ import annotations

import argparse
import ast
import functools
import os
import re
import subprocess
import sys
from pathlib import Path

WIDTH, FUNCTION, FILE = 100, 40, 250  # the limits of this repository: columns, lines, lines
FOLDERS = ("ftlight", "tests", "scripts")

Graph = dict[str, set[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    here = Path(__file__).resolve().parents[1]
    parser.add_argument("checkout", nargs="?", type=Path, default=here, help="default: this one")
    parser.add_argument("--tests", action="store_true", help="count the tests, too (takes seconds)")
    options = parser.parse_args()
    checkout = options.checkout.resolve()
    if not (checkout / "ftlight").is_dir():
        parser.error(f"{checkout} has no folder ftlight")
    sizes = [measure(checkout / folder) for folder in FOLDERS]
    print(f"{'':24}" + "".join(f"{folder:>9}" for folder in FOLDERS))
    for name in sizes[0]:
        print(f"{name:24}" + "".join(f"{size[name]:9,}" for size in sizes))
    print()
    for name, count in measure_imports(checkout).items():
        print(f"{name:24}{count:9,}")
    if options.tests:
        print(f"{'tests collected':24}{collected(checkout):9,}")


def measure(folder: Path) -> dict[str, int]:
    """Counts files, lines and what is longer than the limits."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))]
    lines = [text.splitlines() for text in texts]
    functions = [length for text in texts for length in function_lengths(text)]
    return {
        "files": len(texts),
        "lines": sum(map(len, lines)),
        f"lines over {WIDTH} columns": sum(len(line) > WIDTH for file in lines for line in file),
        f"functions over {FUNCTION} lines": sum(length > FUNCTION for length in functions),
        f"files over {FILE} lines": sum(len(file) > FILE for file in lines),
    }


def function_lengths(text: str) -> list[int]:
    """Lines of each function of a source, decorators and docstring not counted."""
    lengths = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if ast.get_docstring(node) is not None:
            docstring = node.body[0]
            length -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
        lengths.append(length)
    return lengths


def measure_imports(checkout: Path) -> dict[str, int]:
    """Counts rooms, floors, arrows and rings, without `ftlight/__init__.py`, which is no room."""
    modules = import_graph(checkout)
    del modules["ftlight"]
    for imported in modules.values():
        imported.discard("ftlight")
    rooms: Graph = {}
    for module, imported in modules.items():
        rooms.setdefault(room(module), set()).update(map(room, imported))
    for name, imported in rooms.items():
        imported.discard(name)
    return {
        "rooms": len(rooms),
        "floors": max(floors(rooms).values()),
        "arrows between rooms": sum(map(len, rooms.values())),
        "rings of rooms": len(rings(rooms)),
        "rings of files": len(rings(modules)),
    }


def import_graph(checkout: Path) -> Graph:
    """The modules of ftlight that each of them imports anywhere, lazily too."""
    paths = {}
    for path in sorted((checkout / "ftlight").rglob("*.py")):
        parts = path.relative_to(checkout).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph: Graph = {}
    for name, path in paths.items():
        imported = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                imported |= names & set(paths)
                if names - set(paths):  # what is no module is a name in the package itself
                    imported.add(node.module)
        graph[name] = (imported & set(paths)) - {name}
    return graph


def room(module: str) -> str:
    """The room of a module: `ftlight.data.files` lies in `data`, `ftlight.task` in `task`.

    >>> room("ftlight.data.files"), room("ftlight.tasks.retrieval.task"), room("ftlight.task")
    ('data', 'tasks.retrieval', 'task')
    """
    parts = module.split(".")[1:]
    in_task = parts[0] == "tasks" and len(parts) > 2
    return ".".join(parts[:2]) if in_task else parts[0]


def reachable(graph: Graph, start: str) -> set[str]:
    """All that a node leads to; the node itself only if it is in a ring."""
    seen: set[str] = set()
    rest = list(graph[start])
    while rest:
        node = rest.pop()
        if node not in seen:
            seen.add(node)
            rest.extend(graph[node])
    return seen


def rings(graph: Graph) -> set[frozenset[str]]:
    """Groups of nodes that all lead to one another.

    >>> sorted(map(sorted, rings({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d"}})))
    [['b', 'c'], ['d']]
    """
    below = {node: reachable(graph, node) for node in graph}
    return {
        frozenset(other for other in below[node] if node in below[other])
        for node in graph
        if node in below[node]
    }


def floors(graph: Graph) -> dict[str, int]:
    """The floor of each node, from 1: one above the highest below it; a ring shares its floor.

    >>> floors({"a": {"b", "c"}, "b": {"c"}, "c": set()})
    {'a': 3, 'b': 2, 'c': 1}
    """
    below = {node: reachable(graph, node) for node in graph}

    @functools.cache
    def floor(node: str) -> int:
        ring = {node} | {other for other in below[node] if node in below[other]}
        return 1 + max((floor(other) for other in below[node] - ring), default=0)

    return {node: floor(node) for node in graph}


def collected(checkout: Path) -> int:
    """The number of tests that pytest collects.

    Raises:
        SystemExit: pytest fails; with what it says.
    """
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    number = re.search(r"^(\d+)(?:/\d+)? tests? collected", done.stdout, re.MULTILINE)
    if done.returncode or number is None:
        sys.exit(done.stdout[-2000:] + done.stderr[-2000:])
    return int(number[1])


if __name__ == "__main__":
    main()
