"""Parts of a trainer with ftlight's types."""

from __future__ import annotations

import lightning as L

from ftlight.data.module import DataModule
from ftlight.training.lightning_internals import datamodule


def data_of(trainer: L.Trainer) -> DataModule | None:
    """The data module of a trainer; None if it has none, or one that is not ftlight's."""
    data = datamodule(trainer)
    return data if isinstance(data, DataModule) else None
