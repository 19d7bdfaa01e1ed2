"""bf16 weights with fp32 master weights: the model computes in bfloat16 without casts, the optimizer in fp32."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ftlight.errors import UserError

NAME = "bf16-master"
PIECE = {"cpu": 1 << 18}  # numbers that AdamW works on at a time: 5 MB with its state, which stay in the cache


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
            raise UserError(f"trainer.precision: {NAME} needs the optimizer of Task.configure_optimizers; use bf16-mixed with another")
        return super().connect(model, optimizers, lr_schedulers)

    def convert_input(self, data: Any) -> Any:
        """Casts the inputs of a batch, such as pixels, and leaves targets as they are."""
        if not isinstance(data, dict) or not isinstance(data.get("inputs"), dict):
            return data
        cast = {k: v.bfloat16() if isinstance(v, Tensor) and v.dtype == torch.float32 else v for k, v in data["inputs"].items()}
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
        raise UserError(f"trainer.precision: {NAME} does not go with {name}; use bf16-mixed, or trainer.strategy: ddp")
    if any(isinstance(c, WeightAveraging) for c in trainer.callbacks):
        raise UserError(f"trainer.precision: an average of the weights would be rounded with {NAME}; use bf16-mixed")


class MasterAdamW(torch.optim.AdamW):
    """Fused AdamW whose state holds fp32 weights for those in bfloat16; the model's are these, rounded.

    A weight in fp32 is its own master. ``found_inf`` and ``grad_scale`` are those of fused optimizers: a step is left out where the
    first is 1, gradients are divided by the second.
    """

    def __init__(self, params: Any, lr: float = 1e-3, **options: Any) -> None:
        super().__init__(params, lr=lr, fused=True, **options)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Takes a step. Returns the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        held: dict[str, Any] = {name: getattr(self, name, None) for name in ("grad_scale", "found_inf")}
        for group in self.param_groups:
            first, second = group["betas"]
            fixed: dict[str, Any] = {
                "lr": group["lr"],
                "beta1": first,
                "beta2": second,
                "weight_decay": group["weight_decay"],
                "eps": group["eps"],
            }
            for parameter in (p for p in group["params"] if p.grad is not None):
                state = self._state(parameter)
                state["step"] += 1
                for weight, grad, master, mean, square in _pieces(parameter, parameter.grad, *(state[k] for k in KEPT)):
                    torch._fused_adamw_(
                        [master], [grad.float()], [mean], [square], [], [state["step"]], amsgrad=False, maximize=False, **fixed, **held
                    )
                    if weight.dtype != master.dtype:
                        weight.copy_(master)
                if held["found_inf"] is not None:
                    state["step"] -= held["found_inf"].to(state["step"].device)
        return loss

    def _state(self, parameter: Tensor) -> dict[str, Tensor]:
        """State of a parameter: number of steps, fp32 weights, means of gradients and of their squares."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            same = parameter.dtype == torch.float32
            state["master"] = parameter.detach() if same else parameter.detach().float()
            state["exp_avg"], state["exp_avg_sq"] = (torch.zeros_like(parameter, dtype=torch.float32) for _ in range(2))
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes a state as it is: torch would round it to the type of the weights."""
        super().load_state_dict(state_dict)
        saved = (index for group in state_dict["param_groups"] for index in group["params"])
        own = (parameter for group in self.param_groups for parameter in group["params"])
        for index, parameter in zip(saved, own, strict=True):
            if index in state_dict["state"]:
                state = {k: v.to(parameter.device).clone() for k, v in state_dict["state"][index].items()}
                if parameter.dtype == torch.float32:
                    state["master"] = parameter.detach()
                self.state[parameter] = state


KEPT = ("master", "exp_avg", "exp_avg_sq")


def _pieces(*tensors: Tensor | None) -> Iterable[tuple[Tensor, ...]]:
    """Equal pieces of tensors of one shape, as flat views; whole tensors where the device has no cache worth it."""
    whole = [t.detach() for t in tensors if t is not None]
    size = PIECE.get(whole[0].device.type, whole[0].numel())
    if whole[0].numel() <= size or not all(t.is_contiguous() for t in whole):
        return [tuple(whole)]
    return _cut([t.view(-1) for t in whole], size)


def _cut(flat: list[Tensor], size: int) -> Iterator[tuple[Tensor, ...]]:
    for start in range(0, flat[0].numel(), size):
        yield tuple(t[start : start + size] for t in flat)
