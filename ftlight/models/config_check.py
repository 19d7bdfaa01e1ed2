"""Numbers of a config.json that no machine can hold, found before a model is made of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

MOST_LAYERS = 10_000
LAYERS = re.compile(r"(^|_)(layers?|n_layers?|depths?|blocks|experts)$")
SHARE = re.compile(r"(^|_)(drop(out|path|_path)?|[a-z]*pdrop)(_(prob|rate|p))?$")


def fault(config: Mapping[str, Any], kind: type | None = None) -> str:
    """What is wrong with the numbers of layers and the dropout of a config; empty if nothing is.

    Args:
        config: the config.
        kind: its class, whose attributes are the defaults: null may not stand for a number.

    >>> fault({"num_hidden_layers": 12}), fault({"text_config": {"n_layer": 10**9}})
    ('', 'text_config.n_layer: 1000000000 is more than 10,000')
    >>> fault({"hidden_dropout_prob": 10.0})
    'hidden_dropout_prob: 10.0 is not between 0 and 1'
    >>> kind = type("Kind", (), {"attention_dropout": 0.0, "classifier_dropout": None})
    >>> fault({"classifier_dropout": None, "attention_dropout": None}, kind)
    'attention_dropout: null is not between 0 and 1'
    """
    for key, value in config.items():
        if value is None and SHARE.search(key) and getattr(kind, key, None) is not None:
            return f"{key}: null is not between 0 and 1"
    for key, value in _numbers(config):
        if LAYERS.search(key) and value > MOST_LAYERS:
            return f"{key}: {value} is more than {MOST_LAYERS:,}"
        if SHARE.search(key) and not 0 <= value <= 1:
            return f"{key}: {value} is not between 0 and 1"
    return ""


def _numbers(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yields the numbers of nested configs and of their lists, by dotted names."""
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{name}.")
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, (int, float)):
                yield name, item


def too_large(model: nn.Module) -> str:
    """Why a model is beyond this machine, in words; empty if it may load.

    Systems can give somewhat more memory than there is: twice as much is refused.

    Args:
        model: the model, without memory (on torch's device ``meta``).
    """
    memory = _memory()
    needed = 2 * sum(t.numel() for t in (*model.parameters(), *model.buffers()))  # in 16 bits
    if not memory or needed <= 2 * memory:
        return ""
    return (
        f"at least {needed / 1e9:,.0f} GB of weights, and this machine has {memory / 1e9:,.0f} GB"
    )


def _memory() -> int:
    """Bytes of this machine's memory; 0 if the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows
        return 0
