"""Parts of a trainer with ftlight's types."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import lightning as L

from ftlight.data.module import DataModule
from ftlight.run.state import RunState
from ftlight.training.lightning_internals import datamodule
from ftlight.utils.atomic import writing
from ftlight.utils.errors import WriteError


def data_of(trainer: L.Trainer) -> DataModule | None:
    """The data module of a trainer; None if it has none, or one that is not ftlight's."""
    data = datamodule(trainer)
    return data if isinstance(data, DataModule) else None


@contextlib.contextmanager
def noting(run: RunState, path: Path) -> Iterator[Path]:
    """Notes that a file could not be written, for the end of a fit.

    Raises:
        WriteError: it could not, and this is no fit.
    """
    run.note(path, "")
    try:
        with writing(path):
            yield path
    except WriteError as error:
        if not run.fitting:
            raise
        run.note(path, str(error))
