"""Images opened with Pillow, in RGB."""

from __future__ import annotations

import functools
import io
import warnings
from typing import Any

import numpy as np

from ftlight.utils.errors import UserError, first_line

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
PIXELS = 178_956_970  # the most that Pillow opens


class Bad(Exception):
    """An image that cannot be read; says why."""


def pillow() -> Any:
    """Pillow's module of images.

    Raises:
        UserError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise UserError("images need Pillow: pip install ftlight[images]") from None
    return Image


# Opening


@functools.lru_cache(1)
def _formats() -> list[str]:
    """The formats to open that this Pillow reads; decoders of others may start programs."""
    image_module = pillow()
    image_module.init()
    # data.max_pixels is checked instead
    warnings.simplefilter("ignore", image_module.DecompressionBombWarning)
    return [name for name in FORMATS if name in image_module.OPEN]


def header(data: bytes, most: int) -> Any:
    """Opens an image without decoding it.

    Args:
        data: the file's bytes.
        most: the most pixels, checked before any is decoded.

    Raises:
        Bad: it is empty, no image, or too large.
    """
    image_module = pillow()
    if not data:
        raise Bad("it is empty")
    try:
        image = image_module.open(io.BytesIO(data), formats=_formats())
    except image_module.DecompressionBombError:
        raise Bad(f"it has more than {PIXELS:,} pixels") from None
    except Exception as error:  # a damaged header raises whatever its decoder stumbles over
        if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc"):
            raise Bad("HEIC is not read; convert it to JPEG") from None
        if isinstance(error, image_module.UnidentifiedImageError):
            raise Bad("it is no image that Pillow knows") from None
        raise Bad(f"its header is damaged ({error})") from None
    if image.width * image.height > most:
        raise Bad(
            f"its {image.width:,} x {image.height:,} pixels are more than data.max_pixels: {most:,}"
        )
    return image


def decode(data: bytes, most: int = PIXELS, white: int = 65535) -> tuple[Any, list[str]]:
    """Decodes an image: its first frame, upright, in RGB.

    Args:
        data: the file's bytes.
        most: the most pixels.
        white: value of 16-bit gray that is white.

    Returns:
        The image, and what was changed in it, in words that can be counted.

    Raises:
        Bad: it cannot be decoded; says why.
    """
    image = header(data, most)
    try:
        animated = getattr(image, "is_animated", False) and image.format != "MPO"
        done = ["animated, first frame"] if animated else []
        image.load()
        upright, turned = _upright(image)
        plain, changed = _rgb(upright, white)
    except Exception as error:  # OSError, SyntaxError, ValueError, struct.error, EOFError, …
        what = first_line(error)
        fault = "cut off" if "truncated" in what else "damaged"
        raise Bad(f"it is {fault} ({what})") from None
    return plain, [*done, *turned, *changed]


def _upright(image: Any) -> tuple[Any, list[str]]:
    """Turns an image as its EXIF says, if that can be read."""
    from PIL import ImageOps

    try:
        turned = image.getexif().get(0x0112, 1) in range(2, 9)
    except Exception:  # damaged EXIF raises many kinds, and the image can do without
        return image, ["EXIF that cannot be read"]
    return (ImageOps.exif_transpose(image), ["turned by EXIF"]) if turned else (image, [])


def _rgb(image: Any, white: int) -> tuple[Any, list[str]]:
    """An image in RGB: transparent ones over white, 16-bit gray divided by ``white``."""
    image_module = pillow()
    mode = image.mode
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or image.info.get("transparency") is not None:
        over = image_module.new("RGBA", image.size, (255, 255, 255, 255))
        over.alpha_composite(image.convert("RGBA"))
        return over.convert("RGB"), ["transparent, over white"]
    if mode == "RGB":
        return image, []
    if mode.startswith("I") or mode == "F":
        values, how = _eight_bits(np.asarray(image), mode, white)
        return image_module.fromarray(values).convert("RGB"), [how]
    names = {"1": "1-bit", "L": "gray", "P": "palette"}
    return image.convert("RGB"), [names.get(mode, mode)]


def _eight_bits(values: np.ndarray, mode: str, white: int) -> tuple[np.ndarray, str]:
    """Gray of more than 8 bits as ``uint8 [height, width]``, 16 bits on a fixed scale."""
    numbers = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(numbers.min()), float(numbers.max())
    if mode == "I" and low >= 0 and high <= 255:
        low, high, how = 0.0, 255.0, "32-bit gray from 0 to 255"
    elif mode != "F" and low >= 0 and high <= 65535:
        low, high, how = 0.0, float(white), f"16-bit gray over {white:,}"
    elif mode == "F" and low >= 0 and high <= 1:
        low, high, how = 0.0, 1.0, "float gray from 0 to 1"
    else:
        how = "32-bit gray over its own range"
    scaled = (numbers - low) / ((high - low) or 1.0) * 255
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8), how
