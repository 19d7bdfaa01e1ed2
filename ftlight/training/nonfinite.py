"""Losses and gradients that are not finite: kept from the weights, and reported with their rows."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import lightning as L
import torch
from torch import Tensor

from ftlight.utils import paths
from ftlight.utils.distributed import gather_objects
from ftlight.utils.errors import UserError, join_limited
from ftlight.utils.finite import not_finite

log = logging.getLogger(__name__)
Mode = Literal["stop", "skip"]
IN_A_ROW = 50  # skipped steps in a row after which skipping ends too
EXCERPT = 60  # characters of a text in a message
WAYS = "Look at these rows; lower model.lr, set trainer.precision: 32-true"


class Fault(NamedTuple):
    """A step that was not taken.

    Attributes:
        step: number of the optimizer step, from 1.
        loss: loss of the first batch with a loss that is not finite, else of the step's last batch.
        norm: norm of all gradients; nan if it is not known.
        rows: numbers of the rows of that batch.
    """

    step: int
    loss: float
    norm: float
    rows: list[int]


class Guard:
    """Keeps an optimizer from steps with a loss or gradients that are not finite.

    It does not wait for the device. A loss that is not finite is multiplied by nan, which makes
    the gradients of all processes nan, so that all see the same norm. A fused optimizer gets a
    flag that stays on the device; for any other the flag is read and the gradients are dropped.

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
        """Notes a batch. Returns its loss; nan, with gradients of nan, if it is not finite."""
        plain = loss.detach()
        self.batches.append((step, list(batch.get("index", ())), plain))
        return loss * torch.where(plain.isfinite(), 1.0, math.nan).to(plain.dtype)

    def hold(self, step: int, optimizer: Any, norm: Tensor) -> None:
        """Keeps the optimizer from a step if the norm of its gradients is not finite."""
        # a norm is spread over processes if the weights are
        full_tensor = getattr(norm, "full_tensor", None)
        norm = norm.detach() if full_tensor is None else full_tensor().detach()
        self.norms[step] = norm
        optimizer = getattr(optimizer, "optimizer", optimizer)
        if optimizer.defaults.get("fused") and full_tensor is None:
            optimizer.found_inf = (~norm.isfinite()).float()
        elif not norm.isfinite():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None

    def faults(self) -> tuple[list[Fault], int]:
        """Reads what was noted, and forgets it. Returns the faults, and the number of all steps."""
        steps = dict.fromkeys([*(step for step, _, _ in self.batches), *self.norms])
        losses = _numbers([loss for _, _, loss in self.batches])
        norms = dict(zip(self.norms, _numbers(list(self.norms.values())), strict=True))
        batches: dict[int, list[tuple[float, list[int]]]] = {step: [] for step in steps}
        for (step, rows, _), loss in zip(self.batches, losses, strict=True):
            batches[step].append((loss, rows))
        faults = []
        for step in steps:
            bad = [(loss, rows) for loss, rows in batches[step] if not math.isfinite(loss)]
            if bad or not math.isfinite(norms.get(step, 0.0)):
                loss, rows = (bad or batches[step][-1:] or [(math.nan, [])])[0]
                faults.append(Fault(step, loss, norms.get(step, math.nan), rows))
        self.batches, self.norms = [], {}
        return faults, len(steps)

    def settle(self, trainer: L.Trainer, data: Any) -> None:
        """Reports the faults since the last time; all processes must call this at the same step.

        Args:
            trainer: the trainer.
            data: its data module, of whatever class.

        Raises:
            UserError: there are faults and the mode is stop, or too many in a row.
        """
        # a norm is that of all processes: where one is known, they agree without asking
        agreed = all(step in self.norms for step, _, _ in self.batches)
        faults, steps = self.faults()
        any_fault = bool(faults)
        if not agreed:
            any_fault = trainer.strategy.reduce_boolean_decision(any_fault, all=False)
        if not any_fault:
            self.in_a_row = 0 if steps else self.in_a_row
            return
        first = _first(faults, trainer.world_size)
        message = words(first, named(data, first.rows))
        if self.mode == "stop":
            raise UserError(
                f"{message}; the step was not taken. {WAYS},"
                " or leave such steps out with model.nonfinite: skip"
            )
        if not self.left_out and trainer.is_global_zero:
            log.warning(
                "%s; this step is left out, and others like it (model.nonfinite: skip)", message
            )
        self.left_out += len(faults)
        self.in_a_row = self.in_a_row + len(faults) if len(faults) == steps else 0
        if self.in_a_row >= IN_A_ROW:
            raise UserError(f"{message}; {self.in_a_row} steps in a row could not be taken. {WAYS}")

    def close(self) -> None:
        """Says how many steps were left out."""
        if self.left_out:
            log.warning(
                "%s optimizer steps were left out: their loss or gradient was not finite",
                f"{self.left_out:,}",
            )


def check_weights(trainer: L.Trainer) -> None:
    """Checks that all weights are finite, before they are saved: all processes must call this.

    A step from finite gradients may still overflow, at a learning rate of 1e30 say.

    Raises:
        UserError: some are not.
    """
    # of weights divided among processes each checks its own part
    named = trainer.lightning_module.named_parameters()
    parts = ((name, getattr(p, "to_local", p.detach)()) for name, p in named)
    if not trainer.strategy.reduce_boolean_decision(not not_finite(parts), all=True):
        raise UserError(
            f"step {trainer.global_step}: the weights are no longer finite, and are not saved;"
            " lower model.lr or model.weight_decay"
        )


def _numbers(values: Sequence[Tensor]) -> list[float]:
    """Scalars of a device as numbers, read at once."""
    return torch.stack([v.float().reshape(()) for v in values]).tolist() if values else []


def _first(faults: list[Fault], processes: int) -> Fault:
    """The first fault of all processes; of one step, a loss that is not finite comes first."""
    everyone = [fault for mine in gather_objects(faults, processes) for fault in mine]
    return min(everyone, key=lambda fault: (fault.step, math.isfinite(fault.loss)))


def words(fault: Fault, rows: str) -> str:
    """What is wrong with a step, in words.

    >>> words(Fault(3, float("inf"), float("nan"), [7]), "row 7 of train")
    'step 3: the loss is inf in row 7 of train'
    >>> words(Fault(3, 0.5, float("inf"), [7, 8]), "rows 7, 8 of train")
    'step 3: the norm of the gradients is inf, at a loss of 0.5, in rows 7, 8 of train'
    """
    if math.isfinite(fault.loss):
        norm = f"the norm of the gradients is {fault.norm:g}"
        return f"step {fault.step}: {norm}, at a loss of {fault.loss:g}, in {rows}"
    return f"step {fault.step}: the loss is {fault.loss:g} in {rows}"


def named(data: Any, rows: Sequence[int], most: int = 3) -> str:
    """Rows of the training data in words: their numbers; file, line and first words of some.

    Args:
        data: the data module, of whatever class.
        rows: numbers of the rows.
        most: how many are quoted.
    """
    if not rows:
        return "a batch of unknown rows"
    numbers = f"row{'s' if len(rows) > 1 else ''} {join_limited(rows)} of train"
    quoted: list[str] = []
    with contextlib.suppress(Exception):  # the message matters more than what it quotes
        file = str(data.files["train"] or "")
        quoted = [_quote(file, row) for row in data.rows("train", list(rows[:most]))]
    if not quoted:
        return numbers
    return f"{numbers} ({'; '.join(quoted)}{'; …' if len(rows) > most else ''})"


def _quote(file: str, row: Mapping[str, Any]) -> str:
    """File and line of a row, and how its first text begins.

    >>> _quote("toy.csv", {"line": 4, "text": "good  film", "label": "good"})
    'toy.csv:4 "good film"'
    """
    place = paths.place(file, row["line"]) if row.get("line") else file
    names = [k for k, v in row.items() if isinstance(v, str) and v and not k.startswith("__")]
    if not names:
        return place
    text = " ".join(row[names[0]].split())
    cut = "…" if len(text) > EXCERPT else ""
    return f'{place} "{text[:EXCERPT]}{cut}"'
