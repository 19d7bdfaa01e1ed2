"""A point in a model where activations are read, or put in with all that lies below skipped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ftlight.models.layers import Stack, layer_of, module_layers, stacks


class _Captured(Exception):
    """Ends a forward pass at the tap."""


def _heads(model: nn.Module) -> list[nn.Module]:
    """The innermost modules of the head."""
    found = module_layers(model)
    return [
        m
        for n, m in model.named_modules()
        if layer_of(n, found) == "head" and not list(m.children())
    ]


def reach(model: nn.Module, cut: int) -> int:
    """How many of ``cut`` frozen layers need not be run.

    All of them where the head is apart from the backbone, else one less; of an encoder and a decoder only the encoder's.
    """
    base = getattr(model, "base_model", model)
    lists = stacks(base)
    if not lists or cut < sum(len(s.layers) for s in lists):
        return min(cut, len(lists[0].layers) - 1) if lists else 0
    heads = _heads(model)
    inside = {id(m) for m in base.modules()}
    apart = base is not model and bool(heads) and not any(id(m) in inside for m in heads)
    return cut if apart else len(lists[0].layers) - 1


class Tap:
    """A point in a model where activations are read, or put in with all that lies below skipped.

    Args:
        model: the model.
        cut: number of frozen layers; all of them taps the input of the head, where that is apart from the backbone.

    Raises:
        ValueError: there is no such point; says why.
    """

    def __init__(self, model: nn.Module, cut: int) -> None:
        base = getattr(model, "base_model", model)
        self.base: Any = base
        root = next(f"{n}." if n else "" for n, m in model.named_modules() if m is base)
        all_stacks = stacks(base)
        modules = dict(model.named_modules())
        self.pending: Tensor | None = None
        self.capturing: Callable[[Tensor], None] | None = None
        self.returns: int | None = None
        self.output: Any = None
        self.turned = False  # XLNet's states are [tokens, rows, …]
        self.handles: list[Any] = []
        self.swapped: list[nn.Module] = []
        cut = reach(model, cut)
        self.at_head = bool(all_stacks) and cut == sum(len(s.layers) for s in all_stacks)
        if self.at_head:
            self.targets = _heads(model)
            self._swap(base, self._skip_base(base.forward))
        else:
            first = all_stacks[0] if all_stacks else Stack("", [])
            if any(len(names) > 1 for names in first.layers):
                raise ValueError("its layers are not modules of their own")
            if cut < 1:
                raise ValueError("it has a single layer")
            layers = [modules[root + names[0]] for names in first.layers]
            self.targets = [layers[cut]]
            self.handles.append(layers[0].register_forward_hook(self._note_return))
            for layer in layers[:cut]:
                self._swap(layer, self._skip_layer(layer.forward))
        self.cut = cut
        self.handles += [
            m.register_forward_pre_hook(self._at_target, with_kwargs=True) for m in self.targets
        ]

    def _swap(self, module: nn.Module, forward: Callable[..., Any]) -> None:
        module.forward = forward
        self.swapped.append(module)

    def remove(self) -> None:
        """Leaves the model as it was."""
        for handle in self.handles:
            handle.remove()
        for module in self.swapped:
            del module.forward
        self.handles, self.swapped, self.pending = [], [], None

    def _note_return(self, module: nn.Module, args: Any, output: Any) -> None:
        if self.pending is None:
            self.returns = len(output) if isinstance(output, tuple) else 0

    def _skip_layer(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def skipping(*args: Any, **kwargs: Any) -> Any:
            if self.pending is None:
                return forward(*args, **kwargs)
            states = args[0] if args else kwargs["hidden_states"]
            return (states, *[None] * (self.returns - 1)) if self.returns else states

        return skipping

    def _skip_base(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def skipping(*args: Any, **kwargs: Any) -> Any:
            if self.pending is None or self.output is None:
                output = forward(*args, **kwargs)
                if self.capturing is not None:
                    self._note_output(output, kwargs)
                return output
            kind, fields = self.output
            mask = kwargs.get("attention_mask")
            sizes = {-1: len(self.pending), -2: mask.shape[1] if mask is not None else 0}
            blank = {
                k: torch.zeros((), dtype=dtype, device=self.pending.device).expand(
                    [sizes.get(n, n) for n in shape]
                )
                for k, (shape, dtype) in fields.items()
            }
            return kind(**blank)

        return skipping

    def _note_output(self, output: Any, inputs: Mapping[str, Any]) -> None:
        """Remembers what the backbone gives, so that it can be given empty: -1 stands for rows, -2 for tokens."""
        mask = inputs.get("attention_mask")
        fields = {}
        for name, value in output.items():
            if isinstance(value, Tensor):
                shape = [-1, *value.shape[1:]]
                if mask is not None and value.ndim > 2 and value.shape[1] == mask.shape[1]:
                    shape[1] = -2
                fields[name] = (shape, value.dtype)
        self.output = (type(output), fields)

    def _at_target(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        if self.capturing is not None:
            self.capturing(args[0] if args else kwargs["hidden_states"])
            raise _Captured
        if self.pending is None:
            return None
        states, self.pending = self.pending, None
        states = states.transpose(0, 1) if self.turned else states
        return (
            ((states, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": states})
        )

    def capture(self, run: Callable[[], Any], rows: int) -> Tensor:
        """Activations at the tap while ``run`` runs the model; what lies above is not run.

        Returns:
            ``[rows, …]``.

        Raises:
            ValueError: the model never came to the tap, or not with all rows.
        """
        box: list[Tensor] = []
        self.pending, self.capturing = None, box.append
        try:
            run()
        except _Captured:
            states = box[0]
        else:
            raise ValueError("its layers are not run in order")
        finally:
            self.capturing = None
        if len(states) != rows and states.ndim > 2 and states.shape[1] == rows:
            self.turned = True
        states = states.transpose(0, 1) if self.turned else states
        if len(states) != rows:
            raise ValueError("it does not keep rows apart")
        return states
