"""Modules of ftlight 0.1 that a user's task may import: they load, and a line says the new name."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from ftlight.tasks import HOMES

log = logging.getLogger(__name__)
# What a task or data module builds on: base classes, backbones, readers, errors. Where it went.
MOVED = {
    "backbone": ["models.loading", "models.weights", "models.pooling"],
    "classification": ["tasks.classification"],
    "data.chats": ["tasks.causal_lm.data"],
    "data.image_data": ["tasks.image_classification.data"],
    "data.pairs": ["tasks.seq2seq.data"],
    "data.retrieval": ["tasks.retrieval.data"],
    "data.spans": ["tasks.token_classification.tags"],
    "data.text": ["tasks.text_classification.data"],
    "data.windows": ["tasks.token_classification.windows"],
    "decoder": ["tasks.generation"],
    "errors": ["utils.errors"],
    "export": ["models.saving"],
    "layers": ["models.layers"],
    "optim": ["training.optim"],
    "trainer": ["trainer.trainer"],
}
for _home in HOMES.values():  # a module of 0.1 with the task, and often its data module
    _package = _home.removeprefix("ftlight.").rpartition(".")[0]
    MOVED[_package] = [f"{_package}.task", f"{_package}.data"]
RENAMED = {
    "depth_of": "num_layers",
    "listing": "join_limited",
    "nearest": "did_you_mean",
    "places": "module_layers",
}


def import_module(name: str) -> ModuleType:
    """Imports a module; one that is not of ftlight may have been written for 0.1."""
    if name.split(".")[0] != "ftlight":
        for old, homes in MOVED.items():
            _serve(f"ftlight.{old}", homes)
    return importlib.import_module(name)


def _serve(old: str, homes: Sequence[str]) -> None:
    """Lets a module of 0.1, which may be a package now, find its names where they went."""

    def find(name: str) -> Any:
        if "__path__" in vars(module) and importlib.util.find_spec(f"{old}.{name}"):
            raise AttributeError(name)  # a module of the package, which is not loaded yet
        for home in () if name.startswith("_") else homes:
            found = importlib.import_module(f"ftlight.{home}")
            new = name if hasattr(found, name) else RENAMED.get(name, name)
            if hasattr(found, new):
                place = "ftlight" if new in HOMES else found.__name__
                log.warning("%s.%s is %s.%s now", old, name, place, new)
                return getattr(found, new)
        raise AttributeError(f"module {old} has no attribute {name}")

    module = sys.modules.get(old)
    if module is None:
        try:
            module = importlib.import_module(old)
        except ModuleNotFoundError:
            module = sys.modules[old] = ModuleType(old)
    module.__getattr__ = find  # type: ignore[method-assign]
