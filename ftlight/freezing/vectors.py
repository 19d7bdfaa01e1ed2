"""The vectors of a split: what a linear head sees of each row, from one pass of the frozen rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ftlight.freezing import store as files
from ftlight.freezing.cache import PrefixCache
from ftlight.freezing.identity import batches
from ftlight.freezing.linear import Vectors
from ftlight.models.layers import layer_of, module_layers
from ftlight.models.modes import evaluating
from ftlight.utils.distributed import gather_objects


def linear_head(model: nn.Module) -> nn.Linear | str:
    """The only layer of a model's head that has weights, or why there is no such layer."""
    layers = module_layers(model)
    own = [
        (name, module)
        for name, module in model.named_modules()
        if layer_of(name, layers) == "head" and any(True for _ in module.parameters(recurse=False))
    ]
    if len(own) == 1 and type(own[0][1]) is nn.Linear:
        return own[0][1]
    if not own:
        return "the model has no head of its own"
    if len(own) > 1:
        return f"its head has several layers ({', '.join(name for name, _ in own)})"
    return f"its head is a {type(own[0][1]).__name__}"


def vectors(trainer: Any, task: Any, split: str, cache: PrefixCache | None = None) -> Vectors:
    """The vectors of a split, with their rows and targets, in the order of the rows.

    All processes must call this; each runs a share of the batches, and gets all. The batches are
    those of a store of activations: they depend on the data alone.

    Args:
        trainer: the trainer.
        task: the task; its head is one linear layer.
        split: train or validation.
        cache: stored activations to begin from, if it has a store open.

    Raises:
        ValueError: there is no linear head, or its vectors are not those of rows; says why.
    """
    layer = linear_head(task.model)
    if isinstance(layer, str):
        raise ValueError(layer)
    parts: list[Vectors] = []
    fault, room = "", int(task.cache_gb * 1e9 / trainer.world_size)
    try:
        with files.preserve_rng():  # iterating over a loader draws a random number
            for batch in share(trainer, split):
                seen = see(trainer, task, layer, batch, split, cache)
                found = task.head_vectors(batch, seen.states, seen.used())
                parts.append(Vectors(*(column.cpu() for column in found)))
                room -= 4 * found.states.numel()
                if room < 0:
                    raise ValueError("its vectors take more memory than model.cache_gb allows")
    except ValueError as error:
        fault = str(error)
    everyone = gather_objects((fault, parts), trainer.world_size)
    if faults := [fault for fault, _ in everyone if fault]:
        raise ValueError(faults[0])
    all_parts = [part for _, own in everyone for part in own]
    joined = Vectors(*(torch.cat(column) for column in zip(*all_parts, strict=True)))
    order = joined.rows.argsort(stable=True)
    return Vectors(*(column[order] for column in joined))


def share(trainer: Any, split: str) -> Iterator[dict[str, Any]]:
    """The batches of a split that this process runs."""
    table = trainer.datamodule.sets[split]
    return batches(trainer, table, trainer.global_rank, trainer.world_size)


class Seen(NamedTuple):
    """What a linear layer takes in and gives in a batch, and the loss that comes of it.

    Attributes:
        states: ``[rows, width]``, or ``[rows, tokens, width]`` if it runs on tokens.
        parts: the same with the outputs as width, one after the other if it runs several times;
            the loss is a function of these alone.
        loss: a scalar.
    """

    states: Tensor
    parts: list[Tensor]
    loss: Tensor

    def slope(self, loss: Tensor) -> Tensor:
        """The slope of a loss at the outputs, of their shape."""
        return torch.cat(torch.autograd.grad(loss, self.parts, retain_graph=True))

    def used(self) -> Tensor | None:
        """The tokens that the loss depends on, ``bool [rows, tokens]``; None without tokens."""
        if self.states.ndim == 2:
            return None
        return (self.slope(self.loss) != 0).any(-1)


def see(
    trainer: Any,
    task: Any,
    layer: nn.Linear,
    batch: dict[str, Any],
    split: str = "",
    cache: PrefixCache | None = None,
    trains: bool = False,
) -> Seen:
    """Runs a batch, and looks at a linear layer.

    Args:
        trainer: the trainer.
        task: the task.
        layer: the layer of its head.
        batch: a batch with targets.
        split: split of the batch.
        cache: stored activations to begin from, if it has a store open.
        trains: whether the loss is that of training; there is no dropout in any case.

    Raises:
        ValueError: the layer runs more than once, or stored activations are of other inputs.
    """
    taken: list[Tensor] = []
    given: list[Tensor] = []

    def swap(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        """Cuts the graph at the layer's output, so that the loss's slope there is known."""
        taken.append(args[0].detach())
        torch.set_grad_enabled(True)  # until no_grad ends
        given.append(output.detach().requires_grad_())
        return given[-1]

    def again(module: nn.Module, args: Any) -> None:
        """Keeps no graph below the layer if the model runs in parts."""
        torch.set_grad_enabled(False)

    hooks = layer.register_forward_hook(swap), task.model.register_forward_pre_hook(again)
    try:
        with evaluating(task), torch.no_grad(), trainer.precision_plugin.forward_context():
            if cache is not None:
                cache.feed(batch, split)
            task.training = trains
            loss = task.step(batch).loss
    finally:
        for hook in hooks:
            hook.remove()
        if cache is not None:
            cache.done()
    if not taken or (len(taken) > 1 and "windows" not in batch):
        raise ValueError(f"its layer runs {len(taken)} times a batch")
    return Seen(torch.cat(taken), given, loss)
