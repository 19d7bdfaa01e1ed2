"""Tiny models and data for each task: words that make its configs run in a second.

A module has the name of the task's file.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import yaml
from conftest import ROOT


def config_of(task: str) -> Path:
    """A shipped config of a task, by the name of its file."""
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        config = yaml.safe_load(path.read_text())
        name = config["model"]["task"].lower()
        if name == task.replace("_", "") and "shots" not in config["data"]:
            return path
    raise AssertionError(task)


def words_of(task: str, folder: Path) -> list[str]:
    """``fit`` with that config and a tiny model, and tiny data unless its own are shipped."""
    config = config_of(task)
    words: list[str] = importlib.import_module(f"tiny.{task}").fit(folder)
    if (config.parent / yaml.safe_load(config.read_text())["data"]["train"]).exists():
        words = words[words.index("--model.backbone") :][:2]
    return ["fit", "-c", str(config), *words]
