"""Random crops, flips and colour of training images, drawn from a given random generator."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np

from ftlight.tasks.image_classification.decoding import pillow

Augment = Literal["none", "light", "strong"]
Flip = Literal["horizontal", "any", "none"]


class Strength(NamedTuple):
    """How far augmentation goes.

    Attributes:
        area: the least share of the image that a crop keeps.
        colour: the most that brightness, contrast and saturation change, as a share.
        gray: how often the colour is taken out.
        erase: how often a rectangle is painted gray.
    """

    area: float
    colour: float
    gray: float = 0.0
    erase: float = 0.0


STRENGTH = {"light": Strength(0.5, 0.1), "strong": Strength(0.2, 0.4, 0.1, 0.25)}


def augment(
    image: Any,
    level: Augment,
    flip: Flip,
    size: tuple[int, int],
    resample: int,
    rng: np.random.Generator,
) -> Any:
    """A random crop, resized and flipped, with random colour.

    Crops are those of Szegedy et al. 2015 (share of the area, sides from 3:4 to 4:3).

    Args:
        image: RGB image.
        level: light or strong; none changes nothing.
        flip: horizontal mirrors left and right, any also turns by quarters (for images without an
            up), none does neither.
        size: height and width of the result.
        resample: Pillow's number of a filter.
        rng: random generator; equal ones give equal images.
    """
    if level == "none":
        return image
    from PIL import ImageEnhance

    strength = STRENGTH[level]
    box = crop(image.width, image.height, strength.area, rng)
    image = image.resize((size[1], size[0]), resample, box=box)
    mirror, turn = bool(rng.random() < 0.5), int(rng.integers(4))
    transpose = pillow().Transpose
    if flip != "none" and mirror:
        image = image.transpose(transpose.FLIP_LEFT_RIGHT)
    if flip == "any" and turn and (turn == 2 or size[0] == size[1]):
        turns = (transpose.ROTATE_90, transpose.ROTATE_180, transpose.ROTATE_270)
        image = image.transpose(turns[turn - 1])
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = change(image).enhance(float(rng.uniform(1 - strength.colour, 1 + strength.colour)))
    if rng.random() < strength.gray:
        image = image.convert("L").convert("RGB")
    if rng.random() < strength.erase:
        left, top, right, bottom = crop(image.width, image.height, 0.05, rng, 0.25)
        image.paste((128, 128, 128), (int(left), int(top), math.ceil(right), math.ceil(bottom)))
    return image


def crop(
    width: int, height: int, area: float, rng: np.random.Generator, most: float = 1.0
) -> tuple[float, float, float, float]:
    """A random box inside an image: left, top, right, bottom in pixels.

    Args:
        width: of the image, in pixels.
        height: of the image, in pixels.
        area: the least share of the image's area.
        rng: random generator.
        most: the largest share of it.
    """
    share = rng.uniform(area, most)
    ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    wide = min(width, math.sqrt(share * width * height * ratio))
    high = min(height, math.sqrt(share * width * height / ratio))
    left, top = rng.uniform(0, width - wide), rng.uniform(0, height - high)
    return left, top, left + wide, top + high
