"""A tiny ResNet and squares of colour in three classes, in a zip with folders for splits."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import torch

COLOURS = {"blue": (40, 60, 220), "green": (50, 200, 40), "red": (220, 50, 60)}


def square(number: int, size: tuple[int, int] = (24, 20), kind: str = "JPEG") -> tuple[str, bytes]:
    """A noisy square of colour as an image file, by default JPEG, and the name of its colour."""
    from PIL import Image

    name = list(COLOURS)[number % 3]
    noise = np.random.default_rng(number).integers(-35, 36, (size[1], size[0], 3))
    pixels = np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return name, file.getvalue()


def write_zip(path: Path, sizes: dict[str, int]) -> str:
    """Writes a zip of folders for splits, with folders for classes in them."""
    with zipfile.ZipFile(path, "w") as archive:
        for split, count in sizes.items():
            for i in range(count):
                name, data = square(i + 1000 * len(split))
                archive.writestr(f"squares/{split}/{name}/{i}.jpg", data)
    return str(path)


def make_resnet(folder: Path, labels: int = 7, wide: bool = False, edge: int = 32) -> str:
    """Writes a ResNet of a few thousand parameters, trained for another number of labels."""
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    config = ResNetConfig(
        embedding_size=16 if wide else 8,
        hidden_sizes=[16] * 5 if wide else [8, 8, 12, 12, 16],
        depths=[1] * 5,
        layer_type="basic",
        num_labels=labels,
    )
    ResNetForImageClassification(config).save_pretrained(folder)
    settings = {
        "image_processor_type": "ConvNextImageProcessor",
        "size": {"shortest_edge": edge},
        "crop_pct": 0.875,
        "resample": 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return str(folder)


def fit(folder: Path) -> list[str]:
    """Words that override a config."""
    data = write_zip(folder / "squares.zip", {"train": 36, "val": 12, "test": 12})
    # oneDNN's bfloat16 gradient of a strided convolution over a single pixel is not finite
    backbone = make_resnet(folder / "resnet", edge=64)
    return f"--model.backbone {backbone} --data.train {data} --data.batch_size 8".split()


def predict(folder: Path) -> list[str]:
    """Words after ``predict RUN``."""
    (folder / "one.jpg").write_bytes(square(1)[1])
    return [str(folder / "one.jpg")]
