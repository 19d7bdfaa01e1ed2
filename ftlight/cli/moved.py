"""Modules of ftlight 0.1 that lie elsewhere now: tasks of one's own that import them still load, and one line says where to."""

from __future__ import annotations

import importlib
import logging
import sys
from types import ModuleType
from typing import Any

from ftlight.tasks import HOMES

log = logging.getLogger(__name__)
MODULES = {
    "adapters": "models.adapters",
    "backbone": "models.loading",
    "caching": "freezing.cache",
    "checkpoint": "training.checkpoint",
    "classification": "tasks.classification",
    "data.archives": "tasks.image_classification.archives",
    "data.augment": "tasks.image_classification.augment",
    "data.catalogue": "tasks.retrieval.catalogue",
    "data.chat": "tasks.causal_lm.messages",
    "data.chats": "tasks.causal_lm.data",
    "data.contexts": "tasks.question_answering.windows",
    "data.entities": "tasks.token_classification.readers",
    "data.image_data": "tasks.image_classification.data",
    "data.image_files": "tasks.image_classification.containers",
    "data.image_rows": "tasks.image_classification.rows",
    "data.images": "tasks.image_classification.decoding",
    "data.interactions": "tasks.retrieval.interactions",
    "data.masking": "tasks.masked_lm.masking",
    "data.pairs": "tasks.seq2seq.data",
    "data.retrieval": "tasks.retrieval.data",
    "data.spans": "tasks.token_classification.tags",
    "data.squad": "tasks.question_answering.readers",
    "data.templates": "tasks.causal_lm.chat_template",
    "data.text": "tasks.text_classification.data",
    "data.turns": "tasks.causal_lm.truncation",
    "data.windows": "tasks.token_classification.windows",
    "decoder": "tasks.generation",
    "encoder_decoder": "tasks.seq2seq.encoder_decoder",
    "errors": "utils.errors",
    "export": "models.saving",
    "few_shot": "tasks.text_classification.few_shot",
    "kernels": "models.kernels",
    "layers": "models.layers",
    "memory": "training.memory",
    "nonfinite": "training.nonfinite",
    "optim": "training.optim",
    "parts": "utils.atomic",
    "precision": "training.precision",
    "predictor": "trainer.predictor",
    "prefix_cache": "freezing.store",
    "schedule": "freezing.schedule",
    "screen": "run.console",
    "secrets": "utils.secrets",
    "sharding": "training.fsdp",
    "tap": "freezing.tap",
    "tracking": "run.loggers",
    "wise": "trainer.wise",
}
# What was a module and is a package now: where its names went.
PACKAGES = {
    "cli": ["cli.parser"],
    "freezing": ["freezing.callback"],
    "run": ["run.folder", "run.predictions"],
    "trainer": ["trainer.trainer"],
    **{f"tasks.{home.split('.')[2]}": [] for home in HOMES.values()},
}


def import_module(name: str) -> ModuleType:
    """Imports a module that may have been written for ftlight 0.1."""
    if name.split(".")[0] == "ftlight":
        return importlib.import_module(name)
    for package, homes in PACKAGES.items():
        _lend(package, homes or [f"{package}.task", f"{package}.data"])
    while True:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            old = str(error.name).removeprefix("ftlight.")
            if error.name == old or old not in MODULES:
                raise
            new = f"ftlight.{MODULES[old]}"
            log.warning("%s imports ftlight.%s, which is %s now", name, old, new)
            sys.modules[f"ftlight.{old}"] = importlib.import_module(new)


def _lend(package: str, homes: list[str]) -> None:
    """Gives a package the names of the module that it was."""

    def find(attribute: str) -> Any:
        for home in homes if not attribute.startswith("_") else ():
            module = importlib.import_module(f"ftlight.{home}")
            if hasattr(module, attribute):
                log.warning(
                    "ftlight.%s.%s is %s.%s now", package, attribute, module.__name__, attribute
                )
                return getattr(module, attribute)
        raise AttributeError(f"module ftlight.{package} has no attribute {attribute}")

    importlib.import_module(f"ftlight.{package}").__getattr__ = find  # type: ignore[method-assign]
