"""Classifies images: one label, several labels, or a number."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ftlight.baselines.ladder import Ladder
from ftlight.data.module import DataModule
from ftlight.models.modes import evaluating
from ftlight.models.portable import Portable
from ftlight.tasks import temperature
from ftlight.tasks.classification import Classification
from ftlight.tasks.image_classification import cheap, portable, preparing
from ftlight.tasks.image_classification.data import ImageData
from ftlight.utils import internals
from ftlight.utils.ranges import Count

CONVOLUTIONAL_LR = 5e-4  # learning rate of networks with batch normalisation
DROPOUT = 0.2  # the most dropout before the head, unless the user sets it
GRAY = """from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification
prepare = AutoImageProcessor.from_pretrained(FOLDER)
model = AutoModelForImageClassification.from_pretrained(FOLDER)
images = [Image.open(path).convert("L") for path in paths]
model(**prepare(images, return_tensors="pt")).logits.softmax(-1)"""
SMALL = 64  # side, in pixels, of the images a model is tried on


class ImageClassification(Classification):
    """Classifies images: one label, several labels, or a number.

    Args:
        backbone: Pre-trained model: a hub id (OWNER/NAME) or a local folder.
        batch_norm: Statistics of batch normalisation: frozen keeps the pre-trained ones; train
            updates them, for large data that differ from the pre-training's.
        cache_draws: Augmented forms of each image, one an epoch in turn, while lower layers are
            frozen, whose output is kept for each; 0 for new ones in every epoch.
        base: Options of Classification.
    """

    data_module = "ftlight.ImageData"
    pipeline_tag = "image-classification"

    def __init__(
        self,
        backbone: str,
        *,
        batch_norm: Literal["frozen", "train"] = "frozen",
        cache_draws: Count = 4,
        **base: Any,
    ) -> None:
        super().__init__(backbone, **base)
        self.batch_norm = batch_norm
        self.cache_draws = cache_draws
        self.model = self.native("AutoModelForImageClassification")
        in_backbone = {id(m) for m in self.model.base_model.modules()}  # type: ignore[union-attr]
        for module in self.model.modules():
            if isinstance(module, nn.Dropout) and id(module) not in in_backbone:
                # MobileNets come with 0.8, which was the share to keep.
                module.p = min(module.p, DROPOUT) if self.dropout is None else self.dropout
        self.norms = [m for m in self.model.modules() if isinstance(m, internals.NormBase)]
        if self.norms and not self.lr_given:
            self.lr = CONVOLUTIONAL_LR
        # Convolutions are nearly twice as fast with channels last.
        self.channels_last = bool(self.norms) and _takes_channels_last(self.model)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Returns logits ``[rows, labels]``, or values ``[rows]`` for a regression.

        Args:
            inputs: ``pixel_values``, ``float [rows, channels, height, width]``.
        """
        if self.channels_last:
            inputs = {k: v.contiguous(memory_format=torch.channels_last) for k, v in inputs.items()}
        return super().forward(inputs)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Keeps the statistics of batch normalisation; its scale and shift still train."""
        if self.batch_norm == "frozen" and self.pretrained:  # a random model has none to keep
            for norm in self.norms:
                norm.training = False

    def ladder(self, data: DataModule) -> Ladder | str:
        """Majority, the nearest image, a solved probe."""
        assert isinstance(data, ImageData)
        return cheap.ladder(self, data)

    def describe(self) -> str:
        """Kind of labels, head, and size of the images."""
        height, width = 0, 0
        if isinstance(self.data, ImageData):
            height, width = preparing.shape(self.data.processor)
        return f"{self.describe_kind()}, native head, {height} x {width} pixels"

    def export(self, folder: Path, data: DataModule) -> str:
        """Writes a transformers folder with its image processor."""
        assert isinstance(data, ImageData)
        self.write_labels(folder)
        rest, heat = self.fold_scale(), temperature.fold(self, self.outputs, _probe(data.processor))
        self.model.save_pretrained(folder)  # type: ignore[operator]
        data.processor.save_pretrained(folder)
        how = (
            "from transformers import pipeline\n"
            'pipeline("image-classification", FOLDER)(images)  # paths or PIL images, in RGB'
        )
        if preparing.channels(data.processor) == 1:  # the pipeline gives RGB
            how = GRAY
        how += heat
        return f"{how}\n# add {rest!r} to each score: the head has no bias" if rest else how

    def portable(self, data: DataModule) -> Portable:
        """Its logits, and the lines that prepare images and make labels or values of them."""
        assert isinstance(data, ImageData)
        return portable.portable(self, data)


def _probe(processor: Any) -> dict[str, Tensor]:
    """An image as a model takes it, to try the model on."""
    shape = (1, preparing.channels(processor), *preparing.shape(processor))
    return {"pixel_values": torch.linspace(-1, 1, math.prod(shape)).reshape(shape)}


def _is_thin(module: nn.Module) -> bool:
    """Whether a layer may crash on channels-last images.

    The backward pass of oneDNN 3.12 writes beyond its memory (AVX512, images of 384 pixels) if a
    1 x 1 convolution with a stride has fewer than 16 input channels.
    """
    return (
        isinstance(module, nn.Conv2d)
        and max(module.kernel_size) == 1 < max(module.stride)
        and module.in_channels < 16
    )


def _takes_channels_last(model: Any) -> bool:
    """Tries whether a model runs forwards and backwards on images in channels-last format."""
    if any(map(_is_thin, model.modules())):
        return False
    images = torch.zeros(2, getattr(model.config, "num_channels", 3), SMALL, SMALL)
    images = images.contiguous(memory_format=torch.channels_last)
    try:
        with evaluating(model), torch.enable_grad():
            model(pixel_values=images).logits.sum().backward()
    except (RuntimeError, ValueError):
        return False
    finally:
        model.zero_grad()
    return True
