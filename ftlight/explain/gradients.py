"""Integrated gradients: what each word adds on the way from a masked text to the text.

Sundararajan, Taly and Yan 2017 (arXiv:1703.01365), on the embeddings of words: those of places and
the norm above them are not moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from torch import Tensor, nn

from ftlight.data.files import Row
from ftlight.explain.units import Unit
from ftlight.metrics.evaluation import Asked
from ftlight.trainer.predictor import Predictor
from ftlight.utils.errors import UserError

STEPS = 32  # points of the path, doubled while shares are off by more than GAP
GAP = 0.02
MOST = 40_000  # tokens of all points, for which there is memory
WHY = "needs rows whose texts the model reads as they are, in one window; use occlusion"


class Path(NamedTuple):
    """What integrated gradients found.

    Attributes:
        tokens: share of each token in the support ``[tokens]``.
        end: support of the text.
        begin: support of the masked text.
    """

    tokens: Tensor
    end: float
    begin: float

    @property
    def gap(self) -> float:
        """How far the shares are from adding up to the difference of the ends, as a share of it."""
        whole = self.end - self.begin
        return abs(float(self.tokens.sum()) - whole) / max(abs(whole), 1e-6)


def weigh(
    predictor: Predictor, row: Row, asked: Asked, words: Sequence[Unit]
) -> tuple[float, np.ndarray]:
    """Weighs the words of a row by their share in the support of an answer.

    Args:
        predictor: the model.
        row: the row.
        asked: the answer.
        words: the words.

    Returns:
        The support of the row, and the weight of each word ``[words]``.

    Raises:
        UserError: the row is not read as plain texts, or in several windows.
    """
    path, owners = fine(predictor, row, asked, words)
    weights = np.zeros(len(words))
    for share, owner in zip(path.tokens.tolist(), owners, strict=True):
        if owner is not None:
            weights[owner] += share
    return path.end, weights


def fine(
    predictor: Predictor, row: Row, asked: Asked, words: Sequence[Unit]
) -> tuple[Path, list[int | None]]:
    """Integrates with as many points as the shares need to add up, and the word of each token.

    Args:
        predictor: the model.
        row: the row.
        asked: the answer.
        words: the words.

    Raises:
        UserError: the row is not read as plain texts, or in several windows.
    """
    steps = STEPS
    while True:
        batch, owners = read(predictor, row, words, steps)
        path = integrate(predictor, batch, asked, owners, steps)
        if path.gap <= GAP or 2 * steps * len(owners) > MOST:
            return path, owners
        steps *= 2


def read(
    predictor: Predictor, row: Row, words: Sequence[Unit], steps: int = STEPS
) -> tuple[dict[str, Any], list[int | None]]:
    """A batch of the row for each point of the path and both ends, and the word of each token.

    Returns:
        The batch, and for each token the number of the word that it is of.

    Raises:
        UserError: the tokens are not those of the row's texts, one after the other.
    """
    data, count = predictor.data, steps + 2
    data.set_predict([row] * count)
    at_once, data.batch_size = data.batch_size, count
    try:
        batch, *more = data.predict_dataloader()
    finally:
        data.batch_size = at_once
    ids = batch.get("inputs", {}).get("input_ids")
    texts = data.texts_of(row)
    if more or ids is None or len(ids) != count or len(texts) > 2 or not data.tokenizer.is_fast:
        raise UserError(f"--method ig: {WHY}")
    made = data.tokenizer(
        *texts.values(), truncation=True, max_length=len(ids[0]), return_offsets_mapping=True
    )
    if made["input_ids"] != ids[0].tolist():
        raise UserError(f"--method ig: {WHY}")
    return batch, _owners(made, list(texts), words)


def _owners(made: Any, names: Sequence[str], words: Sequence[Unit]) -> list[int | None]:
    """The number of the word that each token is of; None if it is of none."""
    places: dict[tuple[str, int], int] = {}
    for i, word in enumerate(words):
        places.update(((word.text, place), i) for place in range(word.start, word.end))
    found = []
    for side, (start, end) in zip(made.sequence_ids(), made["offset_mapping"], strict=True):
        name = "" if side is None else names[side]
        owners = (places.get((name, place)) for place in range(start, end))
        found.append(next((owner for owner in owners if owner is not None), None))
    return found


def integrate(
    predictor: Predictor,
    batch: dict[str, Any],
    asked: Asked,
    owners: Sequence[int | None],
    steps: int = STEPS,
) -> Path:
    """Integrates the gradients of a support along the way from masked words to the words.

    By Gauss and Legendre's rule, at whose points a smooth function needs the fewest.

    Args:
        predictor: the model.
        batch: a batch of the row, as often as the path has points and ends.
        asked: the answer.
        owners: for each token the word that it is of; others are not masked.
        steps: points of the path.
    """
    task, tokenizer = predictor.task, predictor.data.tokenizer
    table = _embeddings(task.model)
    fill = next(
        token for token in (tokenizer.mask_token_id, tokenizer.pad_token_id, 0) if token is not None
    )
    ids = batch["inputs"]["input_ids"][0].to(task.device)
    blank = torch.where(torch.tensor([o is None for o in owners], device=ids.device), ids, fill)
    with torch.no_grad():
        start, stop = table(blank), table(ids)
    points, shares = np.polynomial.legendre.leggauss(steps)
    along = torch.tensor(np.concatenate([[0.0], (points + 1) / 2, [1.0]]), dtype=stop.dtype)
    path = start + along.to(stop.device)[:, None, None] * (stop - start)
    path.requires_grad_()

    def put(module: Any, args: Any, output: Tensor) -> Tensor:
        return path

    handle = table.register_forward_hook(put)
    try:
        with torch.enable_grad(), predictor.precision.forward_context():
            inputs = move_data_to_device(batch, task.device)
            found = task.support(predictor.precision.convert_input(inputs), [asked] * len(path))
            (slopes,) = torch.autograd.grad(found.sum(), path)
    finally:
        handle.remove()
    weights = torch.tensor(shares / 2, dtype=slopes.dtype, device=slopes.device)
    mean = (weights[:, None, None] * slopes[1:-1]).sum(0)
    tokens = ((stop - start) * mean).sum(-1).float().cpu()
    ends = found.detach()
    return Path(tokens, float(ends[-1]), float(ends[0]))


def _embeddings(model: nn.Module) -> nn.Module:
    """The layer that turns tokens into vectors, of the outermost model that says which it is."""
    for module in model.modules():
        if hasattr(module, "get_input_embeddings"):
            layer: Any = module
            found: nn.Module = layer.get_input_embeddings()
            return found
    raise UserError(f"--method ig: {type(model).__name__} does not say where tokens are embedded")
