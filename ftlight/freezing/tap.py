"""Captures activations at a point in a model, or injects them and skips the layers below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ftlight.models.layers import layer_of, module_layers, stacks


class _Captured(Exception):
    """Ends a forward pass at the tap."""


def _head_modules(model: nn.Module) -> list[nn.Module]:
    """The innermost modules of the head."""
    layers = module_layers(model)
    return [
        module
        for name, module in model.named_modules()
        if layer_of(name, layers) == "head" and not list(module.children())
    ]


def reach(model: nn.Module, cut: int) -> int:
    """How many of ``cut`` frozen layers can be skipped.

    All of them if the head is apart from the backbone, else one less; of an encoder-decoder only
    layers of the encoder.
    """
    base = getattr(model, "base_model", model)
    lists = stacks(base)
    if not lists:
        return 0
    below_top = len(lists[0].layers) - 1
    if cut < sum(len(s.layers) for s in lists):
        return min(cut, below_top)
    heads = _head_modules(model)
    inside = {id(m) for m in base.modules()}
    apart = base is not model and bool(heads) and not any(id(m) in inside for m in heads)
    return cut if apart else below_top


class Tap:
    """A point in a model: captures activations there, or injects them and skips the layers below.

    Args:
        model: the model.
        cut: number of frozen layers. All of them taps the input of the head, if that is apart
            from the backbone.

    Raises:
        ValueError: there is no such point; says why.
    """

    def __init__(self, model: nn.Module, cut: int) -> None:
        self.base: Any = getattr(model, "base_model", model)
        self.pending: Tensor | None = None  # what the next forward pass takes in
        self.fed: tuple[list[Tensor], Tensor] | None = None  # inputs of the last, and what it took
        self.capturing: Callable[[Tensor], None] | None = None
        self.tuple_length: int | None = None  # of a layer's output; 0 if it is no tuple
        self.output: Any = None  # type and fields of the backbone's output
        self.transposed = False  # XLNet's states are [tokens, rows, …]
        hook = self.base.register_forward_pre_hook(self._begin, with_kwargs=True)
        self.handles: list[Any] = [hook]
        self.swapped: list[nn.Module] = []
        self.cut = reach(model, cut)
        all_stacks = stacks(self.base)
        self.at_head = bool(all_stacks) and self.cut == sum(len(s.layers) for s in all_stacks)
        if self.at_head:
            targets = _head_modules(model)
            self._swap(self.base, self._skip_base(self.base.forward))
        else:
            layers = self._lowest_stack(model)
            targets = [layers[self.cut]]
            self.handles.append(layers[0].register_forward_hook(self._note_tuple))
            for layer in layers[: self.cut]:
                self._swap(layer, self._skip_layer(layer.forward))
        for module in targets:
            hook = module.register_forward_pre_hook(self._at_target, with_kwargs=True)
            self.handles.append(hook)

    def _lowest_stack(self, model: nn.Module) -> list[nn.Module]:
        """The layers of the lowest stack, in order."""
        modules = dict(model.named_modules())
        root = next(f"{n}." if n else "" for n, m in modules.items() if m is self.base)
        all_stacks = stacks(self.base)
        names = all_stacks[0].layers if all_stacks else []
        if any(len(parts) > 1 for parts in names):
            raise ValueError("its layers are not modules of their own")
        if self.cut < 1:
            raise ValueError("it has a single layer")
        return [modules[root + parts[0]] for parts in names]

    def _swap(self, module: nn.Module, forward: Callable[..., Any]) -> None:
        module.forward = forward
        self.swapped.append(module)

    def remove(self) -> None:
        """Leaves the model as it was."""
        for handle in self.handles:
            handle.remove()
        for module in self.swapped:
            del module.forward
        self.handles, self.swapped = [], []
        self.feed(None)

    # Injecting

    def feed(self, states: Tensor | None) -> None:
        """Gives the next pass these states, and any that follow on the same inputs; None ends."""
        self.pending, self.fed = states, None

    def _begin(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Feeds a pass on the inputs of the last one, as R-Drop makes it, with the same states."""
        inputs = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        if self.pending is not None:
            self.fed = (inputs, self.pending)
        elif self.fed is not None and list(map(id, inputs)) == list(map(id, self.fed[0])):
            self.pending = self.fed[1]

    def _note_tuple(self, module: nn.Module, args: Any, output: Any) -> None:
        """Remembers what a layer returns, so that a skipped one returns the same."""
        if self.pending is None:
            self.tuple_length = len(output) if isinstance(output, tuple) else 0

    def _skip_layer(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def skipping(*args: Any, **kwargs: Any) -> Any:
            if self.pending is None:
                return forward(*args, **kwargs)
            states = args[0] if args else kwargs["hidden_states"]
            return (states, *[None] * (self.tuple_length - 1)) if self.tuple_length else states

        return skipping

    def _skip_base(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def skipping(*args: Any, **kwargs: Any) -> Any:
            if self.pending is None or self.output is None:
                output = forward(*args, **kwargs)
                if self.capturing is not None:
                    self._note_output(output, kwargs)
                return output
            return self._blank_output(self.pending, kwargs.get("attention_mask"))

        return skipping

    def _note_output(self, output: Any, inputs: Mapping[str, Any]) -> None:
        """Remembers the backbone's output to return it blank: -1 means rows, -2 tokens."""
        mask = inputs.get("attention_mask")
        fields = {}
        for name, value in output.items():
            if isinstance(value, Tensor):
                shape = [-1, *value.shape[1:]]
                if mask is not None and value.ndim > 2 and value.shape[1] == mask.shape[1]:
                    shape[1] = -2
                fields[name] = (shape, value.dtype)
        self.output = (type(output), fields)

    def _blank_output(self, states: Tensor, mask: Tensor | None) -> Any:
        """An output of the backbone for these rows that takes no memory."""
        kind, fields = self.output
        sizes = {-1: len(states), -2: mask.shape[1] if mask is not None else 0}
        blank = {}
        for name, (shape, dtype) in fields.items():
            zero = torch.zeros((), dtype=dtype, device=states.device)
            blank[name] = zero.expand([sizes.get(n, n) for n in shape])
        return kind(**blank)

    def _at_target(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        """Captures the target's input, or replaces it by what is pending."""
        if self.capturing is not None:
            self.capturing(args[0] if args else kwargs["hidden_states"])
            raise _Captured
        if self.pending is None:
            return None
        states, self.pending = self.pending, None
        states = states.transpose(0, 1) if self.transposed else states
        if args:
            return (states, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": states}

    # Capturing

    def capture(self, run: Callable[[], Any], rows: int) -> Tensor:
        """Captures the activations at the tap; what lies above is not run.

        Args:
            run: runs the model.
            rows: rows of the batch.

        Returns:
            ``[rows, …]``.

        Raises:
            ValueError: the model never came to the tap, or mixes rows.
        """
        captured: list[Tensor] = []
        self.feed(None)
        self.capturing = captured.append
        try:
            run()
        except _Captured:
            states = captured[0]
        else:
            raise ValueError("its layers are not run in order")
        finally:
            self.capturing = None
        if len(states) != rows and states.ndim > 2 and states.shape[1] == rows:
            self.transposed = True
        states = states.transpose(0, 1) if self.transposed else states
        if len(states) != rows:
            raise ValueError("it does not keep rows apart, or a row has several windows")
        return states
