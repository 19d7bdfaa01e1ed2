"""One vector a row, for each split: what the backbone makes of it, from one frozen pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ftlight.data.module import DataModule
from ftlight.evidence import pictures
from ftlight.freezing import identity
from ftlight.freezing import store as files
from ftlight.freezing.cache import PrefixCache
from ftlight.freezing.tap import Tap
from ftlight.models.layers import layer_groups, num_layers
from ftlight.models.modes import evaluating
from ftlight.models.windows import in_parts, pooled
from ftlight.task import Task

MOST = 4096  # numbers of a row that are kept as they are; of more, places are averaged


class Read(NamedTuple):
    """What a pass saw of a split, in the order of its rows.

    Attributes:
        vectors: ``float [rows, width]``.
        marks: of images, see :func:`ftlight.evidence.pictures.marks`; None of other rows.
    """

    vectors: Tensor
    marks: Tensor | None


class Rows:
    """Reads the vectors of rows with the backbone of a task.

    Those of train and validation come from a store of activations if there can be one, which a fit
    of the head alone then finds filled.

    Args:
        trainer: a trainer of one process; says device and precision.
        task: the task.
        data: its data module, set up for training.
        name: what the pass is for, in messages.
    """

    def __init__(self, trainer: Any, task: Task, data: DataModule, name: str = "check") -> None:
        strategy, precision = trainer.strategy, trainer.precision_plugin
        self.task = precision.convert_module(task.eval().to(strategy.root_device))
        task.datamodule = data
        data.check_model(task.model)
        self.run = SimpleNamespace(  # what a pass needs of a trainer
            datamodule=data,
            strategy=strategy,
            precision_plugin=precision,
            precision=trainer.precision,
            **dict.fromkeys(("global_rank", "local_rank", "node_rank"), 0),
            **dict.fromkeys(("world_size", "num_nodes"), 1),
        )
        layers = num_layers(layer_groups(task.model))
        self.cache = PrefixCache(task.cache_gb, trains=False)
        if task.cache is not False:
            self.cache.begin(self.run, self.task, layers, name)
        self.tap = self.cache.tap or Tap(task.model, layers)

    def read(self, split: str) -> Read:
        """Reads a split.

        Raises:
            ValueError: the backbone gives no vector of a row; says why.
        """
        table = self.run.datamodule.sets[split]
        found: list[Tensor] = []
        marks: list[Tensor] = []
        order: list[int] = []
        with files.preserve_rng():
            for batch in identity.batches(self.run, table):
                order += batch["index"]
                found.append(self._vectors(batch, split).float().cpu())
                if "pixel_values" in batch["inputs"]:
                    marks.append(pictures.marks(batch["inputs"]["pixel_values"].cpu()))
        rows = torch.tensor(order).argsort()
        return Read(torch.cat(found)[rows], torch.cat(marks)[rows] if marks else None)

    def _vectors(self, batch: dict[str, Any], split: str) -> Tensor:
        """One vector a row ``[rows, width]``: of several windows their mean."""
        if "windows" not in batch:
            return _one_each(self._states(batch, split), batch["inputs"])

        def run(part: dict[str, Tensor]) -> Tensor:
            whole = self.tap.capture(lambda: self.task.model(**part), len(part["input_ids"]))
            return _one_each(whole, part)

        with self._pass():
            of_windows = torch.cat(in_parts(run, batch["inputs"], batch["at_once"], False))
        return pooled(of_windows, batch["windows"], "mean")

    @contextlib.contextmanager
    def _pass(self) -> Iterator[None]:
        """Runs the model in evaluation."""
        context = self.run.precision_plugin.forward_context()
        with evaluating(self.task), torch.no_grad(), context:
            yield

    def _states(self, batch: dict[str, Any], split: str) -> Tensor:
        """What the backbone gives for a batch ``[rows, …]``: as stored, or from a pass now."""
        try:
            self.cache.feed(batch, split)
            if self.tap.pending is not None:
                return self.tap.pending
        finally:
            self.tap.pending = None
        with self._pass():
            run = self.task.step if "targets" in batch else self.task.evaluate
            return self.tap.capture(lambda: run(batch), len(batch["index"]))

    def close(self) -> None:
        """Leaves the model as it was."""
        self.tap.remove()
        self.cache.end()


def _one_each(states: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
    """One vector a row ``[rows, width]``: the mean over its tokens, or over the places of an image.

    Args:
        states: ``[rows, width]``, ``[rows, tokens, width]`` or ``[rows, channels, height, width]``.
        inputs: inputs of the model.
    """
    mask = files.mask_of(inputs)
    if states.ndim == 3 and mask is not None and states.shape[1] == mask.shape[1]:
        weights = mask.to(states)[..., None]
        return (states * weights).sum(1) / weights.sum(1).clamp(min=1)
    if states.ndim == 4:
        return states.flatten(2).mean(2)
    if states.ndim == 3 and states[0].numel() > MOST:
        return states.mean(1)
    return states.flatten(1)
