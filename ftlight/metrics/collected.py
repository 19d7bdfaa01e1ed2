"""Outputs of an evaluation, gathered from all processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

Rows = Tensor | list[Tensor]
"""A tensor ``[rows, …]``, or one tensor per row if they differ in length."""


def select(values: Rows, rows: Sequence[int]) -> Rows:
    """Outputs or targets of some of the rows, in their order."""
    return [values[i] for i in rows] if isinstance(values, list) else values[list(rows)]


class Gathered:
    """Outputs, targets, numbers and losses of all rows.

    Not a tuple: in one, torchmetrics squeezes tensors of a single element.
    """

    def __init__(
        self, outputs: Rows, targets: Rows | None, rows: Tensor, losses: Tensor | None = None
    ) -> None:
        self.values = outputs, targets, rows, losses

    def __iter__(self) -> Iterator[Any]:
        """Yields outputs, targets, row numbers and losses."""
        return iter(self.values)


class Collected(Metric):
    """Gathers outputs and targets from all processes; ``compute`` returns them in row order.

    A pure function then scores all rows at once, each counted once, and the result is the same to
    the last bit for any batch size. Rows of different lengths are concatenated and stored with
    their sizes.
    """

    full_state_update = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("outputs", "output_sizes", "targets", "target_sizes", "rows", "losses"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(
        self,
        outputs: Rows,
        targets: Rows | None,
        rows: list[int],
        losses: Tensor | None = None,
    ) -> None:
        """Adds a batch.

        Args:
            outputs: ``[rows, …]``, or a tensor per row; floats are stored as fp32 or fp64.
            targets: ``[rows, …]``, or a tensor per row, or None.
            rows: numbers of the rows in the data.
            losses: loss of each row ``[rows]``, or None.
        """
        self._add("output", outputs)
        if targets is not None:
            self._add("target", targets)
        if losses is not None:
            self.losses.append(losses.detach().float())  # type: ignore[union-attr, operator]
        numbers = torch.tensor(rows, device=self.device)
        self.rows.append(numbers)  # type: ignore[union-attr, operator]

    def _add(self, name: str, values: Rows) -> None:
        if isinstance(values, list):
            sizes = torch.tensor([len(v) for v in values], device=values[0].device)
            getattr(self, f"{name}_sizes").append(sizes)
            values = torch.cat(values)
        wide = values.dtype == torch.float64
        if name == "output" and values.is_floating_point() and not wide:
            values = values.float()
        getattr(self, f"{name}s").append(values.detach())

    def compute(self) -> Gathered:
        """Outputs, targets, numbers and losses of all rows, in the order of the rows, on the CPU.

        Raises:
            RuntimeError: there are no rows, or a row came twice.
        """
        rows = self._all("rows")
        if rows is None:
            raise RuntimeError("an evaluation saw no rows")
        order = rows.argsort()
        if len(set(rows.tolist())) != len(rows):
            raise RuntimeError("an evaluation repeated rows")
        outputs = self._ordered("output", order)
        assert outputs is not None
        losses = self._all("losses")
        losses = None if losses is None else losses[order]
        return Gathered(outputs, self._ordered("target", order), rows[order], losses)

    def _all(self, name: str) -> Tensor | None:
        state: Any = getattr(self, name)
        if isinstance(state, list) and state:  # not synced: one tensor per batch
            state = torch.cat(state)
        return None if len(state) == 0 else state.cpu()

    def _ordered(self, name: str, order: Tensor) -> Rows | None:
        values, sizes = self._all(f"{name}s"), self._all(f"{name}_sizes")
        if sizes is None:
            return None if values is None else values[order]
        values = torch.zeros(0) if values is None else values  # every row is of length 0
        parts = torch.split(values, sizes.tolist())
        return [parts[i] for i in order.tolist()]
