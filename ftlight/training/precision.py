"""bf16 weights with fp32 master weights: the model computes in bf16, the optimizer in fp32."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn

from ftlight.training.lightning_internals import callbacks_of
from ftlight.utils import internals
from ftlight.utils.errors import UserError

NAME = "bf16-master"
# Numbers that AdamW updates at a time on a CPU: 5 MB with its state, which stay in the cache.
PIECE = 1 << 18
STATE = ("master", "exp_avg", "exp_avg_sq")  # of a parameter, beside its number of steps


def auto(accelerator: str = "auto") -> str:
    """bf16-mixed if the device computes in bfloat16 natively, else fp32."""
    if torch.cuda.is_available() and accelerator != "cpu":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:  # with AVX512-BF16 or AMX a step takes half the time of fp32; without, more than fp32
        native = internals.cpu_has_bfloat16()
    return "bf16-mixed" if native else "32-true"


class BF16Master(Precision):
    """Weights, activations and gradients in bfloat16; :class:`MasterAdamW` updates fp32 weights.

    Mixed precision training as in Micikevicius et al. 2018 (arXiv:1710.03740), without autocast.
    Batch norms and buffers stay in fp32.
    """

    precision: Any = NAME

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Casts the weights."""
        for part in module.modules():
            if not isinstance(part, internals.NormBase):
                for parameter in part.parameters(recurse=False):
                    if parameter.dtype == torch.float32:
                        parameter.data = parameter.data.bfloat16()
        return module

    def connect(self, model: nn.Module, optimizers: list[Any], lr_schedulers: list[Any]) -> Any:
        """Checks that the optimizer has fp32 weights.

        Raises:
            UserError: a task has made one without them.
        """
        if not all(isinstance(o, MasterAdamW) for o in optimizers):
            raise UserError(
                f"trainer.precision: {NAME} needs the optimizer of Task.configure_optimizers;"
                " use bf16-mixed with another"
            )
        return super().connect(model, optimizers, lr_schedulers)

    def convert_input(self, data: Any) -> Any:
        """Casts the inputs of a batch, such as pixels, and leaves its targets as they are."""
        if not isinstance(data, dict) or not isinstance(data.get("inputs"), dict):
            return data
        return {**data, "inputs": {k: _cast(v) for k, v in data["inputs"].items()}}


def _cast(value: Any) -> Any:
    is_float = isinstance(value, Tensor) and value.dtype == torch.float32
    return value.bfloat16() if is_float else value


def check(trainer: L.Trainer) -> None:
    """Refuses what does not work with bfloat16 weights.

    Raises:
        UserError: the weights are divided among processes, or averaged.
    """
    if not isinstance(trainer.precision_plugin, BF16Master):
        return
    if not isinstance(trainer.strategy, DDPStrategy | SingleDeviceStrategy):
        name = type(trainer.strategy).__name__
        raise UserError(
            f"trainer.precision: {NAME} does not work with {name};"
            " use bf16-mixed, or trainer.strategy: ddp"
        )
    if callbacks_of(trainer, WeightAveraging):
        raise UserError(
            f"trainer.precision: {NAME} would round an average of the weights; use bf16-mixed"
        )


def check_state(checkpoint: dict[str, Any], trainer: L.Trainer) -> None:
    """Refuses to resume in another precision, which would lose or lack the fp32 weights.

    Raises:
        UserError: one of run and checkpoint is in bf16-master, and the other is not.
    """
    optimizers = checkpoint.get("optimizer_states", ())
    states = [state for optimizer in optimizers for state in optimizer["state"].values()]
    theirs = any("master" in state for state in states)
    ours = isinstance(trainer.precision_plugin, BF16Master)
    if states and theirs != ours:
        raise UserError(
            f"trainer.precision: the run began {'with' if theirs else 'without'} {NAME},"
            " and must go on so"
        )


class MasterAdamW(torch.optim.AdamW):
    """Fused AdamW with fp32 weights in its state, of which the model's bfloat16 ones are rounded.

    A weight in fp32 is its own master. ``found_inf`` and ``grad_scale`` are those of torch's fused
    optimizers: a step is left out if the first is 1, gradients are divided by the second.
    """

    def __init__(self, params: Any, lr: float = 1e-3, weight_decay: float = 0.01) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay, fused=True)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Takes a step. Returns the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        found_inf: Tensor | None = getattr(self, "found_inf", None)
        grad_scale: Tensor | None = getattr(self, "grad_scale", None)
        trained = [p for p in group["params"] if p.grad is not None]
        steps = [self._state(p)["step"] for p in trained]
        if not trained:
            return
        internals.foreach_add_(steps, 1)
        for weights, grads, masters, means, squares, counts in self._portions(trained):
            internals.fused_adamw_(
                masters,
                [g.float() for g in grads],
                means,
                squares,
                [],
                counts,
                amsgrad=False,
                maximize=False,
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                grad_scale=grad_scale,
                found_inf=found_inf,
            )
            rounded = [(w, m) for w, m in zip(weights, masters, strict=True) if w.dtype != m.dtype]
            if rounded:
                internals.foreach_copy_([w for w, _ in rounded], [m for _, m in rounded])
        if found_inf is not None:
            internals.foreach_sub_(steps, [found_inf.to(steps[0].device)] * len(steps))

    def _portions(self, trained: list[Tensor]) -> Iterator[tuple[list[Tensor], ...]]:
        """Weights, gradients, state, steps: on a CPU a piece at a time, elsewhere all at once."""
        rows: list[tuple[Any, ...]] = []
        for parameter in trained:
            state = self.state[parameter]
            tensors = (parameter.detach(), parameter.grad, *(state[name] for name in STATE))
            rows.append((*tensors, state["step"]))
        if trained[0].device.type != "cpu":
            yield tuple(map(list, zip(*rows, strict=True)))
            return
        for *tensors_of_one, count in rows:
            for piece in _pieces(tensors_of_one):
                yield *([t] for t in piece), [count]

    def _state(self, parameter: Tensor) -> dict[str, Tensor]:
        """State of a parameter: steps, fp32 weights, means of gradients and of their squares."""
        state = self.state[parameter]
        if not state:
            is_own = parameter.dtype == torch.float32
            state["step"] = torch.zeros((), device=parameter.device)
            state["master"] = parameter.detach() if is_own else parameter.detach().float()
            state["exp_avg"] = torch.zeros_like(parameter, dtype=torch.float32)
            state["exp_avg_sq"] = torch.zeros_like(parameter, dtype=torch.float32)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads a state as it is: torch would round it to the type of the weights."""
        super().load_state_dict(state_dict)
        saved = (index for group in state_dict["param_groups"] for index in group["params"])
        own = (parameter for group in self.param_groups for parameter in group["params"])
        for index, parameter in zip(saved, own, strict=True):
            if index not in state_dict["state"]:
                continue
            state = {
                name: value.to(parameter.device).clone()
                for name, value in state_dict["state"][index].items()
            }
            if parameter.dtype == torch.float32:
                state["master"] = parameter.detach()
            self.state[parameter] = state


def _pieces(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Equal pieces of tensors of one shape, as flat views; whole ones if not contiguous."""
    if tensors[0].numel() <= PIECE or not all(t.is_contiguous() for t in tensors):
        yield tensors
        return
    flat = [t.view(-1) for t in tensors]
    for start in range(0, len(flat[0]), PIECE):
        yield [t[start : start + PIECE] for t in flat]
