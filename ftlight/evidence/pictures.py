"""Images that look the same, though their files differ: other formats, sizes, compression."""

from __future__ import annotations

import torch
from torch import Tensor

SIDE = 8
APART = 3  # of 64 bits: those of the same picture, saved anew in another quality or size


def marks(pixels: Tensor) -> Tensor:
    """Difference hashes of images, bool ``[images, 64]``: is a place darker than its neighbour?

    Krawetz (2013), "Kind of like that". Of the images as the model sees them, so that none is
    decoded twice.

    Args:
        pixels: ``[images, channels, height, width]``.
    """
    gray = pixels.float().mean(1, keepdim=True)
    small = torch.nn.functional.interpolate(gray, (SIDE, SIDE + 1), mode="area")[:, 0]
    return (small[:, :, 1:] > small[:, :, :-1]).flatten(1)


def twins(one: Tensor, other: Tensor | None = None) -> list[tuple[int, int]]:
    """Pairs of images that look the same, the earlier first.

    Args:
        one: marks ``bool [images, 64]``.
        other: those of another split; without it pairs within one.
    """
    signs, others = (2.0 * m.float() - 1 for m in (one, one if other is None else other))
    pairs = []
    for row, sign in enumerate(signs):
        apart = (64 - others @ sign) / 2
        near = torch.nonzero(apart <= APART)[:, 0].tolist()
        pairs += [(row, n) for n in near if other is not None or n > row]
    return pairs
