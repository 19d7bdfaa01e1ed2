"""Outputs of an evaluation, gathered over all processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

Rows = Tensor | list[Tensor]
"""A tensor ``[rows, …]``, or one tensor per row where they differ in length."""


class Gathered:
    """Outputs, targets and numbers of the rows. Not a tuple: torchmetrics takes the axes off tensors of one element in those."""

    def __init__(self, outputs: Rows, targets: Rows | None, rows: Tensor) -> None:
        self.found = outputs, targets, rows

    def __iter__(self) -> Iterator[Any]:
        """Yields the three."""
        return iter(self.found)


class Collected(Metric):
    """Gathers outputs and targets of an evaluation over all processes; ``compute`` gives them in the order of the rows.

    So a pure function measures them all, each row once, to the same last bit however they were batched. Rows that differ in
    length are kept end to end with their sizes.
    """

    full_state_update = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("outputs", "output_sizes", "targets", "target_sizes", "rows"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, outputs: Rows, targets: Rows | None, rows: list[int]) -> None:
        """Adds a batch: ``outputs [rows, …]``, ``targets [rows, …]`` (or a tensor per row, or no targets) and the rows' numbers."""
        device = self.device
        self._add("output", outputs, lambda t: t.float() if t.is_floating_point() else t)
        if targets is not None:
            self._add("target", targets, lambda t: t)
        self.rows.append(torch.tensor(rows, device=device))  # type: ignore[union-attr, operator]

    def _add(self, name: str, values: Rows, cast: Any) -> None:
        if isinstance(values, list):
            sizes = torch.tensor([len(v) for v in values], device=values[0].device)
            getattr(self, f"{name}_sizes").append(sizes)
            values = torch.cat(values)
        getattr(self, f"{name}s").append(cast(values.detach()))

    def compute(self) -> Gathered:
        """Outputs, targets and numbers of the rows, in their order, on the CPU."""
        rows = self._whole("rows")
        if rows is None:
            raise RuntimeError("an evaluation saw no rows")
        order = rows.argsort()
        if len(set(rows.tolist())) != len(rows):
            raise RuntimeError("an evaluation repeated rows")
        outputs = self._ordered("output", order)
        assert outputs is not None
        return Gathered(outputs, self._ordered("target", order), rows[order])

    def _whole(self, name: str) -> Tensor | None:
        state: Any = getattr(self, name)
        whole = (
            torch.cat(state) if isinstance(state, list) and state else state
        )  # a list where not synced
        return None if len(whole) == 0 else whole.cpu()

    def _ordered(self, name: str, order: Tensor) -> Rows | None:
        values, sizes = self._whole(f"{name}s"), self._whole(f"{name}_sizes")
        if sizes is None:
            return None if values is None else values[order]
        values = torch.zeros(0) if values is None else values  # every row is of length 0
        parts = torch.split(values, sizes.tolist())
        return [parts[i] for i in order.tolist()]
