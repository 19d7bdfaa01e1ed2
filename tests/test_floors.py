"""Which package may import which, as a table of floors; no rings, no task imports another."""

from __future__ import annotations

import functools
import runpy
from types import SimpleNamespace

from conftest import ROOT, each

# A package imports lower floors only, never its own.
FLOORS = [
    {"utils"},
    {"models", "metrics", "run"},
    {"data", "training"},
    {"freezing"},
    {"baselines"},
    {"task"},
    {"tasks", "trainer", "evidence"},
    {"explain", "tune"},
    {"report", "serve", "talk"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
house = SimpleNamespace(**runpy.run_path(str(ROOT / "scripts" / "house.py")))


@functools.cache
def graph() -> dict[str, set[str]]:
    """The imports of each module, but of the public names, which come from anywhere."""
    found: dict[str, set[str]] = house.import_graph(ROOT)
    del found["ftlight"]
    return found


def package(module: str) -> str:
    """The package right below ftlight that a module is in, or the module itself."""
    return module.split(".")[1]


def test_a_package_imports_lower_floors_only() -> None:
    wrong = []
    for name, modules in graph().items():
        for module in modules - {"ftlight"}:
            if module == "ftlight.tasks" and package(name) == "cli":
                continue  # the table of names, which imports nothing
            if package(module) != package(name) and LEVEL[package(module)] >= LEVEL[package(name)]:
                wrong.append(f"{name} imports {module}")
            if package(name) == "cli" and package(module) == "tasks":
                wrong.append(f"{name} imports {module}: the command line names tasks by string")
    assert wrong == []


def test_no_task_imports_another() -> None:
    wrong = []
    for name, modules in graph().items():
        for module in modules - {"ftlight"}:
            rooms = house.room(name), house.room(module)
            if rooms[0] != rooms[1] and all(room.startswith("tasks.") for room in rooms):
                wrong.append(f"{name} imports {module}")
    assert wrong == []


def test_nothing_imports_the_package_itself() -> None:
    assert [name for name, modules in graph().items() if "ftlight" in modules] == []


def test_no_rings_of_files_or_packages() -> None:
    assert house.rings(graph()) == set()
    rooms: dict[str, set[str]] = {}
    for name, modules in graph().items():
        others = {house.room(module) for module in modules} - {house.room(name)}
        rooms.setdefault(house.room(name), set()).update(others)
    assert house.rings(rooms) == set()


def test_every_file_has_a_floor() -> None:
    assert {package(name) for name in graph()} == set(LEVEL)


def test_the_rings_of_a_graph_are_found() -> None:
    def check(imports: dict[str, set[str]], expected: list[list[str]]) -> None:
        assert sorted(map(sorted, house.rings(imports))) == expected

    each(
        [
            ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
            ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, [["b", "c"]]),
            ({"a": {"a"}}, [["a"]]),
        ],
        check,
    )


def test_the_house_is_counted() -> None:
    counts = house.measure_imports(ROOT)
    assert (counts["rings of rooms"], counts["rings of files"]) == (0, 0)
    assert counts["floors"] <= len(FLOORS)
    text = 'def long():\n    """Has a docstring\n\n    of lines."""\n' + "    pass\n" * 50
    assert house.function_lengths(text) == [51]
