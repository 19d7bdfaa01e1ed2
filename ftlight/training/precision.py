"""bf16 weights with fp32 master weights: the model computes in bfloat16 without casts, the optimizer in fp32."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ftlight.utils.errors import UserError

NAME = "bf16-master"
PIECE = (
    1 << 18
)  # numbers that AdamW works on at a time on a CPU: 5 MB with its state, which stay in the cache
KEPT = ("master", "exp_avg", "exp_avg_sq")  # of the optimizer's state, beside the number of steps


def auto(accelerator: str = "auto") -> str:
    """bf16-mixed where the device computes in bfloat16 natively, else fp32."""
    if torch.cuda.is_available() and accelerator != "cpu":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:  # with AVX512-BF16 or AMX a step takes half the time of fp32; without, more than fp32
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if native else "32-true"


class BF16Master(Precision):
    """Weights, activations and gradients in bfloat16; :class:`MasterAdamW` keeps the fp32 weights that it updates.

    Mixed precision training as in Micikevicius et al. 2018, without autocast. Batch norms and buffers stay in fp32.
    """

    precision: Any = NAME

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Casts the weights."""
        for part in module.modules():
            if not isinstance(part, _NormBase):
                for parameter in part.parameters(recurse=False):
                    if parameter.dtype == torch.float32:
                        parameter.data = parameter.data.bfloat16()
        return module

    def connect(self, model: nn.Module, optimizers: list[Any], lr_schedulers: list[Any]) -> Any:
        """Checks that the optimizer has fp32 weights.

        Raises:
            UserError: a task has made one that has not.
        """
        if not all(isinstance(o, MasterAdamW) for o in optimizers):
            raise UserError(
                f"trainer.precision: {NAME} needs the optimizer of Task.configure_optimizers; use bf16-mixed with another"
            )
        return super().connect(model, optimizers, lr_schedulers)

    def convert_input(self, data: Any) -> Any:
        """Casts the inputs of a batch, such as pixels, and leaves targets as they are."""
        if not isinstance(data, dict) or not isinstance(data.get("inputs"), dict):
            return data
        cast = {
            k: v.bfloat16() if isinstance(v, Tensor) and v.dtype == torch.float32 else v
            for k, v in data["inputs"].items()
        }
        return {**data, "inputs": cast}


def check(trainer: Any) -> None:
    """Refuses what bfloat16 weights do not go together with.

    Raises:
        UserError: the weights are divided among processes, or averaged.
    """
    if not isinstance(trainer.precision_plugin, BF16Master):
        return
    if not isinstance(trainer.strategy, DDPStrategy | SingleDeviceStrategy):
        name = type(trainer.strategy).__name__
        raise UserError(
            f"trainer.precision: {NAME} does not go with {name}; use bf16-mixed, or trainer.strategy: ddp"
        )
    if any(isinstance(c, WeightAveraging) for c in trainer.callbacks):
        raise UserError(
            f"trainer.precision: an average of the weights would be rounded with {NAME}; use bf16-mixed"
        )


def check_state(checkpoint: dict[str, Any], trainer: Any) -> None:
    """Refuses to go on in another precision where the fp32 weights would be lost, or are missing.

    Raises:
        UserError: one of run and checkpoint is in bf16-master, and the other is not.
    """
    states = [s for one in checkpoint.get("optimizer_states", ()) for s in one["state"].values()]
    theirs, ours = (
        any("master" in s for s in states),
        isinstance(trainer.precision_plugin, BF16Master),
    )
    if states and theirs != ours:
        raise UserError(
            f"trainer.precision: the run began {'with' if theirs else 'without'} {NAME}, and must go on so"
        )


class MasterAdamW(torch.optim.AdamW):
    """Fused AdamW whose state holds fp32 weights for those in bfloat16; the model's are these, rounded.

    A weight in fp32 is its own master. ``found_inf`` and ``grad_scale`` are those of fused optimizers: a step is left out where the
    first is 1, gradients are divided by the second.
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
        held: dict[str, Any] = {
            name: getattr(self, name, None) for name in ("grad_scale", "found_inf")
        }
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            steps = [self._state(p)["step"] for p in trained]
            if not trained:
                continue
            torch._foreach_add_(steps, 1)
            first, second = group["betas"]
            fixed: dict[str, Any] = {
                "beta1": first,
                "beta2": second,
                **{k: group[k] for k in ("lr", "weight_decay", "eps")},
            }
            for weights, grads, masters, means, squares, counts in self._portions(trained):
                exact = [g.float() for g in grads]
                torch._fused_adamw_(
                    masters,
                    exact,
                    means,
                    squares,
                    [],
                    counts,
                    amsgrad=False,
                    maximize=False,
                    **fixed,
                    **held,
                )
                rounded = [
                    (w, m) for w, m in zip(weights, masters, strict=True) if w.dtype != m.dtype
                ]
                if rounded:
                    torch._foreach_copy_([w for w, _ in rounded], [m for _, m in rounded])
            if held["found_inf"] is not None:
                torch._foreach_sub_(steps, [held["found_inf"].to(steps[0].device)] * len(steps))
        return loss

    def _portions(self, trained: list[Tensor]) -> Iterator[tuple[list[Tensor], ...]]:
        """Weights, gradients, state and steps of a group: on a CPU a piece at a time, elsewhere all at once."""
        whole = [
            (p.detach(), p.grad, *(self.state[p][k] for k in KEPT), self.state[p]["step"])
            for p in trained
        ]
        if trained[0].device.type != "cpu":
            yield tuple(map(list, zip(*whole, strict=True)))
            return
        for *tensors, count in whole:
            for part in _pieces(tensors):
                yield *([t] for t in part), [count]

    def _state(self, parameter: Tensor) -> dict[str, Tensor]:
        """State of a parameter: number of steps, fp32 weights, means of gradients and of their squares."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            same = parameter.dtype == torch.float32
            state["master"] = parameter.detach() if same else parameter.detach().float()
            state["exp_avg"], state["exp_avg_sq"] = (
                torch.zeros_like(parameter, dtype=torch.float32) for _ in range(2)
            )
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes a state as it is: torch would round it to the type of the weights."""
        super().load_state_dict(state_dict)
        saved = (index for group in state_dict["param_groups"] for index in group["params"])
        own = (parameter for group in self.param_groups for parameter in group["params"])
        for index, parameter in zip(saved, own, strict=True):
            if index in state_dict["state"]:
                state = {
                    k: v.to(parameter.device).clone() for k, v in state_dict["state"][index].items()
                }
                if parameter.dtype == torch.float32:
                    state["master"] = parameter.detach()
                self.state[parameter] = state


def _pieces(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Equal pieces of tensors of one shape, as flat views; tensors as they are where their numbers are not in a row."""
    if tensors[0].numel() <= PIECE or not all(t.is_contiguous() for t in tensors):
        yield tensors
        return
    flat = [t.view(-1) for t in tensors]
    for start in range(0, len(flat[0]), PIECE):
        yield [t[start : start + PIECE] for t in flat]
