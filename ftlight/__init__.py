"""Fine-tuning of any pre-trained model from one short YAML, on Lightning."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ftlight.cli import load as load
    from ftlight.data.text import TextData as TextData
    from ftlight.task import Task as Task
    from ftlight.tasks.text_classification import TextClassification as TextClassification
    from ftlight.trainer import Trainer as Trainer

_HOMES = {
    "load": "ftlight.cli",
    "Task": "ftlight.task",
    "Trainer": "ftlight.trainer",
    "TextClassification": "ftlight.tasks.text_classification",
    "TextData": "ftlight.data.text",
}
__all__ = ["Task", "TextClassification", "TextData", "Trainer", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: ``import ftlight`` alone costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module ftlight has no attribute {name}")
    return getattr(importlib.import_module(_HOMES[name]), name)
