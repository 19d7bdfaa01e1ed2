"""Images as models see them: prepared by the backbone's processor."""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ftlight.models import folder_check
from ftlight.models.load_errors import guarded
from ftlight.models.loading import load_config, locate
from ftlight.tasks.image_classification.decoding import pillow
from ftlight.utils.errors import UserError

QUALITY = 80  # of a JPEG
NO_PROCESSOR = "no image processor in {}; it needs a preprocessor_config.json"


def sized(config: Mapping[str, Any], size: int) -> dict[str, Any]:
    """Changes to a processor's config for square images of another size, cropped likewise.

    >>> crop = {"crop_size": {"height": 224, "width": 224}, "do_center_crop": True}
    >>> sized({"size": {"shortest_edge": 256}, **crop}, 160)
    {'size': {'shortest_edge': 183}, 'crop_size': {'height': 160, 'width': 160}}
    """
    edge, crop = config.get("size") or {}, config.get("crop_size")
    square = {"height": size, "width": size}
    crops = bool(config.get("do_center_crop")) and bool(crop)
    factor = size / min(v for v in crop.values() if v) if crops and crop else 1.0
    if "shortest_edge" in edge:
        changed: dict[str, Any] = {
            "size": {"shortest_edge": round(edge["shortest_edge"] * factor) if crops else size}
        }
    else:
        changed = {
            "size": {k: round(v * factor) for k, v in edge.items()} if crops and edge else square
        }
    return {**changed, "crop_size": square} if crops else changed


@functools.lru_cache(4)
def processor(name: str, size: int | None = None) -> Any:
    """The image processor of a backbone: transformers' own on Pillow, with images of one size.

    Args:
        name: hub id or folder.
        size: height and width in pixels; the backbone's own if not given.

    Raises:
        UserError: it cannot be loaded, or gives images of different sizes.
    """
    pillow()
    from transformers import AutoImageProcessor

    def load(**changes: Any) -> Any:
        return AutoImageProcessor.from_pretrained(
            locate(name), backend="pil", trust_remote_code=False, **changes
        )

    with guarded(name, NO_PROCESSOR.format(name), folder_check.IMAGES):
        made = load()
        changes = sized(made.to_dict(), size) if size else {}
        changes |= _gray(name, made)
        made = load(**changes) if changes else made
        if _size(made, 64, 96) != _size(made, 96, 64):  # resizes the shorter edge, does not crop
            edge = (changes.get("size") or made.to_dict()["size"]).get("shortest_edge")
            changes |= {"do_center_crop": True, "crop_size": {"height": edge, "width": edge}}
        if changes:
            made = load(**changes)
        wanted, turned = _size(made, 64, 96), _size(made, 96, 64)
    if wanted != turned or (size and wanted != (size, size)):
        raise UserError(
            f"data.image_size: the image processor of {name} cannot be set to one size"
            f" ({type(made).__name__})"
        )
    return made


def _gray(name: str, made: Any) -> dict[str, Any]:
    """Changes to a processor that its model's number of channels asks for.

    Raises:
        UserError: the model reads neither gray nor RGB.
    """
    try:
        count = getattr(load_config(name), "num_channels", 3)
    except UserError:  # a folder with a processor alone
        return {}
    if count not in (1, 3):
        raise UserError(f"model.backbone: {name} reads images of {count} channels, not RGB or gray")
    if count == channels(made):
        return {}
    mean, std = (getattr(made, key, None) or [0.5] for key in ("image_mean", "image_std"))
    return {"image_mean": mean[:count], "image_std": std[:count]}


@functools.lru_cache(8)
def shape(made: Any) -> tuple[int, int]:
    """Height and width of all images of a processor."""
    return _size(made, 64, 64)


def _size(made: Any, width: int, height: int) -> tuple[int, int]:
    """Height and width that a processor makes of an image."""
    values = pixels(made, pillow().new("RGB", (width, height)))
    return int(values.shape[-2]), int(values.shape[-1])


def channels(made: Any) -> int:
    """Channels of the images that a processor prepares: 1 for grayscale, otherwise 3."""
    return 1 if len(getattr(made, "image_mean", None) or ()) == 1 else 3


def pixels(made: Any, image: Any, **changes: Any) -> torch.Tensor:
    """An RGB image as a processor prepares it, ``float32 [channels, height, width]``."""
    if channels(made) == 1:
        image = image.convert("L")
    values: torch.Tensor = made(image, return_tensors="pt", **changes)["pixel_values"]
    return values[0].float()


@functools.lru_cache(4)
def pixel_scale(made: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """What a processor makes of a step of brightness, and of black, ``[channels, 1, 1]`` each."""

    def of(value: int) -> torch.Tensor:
        image = pillow().new("RGB", (8, 8), (value, value, value))
        return pixels(made, image, do_resize=False, do_center_crop=False)[:, :1, :1]

    black = of(0)
    return (of(255) - black) / 255, black


def packed(made: Any, values: torch.Tensor) -> torch.Tensor | None:
    """Prepared pixels as whole numbers, ``uint8 [channels, height, width]``.

    None if a processor does more than scale and shift.
    """
    step, black = pixel_scale(made)
    whole = ((values - black) / step).round()
    in_range = 0 <= float(whole.min()) and float(whole.max()) <= 255
    if not in_range or not torch.allclose(whole * step + black, values, atol=1e-4):
        return None
    return whole.to(torch.uint8)


@functools.lru_cache(4)
def scales(made: Any) -> bool:
    """Whether a processor does no more than scale and shift to an image of its size."""
    if channels(made) == 1:
        return False  # gray is made of colours before
    noise = np.random.default_rng(0).integers(0, 256, (*shape(made), 3), dtype=np.uint8)
    given = pixels(made, pillow().fromarray(noise), do_resize=False, do_center_crop=False)
    whole = packed(made, given)
    return whole is not None and torch.equal(whole, torch.from_numpy(noise).permute(2, 0, 1))


def unpacked(made: Any, values: torch.Tensor) -> torch.Tensor:
    """The reverse of :func:`packed`, of one image or many.

    Returns:
        ``float32 [..., channels, height, width]``.
    """
    step, black = pixel_scale(made)
    return values * step + black


def jpeg(made: Any, values: torch.Tensor) -> bytes:
    """A prepared image as a JPEG.

    Args:
        made: the processor.
        values: ``[channels, height, width]``.
    """
    whole = packed(made, values)
    if whole is None:  # the processor does more than scale and shift
        low, high = values.min(), values.max()
        whole = ((values - low) / (high - low).clamp(min=1e-6) * 255).to(torch.uint8)
    shown = whole.permute(1, 2, 0).numpy()
    file = io.BytesIO()
    image = pillow().fromarray(shown[..., 0] if shown.shape[2] == 1 else shown)
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
