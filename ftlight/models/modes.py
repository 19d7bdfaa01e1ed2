"""Training and eval mode of modules, and whether they are compiled."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from ftlight.utils import internals

log = logging.getLogger(__name__)


def compiled(task: Any) -> bool:
    """Whether torch.compile has a hand in a task."""
    return internals.is_compiled(task.modules()) or internals.came_compiled(task)


@contextlib.contextmanager
def evaluating(task: Any) -> Iterator[None]:
    """All modules are in eval mode, and each in its own again afterwards."""
    modes = [(m, m.training) for m in task.modules()]
    task.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
