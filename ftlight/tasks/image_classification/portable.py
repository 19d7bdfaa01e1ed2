"""A classifier of images as ONNX: its inputs, and the lines that prepare images and say labels."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ftlight.models.portable import Portable, image_lines
from ftlight.tasks import onnx_labels
from ftlight.tasks.classification import Classification
from ftlight.tasks.image_classification import preparing
from ftlight.tasks.image_classification.data import ImageData
from ftlight.tasks.image_classification.decoding import FORMATS, pillow
from ftlight.utils.errors import UserError

SIZES = ((97, 64), (64, 97), (300, 301), (41, 37))  # of the images that a recipe is tried on
SMALL_EDGE = 384  # up to it some processors cut a border off, rather than squeeze the image
PREDICT = """\


Image.init()
FORMATS = [name for name in SETTINGS["formats"] if name in Image.OPEN]  # others may start programs


def opened(name):
    image = ImageOps.exif_transpose(Image.open(name, formats=FORMATS))
    if "A" in image.getbands() or "transparency" in image.info:
        over = Image.new("RGBA", image.size, "white")
        over.alpha_composite(image.convert("RGBA"))
        image = over
    return prepared(image.convert("RGB"), SETTINGS)


def predict(rows):
    answers, pixels = [], np.stack([opened(row[SETTINGS["image"]]) for row in rows])
    found = MODEL.run(None, {"pixel_values": pixels})[0].astype(float)
    for logits in found * SETTINGS["factor"] + SETTINGS["shift"]:
"""


def prepared(image: Any, recipe: Mapping[str, Any]) -> np.ndarray:
    """Pixels of an RGB image as the model takes them, ``float32 [channels, height, width]``."""
    size = recipe["size"]
    if len(size) == 1:
        size = [int(size[0] * side / min(image.size)) for side in image.size]
    image = image.convert(recipe["mode"]).resize(size, recipe["resample"])
    left, top = ((side - kept) // 2 for side, kept in zip(image.size, recipe["crop"], strict=True))
    image = image.crop((left, top, left + recipe["crop"][0], top + recipe["crop"][1]))
    channels = np.asarray(image, np.float32).reshape(*recipe["crop"][::-1], -1).transpose(2, 0, 1)
    step, black = (np.array(recipe[name], np.float32)[:, None, None] for name in ("step", "black"))
    return channels * step + black


def recipe_of(made: Any) -> dict[str, Any]:
    """What :func:`prepared` needs to do as an image processor does.

    Raises:
        UserError: the processor does something else.
    """
    config, (height, width) = made.to_dict(), preparing.shape(made)
    edges, resample = config.get("size") or {}, config.get("resample")
    edge = edges.get("shortest_edge")
    size = [edge] if edge else [edges.get("width", width), edges.get("height", height)]
    if edge and config.get("crop_pct") and edge < SMALL_EDGE:
        size = [int(edge / config["crop_pct"])]
    step, black = preparing.pixel_scale(made)
    recipe = {
        "mode": "L" if preparing.channels(made) == 1 else "RGB",
        "size": size,
        "resample": 2 if resample is None else int(resample),
        "crop": [width, height],
        "step": step.flatten().tolist(),
        "black": black.flatten().tolist(),
    }
    noise = np.random.default_rng(0)
    for of_width, of_height in SIZES:
        values = noise.integers(0, 256, (of_height, of_width, 3), dtype=np.uint8)
        image = pillow().fromarray(values)
        wanted = preparing.pixels(made, image).numpy()
        if not np.allclose(prepared(image, recipe), wanted, atol=1e-4):
            kind = type(made).__name__
            raise UserError(
                f"--format onnx: {kind} prepares images in a way that Pillow alone cannot"
            )
    return recipe


def portable(task: Classification, data: ImageData) -> Portable:
    """What an ONNX folder of a classifier of images needs.

    Raises:
        UserError: the image processor does more than Pillow can.
    """
    made = data.processor
    shape = (2, preparing.channels(made), *preparing.shape(made))
    lines = re.sub(r"\(.*\) -> .*:", "(image, recipe):", inspect.getsource(prepared), count=1)
    settings = {"image": data.image, "formats": FORMATS, **recipe_of(made)}
    settings |= onnx_labels.settings(task)
    return Portable(
        {"pixel_values": torch.linspace(-1, 1, math.prod(shape)).reshape(shape)},
        ["logits"],
        settings,
        image_lines("Classifies images", lines + PREDICT + onnx_labels.LINES[task.kind]),
    )
