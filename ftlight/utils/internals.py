"""What ftlight needs of torch, transformers, datasets and jsonargparse that is not public.

Each with the reason. Nothing else in the package uses a private name of these;
``tests/utils/test_internals.py`` checks that, and that each behaves as expected in the pinned
versions. What is private in Lightning is in ``training/lightning_internals.py``, but for the two
that lower floors need.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

# The only base that all batch and instance norms share.
NormBase = _NormBase

# One call for many small tensors; the public operators would launch a kernel for each.
foreach_add_ = torch._foreach_add_
foreach_sub_ = torch._foreach_sub_
foreach_copy_ = torch._foreach_copy_
# torch.optim.AdamW(fused=True) calls it too, but only with weights of the gradients' type.
fused_adamw_ = torch._fused_adamw_
# Softmax and its gradient without autograd's bookkeeping, which a custom function has no use for.
softmax = torch._softmax
softmax_backward = torch._softmax_backward_data


def cpu_has_bfloat16() -> bool:
    """Whether the CPU computes in bfloat16 natively: torch has no public question for it."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def is_compiled(modules: Iterable[nn.Module]) -> bool:
    """Whether ``module.compile()`` was called on one: torch has no public question for it."""
    return any(module._compiled_call_impl is not None for module in modules)


def came_compiled(task: nn.Module) -> bool:
    """Whether Lightning unwrapped a task from ``torch.compile(task)``: only this tells."""
    return getattr(task, "_compiler_ctx", None) is not None


def attention_of(config: Any) -> str | None:
    """The attention a model runs: transformers has a public way to set it, but none to read it."""
    return config._attn_implementation


def can_set_attention(module: nn.Module) -> bool:
    """Whether a model takes another attention: transformers answers an error if it does not."""
    return bool(getattr(module, "_can_set_attn_implementation", bool)())


def fingerprint_of(table: Any) -> str:
    """What tells the content of a table of datasets, for the key of a cache: no public name."""
    return table._fingerprint


def indices_of(table: Any) -> Any:
    """Which rows of its file a table of datasets holds, in their order; None for all of them.

    To read many rows at once in blocks of the file: through datasets each would be looked up.
    """
    return None if table._indices is None else table._indices.column(0).to_numpy()


def actions_of(parser: Any) -> list[Any]:
    """The arguments of a parser: argparse and jsonargparse have no public list of them."""
    return parser._actions


def type_of(action: Any) -> Any:
    """The type of an argument of jsonargparse; empty if it has none."""
    return getattr(action, "_typehint", "")


def id_of_trial(trial: Any) -> int:
    """What Optuna's storage calls a trial: no public call takes up one that runs."""
    return int(trial._trial_id)


def let_errors_be_empty() -> None:
    """Lets jsonargparse pass on an error without a message, such as MemoryError or a bare assert.

    Its own function for the lines of a message takes the first of none: an IndexError hides the
    error that a class raised while it was made.
    """
    from jsonargparse import _typehints

    indent = _typehints.indent_text  # type: ignore[attr-defined]
    if not hasattr(indent, "copes"):

        @functools.wraps(indent)
        def coping(text: str, first_line: bool = True) -> str:
            return indent(text or "it has no message", first_line)

        coping.copes = True  # type: ignore[attr-defined]
        _typehints.indent_text = coping  # type: ignore[attr-defined]
