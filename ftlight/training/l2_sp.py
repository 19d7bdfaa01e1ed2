"""L2-SP: weights are pulled towards those that a run began with, in place of weight decay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from torch import Tensor, nn

from ftlight.training.fsdp import FSDP2
from ftlight.utils.errors import UserError

START = "start"  # key of an optimizer's state: checkpoints hold it, and what takes steps back


class Pull:
    """Pulls weights towards where they were before their first step, after each step of theirs.

    The pull is a share ``lr · strength`` of the way, apart from the gradients, as AdamW's decay is
    towards 0. Sources: Li et al. 2018, arXiv:1802.01483 (L2-SP); Loshchilov & Hutter 2019,
    arXiv:1711.05101 (the decay apart from the gradients).

    Args:
        optimizer: the optimizer; its state holds the start.
        parameters: those to be pulled.
        strength: factor on the learning rate.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        parameters: Iterable[nn.Parameter],
        strength: float,
    ) -> None:
        self.parameters, self.strength = set(parameters), strength
        self.before: dict[nn.Parameter, Tensor] = {}
        optimizer.register_step_pre_hook(self.note)
        optimizer.register_step_post_hook(self.pull)

    def note(self, optimizer: torch.optim.Optimizer, *step: Any) -> None:
        """Copies weights that have not had a step yet: optimizers begin a state with their own."""
        for parameter in self.parameters:
            known = parameter in self.before or START in optimizer.state.get(parameter, {})
            if parameter.requires_grad and not known:
                kind = torch.promote_types(parameter.dtype, torch.float32)
                self.before[parameter] = parameter.detach().to(kind, copy=True)

    @torch.no_grad()
    def pull(self, optimizer: torch.optim.Optimizer, *step: Any) -> None:
        """Pulls what had a step; nothing if a fused optimizer was kept from it."""
        found_inf = getattr(optimizer, "found_inf", None)
        for group in optimizer.param_groups:
            share = min(group["lr"] * self.strength, 1.0)
            for parameter in group["params"]:
                if parameter not in self.parameters or parameter.grad is None:
                    continue
                state = optimizer.state[parameter]
                if START not in state:
                    state[START] = self.before.pop(parameter)
                weight = state.get("master", parameter)
                way = (state[START] - weight) * share
                weight.add_(way if found_inf is None else way * (1 - found_inf))
                if weight is not parameter:
                    parameter.copy_(weight)


def check(strategy: Strategy, pretrained: bool) -> None:
    """Refuses strategies whose optimizer steps on other weights than the model's, and no start.

    Raises:
        UserError: the strategy is one of them, or the weights began as random ones.
    """
    if not pretrained:
        raise UserError("model.l2_sp: random weights (model.pretrained: false) are no start")
    if not isinstance(strategy, (SingleDeviceStrategy, DDPStrategy, FSDP2)):
        raise UserError(
            f"model.l2_sp: {type(strategy).__name__} keeps weights of its own;"
            " use trainer.strategy: ddp or fsdp2"
        )
