"""Batches of images, decoded, augmented and prepared as the model sees them."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import nn

from ftlight.data.labelled import Labelled
from ftlight.data.module import Columns
from ftlight.models.modes import evaluating
from ftlight.tasks.image_classification import augment as augmenting
from ftlight.tasks.image_classification import containers, decoding, preparing
from ftlight.utils.errors import UserError, first_line

# container, name, draw and row; -1 for both if not augmented
Kept = tuple[str, str | bytes, int, int]


class ImageBatches(Labelled):
    """The part of :class:`ftlight.ImageData` that makes batches.

    Attributes:
        image: column of the image, or of its path.
        image_size: height and width that the model sees, or None for the backbone's own.
        augment: how training images are changed.
        flip: what augmentation mirrors.
        white: value of 16-bit gray images that is white.
        max_pixels: most pixels of an image.
        choose_workers: whether the number of processes that load batches is not given.
        kept: images as the model sees them.
        room: bytes left for them.
    """

    image: str
    image_size: int | None
    augment: augmenting.Augment
    flip: augmenting.Flip
    white: int
    max_pixels: int
    choose_workers: bool
    kept: dict[Kept, torch.Tensor]
    room: int

    @property
    def processor(self) -> Any:
        """The backbone's image processor, for the size asked for."""
        return preparing.processor(self.tokenizer_name, self.image_size)

    def loader(self, *arguments: Any) -> Any:
        """Batches; by default processes load them if a GPU would wait for images."""
        trainer = self.trainer
        on_gpu = trainer is not None and trainer.strategy.root_device.type == "cuda"
        if self.choose_workers and on_gpu:
            self.workers = min(8, max(0, (os.cpu_count() or 1) - 1))
        return super().loader(*arguments)

    def collate(self, columns: Columns, rows: list[int]) -> dict[str, Any]:
        """A batch.

        Returns:
            ``inputs`` with ``pixel_values`` ``float32 [rows, channels, height, width]``, ``index``
            and, if known, ``targets``.
        """
        epochs = columns.get("epoch", [-1] * len(rows))
        places = zip(columns["container"], columns["name"], epochs, rows, strict=True)
        values = [self._pixels(*place) for place in places]
        if {v.dtype for v in values} == {torch.uint8}:
            stacked = preparing.unpacked(self.processor, torch.stack(values))  # all at once
        else:
            stacked = torch.stack([self._unpacked(v) for v in values])
        batch: dict[str, Any] = {"inputs": {"pixel_values": stacked}, "index": rows}
        if "target" in columns:
            batch |= self.batch_targets(columns["target"])
        return batch

    def _pixels(self, container: str, name: str | bytes, draw: int, row: int) -> torch.Tensor:
        """An image as the model sees it, augmented in training, ``[channels, height, width]``.

        ``uint8`` before scaling, or ``float32`` after.
        """
        fixed = draw < 0 or self.augment == "none"
        place = (container, name, -1, -1) if fixed else (container, name, draw, row)
        if place in self.kept:
            return self.kept[place]
        try:
            image, _ = decoding.decode(
                containers.read(container, name, self.image), self.max_pixels, self.white
            )
        except decoding.Bad as error:
            shown = "an image" if isinstance(name, bytes) else f"{container}/{name}"
            raise UserError(f"{shown} cannot be used: {error}") from None
        if fixed:
            # Cached or not, all images are rounded to whole numbers, so that they are the same.
            pixels = preparing.pixels(self.processor, image)
            packed = preparing.packed(self.processor, pixels)
            return pixels if packed is None else self._keep(place, packed)
        rng = np.random.default_rng([self.seed, draw, row])
        changed = augmenting.augment(
            image,
            self.augment,
            self.flip,
            preparing.shape(self.processor),
            self.processor.resample,
            rng,
        )
        if preparing.scales(self.processor):
            packed = torch.from_numpy(np.array(changed)).permute(2, 0, 1)
            return self._keep(place, packed) if draw < self.draws else packed  # it comes again
        return preparing.pixels(self.processor, changed, do_resize=False, do_center_crop=False)

    def _keep(self, place: Kept, packed: torch.Tensor) -> torch.Tensor:
        """Caches an image in whole numbers while a run trains, if there is room."""
        trains = self.trainer is not None and self.trainer.state.fn == "fit"
        if trains and not self.workers and self.room >= packed.numel():
            self.kept[place] = packed
            self.room -= packed.numel()
        return packed

    def jpeg(self, pixels: torch.Tensor) -> bytes:
        """An image as the model sees it, as a JPEG."""
        return preparing.jpeg(self.processor, pixels)

    def _unpacked(self, pixels: torch.Tensor) -> torch.Tensor:
        return preparing.unpacked(self.processor, pixels) if pixels.dtype == torch.uint8 else pixels

    def __getstate__(self) -> dict[str, Any]:
        """What a loading process needs."""
        return {**super().__getstate__(), "kept": {}}

    def check_model(self, model: nn.Module) -> None:
        """Checks that the model takes images of the size asked for.

        Raises:
            UserError: it does not.
        """
        if self.image_size is None:
            return
        device = next(model.parameters()).device
        size = preparing.channels(self.processor), *preparing.shape(self.processor)
        blank = torch.zeros(1, *size, device=device)
        try:
            with evaluating(model), torch.no_grad():
                model(pixel_values=blank)
        except (ValueError, RuntimeError) as error:
            raise UserError(
                f"data.image_size: the backbone does not take {self.image_size}"
                f" ({first_line(error)})"
            ) from None
