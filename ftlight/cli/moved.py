"""Modules of ftlight 0.1 that lie elsewhere now: tasks of one's own that import them still load, and one line says where to."""

from __future__ import annotations

import importlib
import logging
import sys
from types import ModuleType

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


def import_module(name: str) -> ModuleType:
    """Imports a module that may have been written for ftlight 0.1."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        old = str(error.name).removeprefix("ftlight.")
        if error.name == old or old not in MODULES:
            raise
        new = f"ftlight.{MODULES[old]}"
        log.warning("%s imports ftlight.%s, which is %s now", name, old, new)
        sys.modules[f"ftlight.{old}"] = importlib.import_module(new)
        return import_module(name)
