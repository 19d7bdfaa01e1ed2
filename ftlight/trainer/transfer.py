"""Weights of a run that another one begins with; those of the head by the names of labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ftlight.models.scale import output_layers
from ftlight.task import Task
from ftlight.utils.errors import UserError, join_limited


def copy_rows(
    own: Tensor, theirs: Tensor, names: Sequence[str], their_names: Sequence[str]
) -> Tensor:
    """Rows of a last layer, by what they stand for; new names keep their own.

    Args:
        own: weight or bias, ``[names, …]``.
        theirs: the same of another layer, ``[their names, …]``.
        names: what each row stands for.
        their_names: the same of the other layer.

    >>> copy_rows(torch.zeros(3), torch.tensor([1.0, 2.0]), ["b", "c", "a"], ["a", "b"]).tolist()
    [2.0, 0.0, 1.0]
    """
    place = {name: i for i, name in enumerate(their_names)}
    rows = [theirs[place[name]] if name in place else own[i] for i, name in enumerate(names)]
    return torch.stack(rows)


def take(task: Task, other: Task, name: str) -> str:
    """Copies the weights of a trained task into one that is to be trained.

    Adapters are merged, unless the new task has the same.

    Args:
        task: the task to be trained, not yet divided among devices.
        other: the trained one.
        name: what errors call the latter.

    Returns:
        A line that says what was kept.

    Raises:
        UserError: the two are not of one architecture.
    """
    if task.peft is None:
        other.merge_adapters()
    elif other.peft is None:
        # a checkpoint with adapters lacks the weights under them: those of the backbone
        raise UserError(
            f"--from {name}: adapters lie on pre-trained weights, not on those of a run; export"
            " it and give the folder as model.backbone, or leave out model.peft"
        )
    own, theirs = task.state_dict(), other.state_dict()
    labels, known = list(task.output_names), list(other.output_names)
    by_name = set[str]()
    if labels and known:
        by_name = _rows_of(task.model, len(labels)) & _rows_of(other.model, len(known))
    taken, unlike = {}, []
    for key, value in own.items():
        found = theirs.get(key)
        if found is not None and key in by_name:
            taken[key] = copy_rows(value, found.to(value.device, value.dtype), labels, known)
        elif found is not None and found.shape == value.shape:
            taken[key] = found
        else:
            unlike.append(key)
    if unlike:
        raise UserError(
            f"--from {name}: {len(unlike):,} of {len(own):,} weights have another name or shape"
            f" there (first {unlike[0]}); it was trained on {other.backbone}, this is"
            f" {task.backbone}: give the same backbone, head and adapters"
        )
    task.load_state_dict(taken, strict=False)
    task.take_state(other)
    return _kept(task.labels, other.labels)


def _rows_of(model: nn.Module, outputs: int) -> set[str]:
    """Names in the state of a task of the weights that have a row for each output."""
    of_head = {id(p) for layer in output_layers(model, outputs) for p in layer.parameters()}
    return {f"model.{name}" for name, p in model.named_parameters() if id(p) in of_head}


def _kept(labels: Sequence[str], known: Sequence[str]) -> str:
    """What became of labels, in words."""
    new = [label for label in labels if label not in known]
    gone = [label for label in known if label not in labels]
    if not labels:
        return "all weights"
    words = f"all weights; {len(labels) - len(new):,} labels keep their rows of the head"
    if new:
        words += f", {len(new):,} new: {join_limited(new, 4)}"
    return words + (f"; left out: {join_limited(gone, 4)}" if gone else "")
