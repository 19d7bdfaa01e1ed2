"""Losses and gradients that are not finite: kept from the weights on the device itself, and told with their rows."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ftlight.utils.errors import UserError, join_limited

log = logging.getLogger(__name__)
Mode = Literal["stop", "skip"]
IN_A_ROW = 50  # steps left out in a row, after which skipping ends too
EXCERPT = 60  # characters of a text in a message


class Fault(NamedTuple):
    """A step that was not taken.

    Attributes:
        step: number of the optimizer step, from 1.
        loss: that of the first batch whose loss is not finite, else of the step's last.
        norm: norm of all gradients; nan where it is not known.
        rows: numbers of the rows of that batch.
    """

    step: int
    loss: float
    norm: float
    rows: list[int]


class Guard:
    """Keeps an optimizer from steps whose loss or gradients are not finite, without waiting for the device.

    A loss that is not finite is multiplied by nan: the gradients of all processes then are nan, and all see the same norm. A
    fused optimizer is told by a flag that stays on the device; for any other the flag is read and the gradients are dropped.

    Args:
        mode: stop, or skip.
    """

    def __init__(self, mode: Mode) -> None:
        if mode not in get_args(Mode):
            raise UserError(f"model.nonfinite: {mode} is not known; give stop or skip")
        self.mode = mode
        self.left_out = self.in_a_row = 0
        self.batches: list[tuple[int, list[int], Tensor]] = []
        self.norms: dict[int, Tensor] = {}

    def watch(self, step: int, batch: Mapping[str, Any], loss: Tensor) -> Tensor:
        """Notes a batch. Returns its loss, or nan where it is not finite, with gradients that are nan too."""
        plain = loss.detach()
        self.batches.append((step, list(batch.get("index", ())), plain))
        return loss * torch.where(plain.isfinite(), 1.0, math.nan).to(plain.dtype)

    def hold(self, step: int, optimizer: Any, norm: Tensor) -> None:
        """Keeps the optimizer from a step whose gradients have a norm that is not finite."""
        whole = getattr(
            norm, "full_tensor", None
        )  # of a norm that is spread over processes, as the weights are
        norm = norm.detach() if whole is None else whole().detach()
        self.norms[step] = norm
        optimizer = getattr(optimizer, "optimizer", optimizer)
        if optimizer.defaults.get("fused") and whole is None:
            optimizer.found_inf = (~norm.isfinite()).float()
        elif not norm.isfinite():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None

    def faults(self) -> tuple[list[Fault], int]:
        """Reads what was noted, and forgets it. Returns the steps with a fault, and the number of all."""
        steps = dict.fromkeys([*(step for step, _, _ in self.batches), *self.norms])
        losses = _numbers([loss for _, _, loss in self.batches])
        norms = dict(zip(self.norms, _numbers(list(self.norms.values())), strict=True))
        found = []
        for step in steps:
            mine = [
                (loss, rows)
                for (s, rows, _), loss in zip(self.batches, losses, strict=True)
                if s == step
            ]
            bad = [pair for pair in mine if not math.isfinite(pair[0])]
            if bad or not math.isfinite(norms.get(step, 0.0)):
                loss, rows = (bad or mine[-1:] or [(math.nan, [])])[0]
                found.append(Fault(step, loss, norms.get(step, math.nan), rows))
        self.batches, self.norms = [], {}
        return found, len(steps)

    def settle(self, trainer: Any, data: Any) -> None:
        """Tells of the faults since the last time; all processes come here at the same step.

        Raises:
            UserError: there are faults and the mode is stop, or too many in a row.
        """
        agreed = all(
            step in self.norms for step, _, _ in self.batches
        )  # by the norm, which is that of all processes
        found, steps = self.faults()
        if not (
            found if agreed else trainer.strategy.reduce_boolean_decision(bool(found), all=False)
        ):
            self.in_a_row = 0 if steps else self.in_a_row
            return
        first = _first(found, trainer.world_size)
        said = words(first, named(data, first.rows))
        if self.mode == "stop":
            raise UserError(
                f"{said}; the step was not taken. {WAYS}, or leave such steps out with model.nonfinite: skip"
            )
        if not self.left_out and trainer.is_global_zero:
            log.warning(
                "%s; this step is left out, and others like it (model.nonfinite: skip)", said
            )
        self.left_out += len(found)
        self.in_a_row = self.in_a_row + len(found) if len(found) == steps else 0
        if self.in_a_row >= IN_A_ROW:
            raise UserError(f"{said}; {self.in_a_row} steps in a row could not be taken. {WAYS}")

    def close(self) -> None:
        """Says how many steps were left out."""
        if self.left_out:
            log.warning(
                "%s optimizer steps were left out: their loss or gradient was not finite",
                f"{self.left_out:,}",
            )


WAYS = "Look at these rows; lower model.lr, set trainer.precision: 32-true"


def _numbers(values: Sequence[Tensor]) -> list[float]:
    """Scalars of a device as numbers, read at once."""
    return torch.stack([v.float().reshape(()) for v in values]).tolist() if values else []


def _first(found: Sequence[Fault], processes: int) -> Fault:
    """The first fault of all processes, one with a loss that is not finite before others."""
    everyone: list[Any] = [list(found)]
    if processes > 1:
        import torch.distributed as dist

        everyone = [None] * processes
        dist.all_gather_object(everyone, list(found))
    return min(
        (f for faults in everyone for f in faults), key=lambda f: (f.step, math.isfinite(f.loss))
    )


def words(fault: Fault, rows: str) -> str:
    """What is wrong with a step, in words.

    >>> words(Fault(3, float("inf"), float("nan"), [7]), "row 7 of train")
    'step 3: the loss is inf in row 7 of train'
    >>> words(Fault(3, 0.5, float("inf"), [7, 8]), "rows 7, 8 of train")
    'step 3: the norm of the gradients is inf, at a loss of 0.5, in rows 7, 8 of train'
    """
    if math.isfinite(fault.loss):
        return f"step {fault.step}: the norm of the gradients is {fault.norm:g}, at a loss of {fault.loss:g}, in {rows}"
    return f"step {fault.step}: the loss is {fault.loss:g} in {rows}"


def named(data: Any, rows: Sequence[int], most: int = 3) -> str:
    """Rows of the training data in words: their numbers, the file, and how the first ones begin."""
    if not rows:
        return "a batch whose rows are not known"
    said = f"row{'s' if len(rows) > 1 else ''} {join_limited(map(str, rows))} of train"
    shown = []
    with contextlib.suppress(Exception):  # the message matters more than what it quotes
        shown.append(str(data.files["train"] or ""))
        for row in data.rows("train", list(rows[:most])):
            texts = [
                v for k, v in row.items() if isinstance(v, str) and v and not k.startswith("__")
            ]
            text = " ".join(texts[0].split()) if texts else ""
            place = f"line {row['__line__']}" if row.get("__line__") else ""
            shown.append(
                " ".join(
                    filter(
                        None,
                        [place, f'"{text[:EXCERPT]}{"…" * (len(text) > EXCERPT)}"' * bool(text)],
                    )
                )
            )
    shown = [s for s in shown if s]
    return f"{said} ({'; '.join(shown)}{'; …' if len(rows) > most else ''})" if shown else said
