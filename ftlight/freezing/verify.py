"""Whether stored activations give the result of the whole model, checked on a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ftlight.freezing.store import ActivationStore, mask_of, preserve_rng
from ftlight.freezing.tap import Tap
from ftlight.models.modes import evaluating

# Noise of another batch, as a share of the largest activation.
NOISE_FP32 = 1e-4
NOISE_16_BITS = 5e-2
DIFFERS = "inputs differ between epochs (augmentation or masking?)"


def find_fault(
    task: Any, tap: Tap, store: ActivationStore, batch: dict[str, Any], split: str
) -> str:
    """Compares a pass from stored activations with one through all layers.

    Args:
        task: the task; random numbers go on as if it had not been run.
        tap: the tap in its model.
        store: the stored activations.
        batch: the batch.
        split: train or validation.

    Returns:
        Why the results would differ, or nothing.
    """
    precision = task.trainer.precision_plugin
    try:
        with preserve_rng(), precision.forward_context():
            with torch.enable_grad():
                live = tap.capture(lambda: task.step(batch), len(batch["index"]))
            if live.requires_grad:
                return "something below trains"
            stored = store.get(split, batch["index"], batch["inputs"])
            if stored is None:
                return DIFFERS
            low = "16" in str(task.trainer.precision) or live.dtype.itemsize < 4
            tolerance = NOISE_16_BITS if low else NOISE_FP32
            noise = _noise(stored, live, None if store.layout.per_row else mask_of(batch["inputs"]))
            if not noise <= tolerance:
                return (
                    "the frozen layers give another result when run again"
                    f" (by {noise:.1g}): is there randomness in them?"
                )
            if not _same_outputs(task, tap, batch, live.detach(), stored, tolerance):
                return "this architecture gives another result when its lower layers are skipped"
            return ""
    except Exception as error:  # whatever a model does when its lower layers are skipped
        return f"this architecture cannot skip its lower layers ({type(error).__name__})"


def _noise(stored: Tensor, live: Tensor, mask: Tensor | None) -> float:
    """The largest difference at real tokens, as a share of the largest activation."""
    largest = live.float().abs().max().clamp(min=1e-12)
    if mask is not None:
        stored, live = stored[mask], live[mask]
    return float((stored.float() - live.float()).abs().max() / largest)


def _same_outputs(
    task: Any, tap: Tap, batch: dict[str, Any], live: Tensor, stored: Tensor, tolerance: float
) -> bool:
    """Whether the task's outputs are exact from live activations, and close from stored ones."""
    with evaluating(task), torch.no_grad():
        whole = _outputs(task, tap, batch, None)
        from_live = _outputs(task, tap, batch, live)
        from_stored = _outputs(task, tap, batch, stored)
    exact = torch.equal(whole, from_live) or (
        whole.is_cuda and torch.allclose(whole, from_live, atol=1e-5)
    )
    close = 10 * tolerance * float(whole.abs().max().clamp(min=1))
    return exact and torch.allclose(whole, from_stored, rtol=0, atol=close)


def _outputs(task: Any, tap: Tap, batch: dict[str, Any], states: Tensor | None) -> Tensor:
    """Outputs of the task as fp32, from activations at the tap if given."""
    tap.feed(states)
    try:
        outputs = task.step(batch).outputs
    finally:
        tap.feed(None)
    if isinstance(outputs, list):
        outputs = torch.cat([o.flatten() for o in outputs])
    return outputs.float()
