"""Images: opened, in RGB, prepared, augmented; and their classes by folders."""

from __future__ import annotations

import io
import itertools
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import each, write_csv
from PIL import Image
from tiny.image_classification import make_resnet, square

from ftlight.data import folders
from ftlight.tasks.image_classification import augment as augmenting
from ftlight.tasks.image_classification import containers, decoding, preparing, tables
from ftlight.tasks.image_classification import entries as image_entries
from ftlight.utils.errors import UserError


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def sixteen(value: int) -> Image.Image:
    return Image.fromarray(np.full((2, 2), value, np.uint16))


def palette(transparent: bool) -> bytes:
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    return saved(image, transparency=1) if transparent else saved(image)


OPENED = {
    "rgb": (saved(Image.new("RGB", (2, 2), (1, 2, 3))), (1, 2, 3), []),
    "half red": (
        saved(Image.new("RGBA", (2, 2), (255, 0, 0, 128))),
        (255, 127, 127),
        ["transparent, over white"],
    ),
    "clear black": (
        saved(Image.new("LA", (2, 2), (0, 0))),
        (255, 255, 255),
        ["transparent, over white"],
    ),
    "palette": (palette(False), (10, 200, 30), ["palette"]),
    "clear palette": (palette(True), (255, 255, 255), ["transparent, over white"]),
    "one bit": (saved(Image.new("1", (2, 2), 1)), (255, 255, 255), ["1-bit"]),
    "gray": (saved(Image.new("L", (2, 2), 77)), (77, 77, 77), ["gray"]),
    "16-bit": (saved(sixteen(32896)), (128, 128, 128), ["16-bit gray over 65,535"]),
    "16-bit tiff": (saved(sixteen(65535), "TIFF"), (255, 255, 255), ["16-bit gray over 65,535"]),
    "float": (
        saved(Image.new("F", (2, 2), 0.5), "TIFF"),
        (128, 128, 128),
        ["float gray from 0 to 1"],
    ),
    "cmyk": (saved(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG"), (255, 255, 255), ["CMYK"]),
}


def test_every_mode_becomes_rgb_and_says_so() -> None:
    def check(name: str) -> None:
        data, colour, done = OPENED[name]
        image, found = decoding.decode(data)
        assert (image.mode, found) == ("RGB", done)
        assert np.abs(np.asarray(image).reshape(-1, 3).astype(int) - colour).max() <= 1

    each(OPENED, check)


def test_gray_of_twelve_bits_has_another_white() -> None:
    image, done = decoding.decode(saved(sixteen(4095)), white=4095)
    assert (image.getpixel((0, 0)), done) == ((255, 255, 255), ["16-bit gray over 4,095"])


def test_gray_of_any_range_is_fitted_to_its_own() -> None:
    values = np.array([[-5.0, 15.0, np.nan]], np.float32)
    image, done = decoding.decode(saved(Image.fromarray(values), "TIFF"))
    assert [image.getpixel((x, 0))[0] for x in range(3)] == [0, 255, 64]
    assert done == ["32-bit gray over its own range"]


def test_images_are_turned_as_exif_says() -> None:
    """The tag says how the stored image was turned; all eight come back as they were."""

    def check(orientation: int) -> None:
        upright = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6) * 10).convert("RGB")
        turn = Image.Transpose
        stored = {1: None, 2: turn.FLIP_LEFT_RIGHT, 3: turn.ROTATE_180, 4: turn.FLIP_TOP_BOTTOM}
        stored |= {5: turn.TRANSPOSE, 6: turn.ROTATE_90, 7: turn.TRANSVERSE, 8: turn.ROTATE_270}
        how = stored[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned = upright.transpose(how) if how is not None else upright
        image, done = decoding.decode(saved(turned, exif=exif))
        assert np.array_equal(np.asarray(image), np.asarray(upright))
        assert done == (["turned by EXIF"] if orientation > 1 else [])

    each(range(1, 9), check)


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (4, 4), c) for c in ("red", "blue")]
    image, done = decoding.decode(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert image.getpixel((0, 0)) == (255, 0, 0)
    assert "animated, first frame" in done


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(header: bytes, rows: bytes) -> bytes:
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def bomb() -> bytes:
    """A PNG of 50,000 x 50,000 pixels in a hundred bytes."""
    size = struct.pack(">IIBBBBB", 50_000, 50_000, 1, 0, 0, 0, 0)
    return png(size, zlib.compress(b"\0"))


def damaged() -> bytes:
    """A PNG whose compressed rows are overwritten in the middle."""
    rows = bytearray(zlib.compress(b"".join(bytes([0, *range(120)]) for _ in range(40))))
    rows[20:40] = b"\xff" * 20
    size = struct.pack(">IIBBBBB", 40, 40, 8, 2, 0, 0, 0)
    return png(size, bytes(rows))


PHOTO = square(0, (200, 200))[1]
FAULTS = {
    "empty": (b"", "it is empty"),
    "text": (b"<html>not found</html>", "no image that Pillow knows"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no image that Pillow knows"),
    "cut": (PHOTO[: len(PHOTO) // 2], "it is cut off"),
    "damaged": (damaged(), "it is damaged"),
    "bomb": (bomb(), "more than 178,956,970 pixels"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC is not read"),
}


def test_what_is_no_whole_image_says_why() -> None:
    def check(name: str) -> None:
        data, words = FAULTS[name]
        with pytest.raises(decoding.Bad, match=words):
            decoding.decode(data)

    each(FAULTS, check)


def test_too_many_pixels_are_refused_before_decoding() -> None:
    fault = r"200 x 200 pixels are more than data.max_pixels: 30,000"
    with pytest.raises(decoding.Bad, match=fault):
        decoding.header(PHOTO, 30_000)


# Preparing


def write_processor(parent: Path, **settings: Any) -> str:
    folder = parent / f"processor {len(list(parent.iterdir()))}"  # processors are cached by name
    folder.mkdir()
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return str(folder)


VIT = {"image_processor_type": "ViTImageProcessor", "size": {"height": 48, "width": 48}}
MOBILE = {
    "image_processor_type": "MobileNetV2ImageProcessor",
    "size": {"shortest_edge": 64},
    "crop_size": {"height": 56, "width": 56},
}
CONVNEXT = {
    "image_processor_type": "ConvNextImageProcessor",
    "size": {"shortest_edge": 56},
    "crop_pct": 0.875,
    "resample": 3,
}
EDGE = {"image_processor_type": "ViTImageProcessor", "size": {"shortest_edge": 40}}
EFFICIENT = {
    "image_processor_type": "EfficientNetImageProcessor",
    "size": {"height": 40, "width": 40},
}


def test_processors_give_one_size_and_the_one_asked_for(tmp_path: Path) -> None:
    def check(settings: dict[str, Any]) -> None:
        name = write_processor(tmp_path, **settings)
        own = {"height": 0, "width": 0, **settings.get("crop_size", settings["size"])}
        wanted = own["height"] or own.get("shortest_edge")
        assert preparing.shape(preparing.processor(name)) == (wanted, wanted)
        for size in (32, 80):
            made = preparing.processor(name, size)
            assert preparing.shape(made) == (size, size)
            for shape in ((100, 37), (37, 100), (16, 16)):
                assert preparing.pixels(made, Image.new("RGB", shape)).shape == (3, size, size)

    each([VIT, MOBILE, CONVNEXT, EDGE, EFFICIENT], check)


def test_an_image_is_prepared_as_by_hand(tmp_path: Path) -> None:
    colours = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    made = preparing.processor(write_processor(tmp_path, **MOBILE, **colours))
    image, _ = decoding.decode(square(4, (90, 70))[1])
    resized = image.resize((82, 64), Image.Resampling.BILINEAR)
    small = np.asarray(resized, dtype=np.float32)[4:60, 13:69]
    wanted = (small / 255 - np.array([0.5, 0.4, 0.3])) / np.array([0.2, 0.3, 0.4])
    assert np.abs(preparing.pixels(made, image).numpy() - wanted.transpose(2, 0, 1)).max() < 1e-2


def test_a_size_keeps_the_share_that_is_cut_out() -> None:
    assert preparing.sized({**MOBILE, "do_center_crop": True}, 112)["size"] == {
        "shortest_edge": 128
    }
    assert preparing.sized(VIT, 96) == {"size": {"height": 96, "width": 96}}


def test_a_backbone_without_an_image_processor_is_named(tmp_path: Path) -> None:
    fault = r"model.backbone: no image processor in .*preprocessor_config.json"
    with pytest.raises(UserError, match=fault):
        preparing.processor(str(tmp_path))


def test_prepared_pixels_are_kept_as_whole_numbers(tmp_path: Path) -> None:
    def check(settings: dict[str, Any]) -> None:
        made = preparing.processor(write_processor(tmp_path, **settings))
        values = preparing.pixels(made, decoding.decode(square(4, (90, 70))[1])[0])
        packed = preparing.packed(made, values)
        assert packed is not None
        assert packed.dtype == torch.uint8
        assert torch.allclose(preparing.unpacked(made, packed), values, atol=1e-5)
        assert preparing.packed(made, values + 1e-3) is None

    each([VIT, MOBILE, CONVNEXT, EFFICIENT], check)


# Augmentation


def changed(
    seed: list[int], level: augmenting.Augment = "strong", flip: augmenting.Flip = "horizontal"
) -> np.ndarray:
    image, _ = decoding.decode(square(7, (60, 40))[1])
    rng = np.random.default_rng(seed)
    return np.asarray(augmenting.augment(image, level, flip, (32, 32), 2, rng))


def test_augmentation_is_a_function_of_its_generator() -> None:
    def check(level: augmenting.Augment) -> None:
        assert np.array_equal(changed([0, 1, 2], level), changed([0, 1, 2], level))
        assert changed([0, 1, 2], level).shape == (32, 32, 3)
        seen = {changed([0, epoch, row], level).tobytes() for epoch in range(3) for row in range(3)}
        assert len(seen) == 9

    each(["light", "strong"], check)


def test_flips_are_those_asked_for() -> None:
    """The corner of a picture that was all drawn alike tells where it came to."""
    marked = Image.new("RGB", (40, 40), "black")
    marked.paste((255, 255, 255), (0, 0, 20, 20))

    def corners(flip: augmenting.Flip) -> set[int]:
        found = set()
        for seed in range(60):
            rng = np.random.default_rng(seed)
            image = augmenting.augment(marked, "light", flip, (32, 32), 2, rng)
            values = np.asarray(image.convert("L"))
            quarters = [values[:10, :10], values[:10, -10:], values[-10:, :10], values[-10:, -10:]]
            found.add(int(np.argmax([q.mean() for q in quarters])))
        return found

    assert corners("none") == {0}
    assert corners("horizontal") == {0, 1}
    assert corners("any") == {0, 1, 2, 3}


def test_crops_lie_inside_and_keep_their_share() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        left, top, right, bottom = augmenting.crop(60, 40, 0.5, rng)
        assert 0 <= left < right <= 60 + 1e-9
        assert 0 <= top < bottom <= 40 + 1e-9
        assert (right - left) * (bottom - top) / 2400 > 0.4  # a side that does not fit is cut


# Finding


def test_classes_are_folders() -> None:
    cases = [
        (["cat/1.jpg", "dog/2.PNG"], {"": ["cat", "dog"]}),
        (["set/cat/1.jpg", "set/dog/2.jpg"], {"": ["cat", "dog"]}),
        (["glass/1.jpg", "glass/2.jpg"], {"": ["glass", "glass"]}),
        (["cat/a/1.jpg", "dog/b/c/2.jpg"], {"": ["cat", "dog"]}),
        (
            ["Train/cat/1.jpg", "Train/dog/2.jpg", "valid/cat/3.jpg"],
            {"train": ["cat", "dog"], "validation": ["cat"]},
        ),
        (["x/train/cat/1.jpg", "x/test/dog/3.jpg"], {"train": ["cat"], "test": ["dog"]}),
        (
            ["train/cat/1.jpg", "test/dog/3.jpg", "sample/s.jpg"],
            {"train": ["cat"], "test": ["dog"], "other": ["s"]},
        ),
        (["train/1.jpg", "test/2.jpg", "plane/3.jpg"], {"": ["train", "test", "plane"]}),
        (["train/1.jpg", "test/2.jpg"], {"train": [""], "test": [""]}),
        (["test/cat/1.jpg", "test/dog/2.jpg"], {"test": ["cat", "dog"]}),
        (["1.jpg", "cat/2.jpg"], {"": ["", "cat"]}),
        ([], {}),
    ]

    def check(names: list[str], found: dict[str, list[str]]) -> None:
        divided = folders.by_class(names)
        assert set(divided) == set(found)
        for split in found.keys() - {"other"}:
            assert [label for _, label in divided[split]] == found[split]

    each(cases, check)


def test_paths_stay_inside() -> None:
    cases = [
        ("", "a/1.jpg", "", "a/1.jpg"),
        ("set", "./a//1.jpg", "", "set/a/1.jpg"),
        ("set", "../a/1.jpg", "", "a/1.jpg"),
        ("", "../1.jpg", "", None),
        ("set", "../../1.jpg", "", None),
        ("", "/etc/1.jpg", "", None),
        ("", "/etc/1.jpg", "/data", None),
        ("", "/data/x/1.jpg", "/data", "x/1.jpg"),
        ("", "C:\\1.jpg", "", None),
        ("", "https://host/1.jpg", "", None),
        ("", "..", "", None),
    ]

    def check(base: str, path: str, root: str, name: str | None) -> None:
        assert tables.inside(base, path, root) == name

    each(cases, check)


def test_a_zip_is_read_in_place(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/cat/._1.jpg", b"x")
        archive.writestr("cat/.hidden.jpg", b"x")
        archive.writestr("cat/1.jpg", PHOTO)
    place = str(tmp_path / "a.zip")
    assert containers.Zip(place).names() == ["cat/1.jpg"]
    assert containers.read(place, "cat/1.jpg", "") == PHOTO
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip"]
    with pytest.raises(decoding.Bad, match="no such file"):
        containers.read(place, "cat/2.jpg", "")


def test_a_zip_with_a_damaged_member_names_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("cat/1.jpg", PHOTO)
    whole = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(whole.replace(PHOTO[300:310], b"0123456789"))
    with pytest.raises(decoding.Bad, match="cannot be read"):
        containers.read(str(tmp_path / "a.zip"), "cat/1.jpg", "")


def test_the_digest_of_a_folder_sees_names_sizes_and_times(tmp_path: Path) -> None:
    folder = tmp_path / "set" / "cat"
    folder.mkdir(parents=True)
    (folder / "1.jpg").write_bytes(PHOTO)

    def now() -> str:
        return containers.digest(str(tmp_path / "set"), containers.Columns())

    first = now()
    assert first == now()
    (folder / "2.jpg").write_bytes(PHOTO)
    second = now()
    (folder / "2.jpg").write_bytes(PHOTO[:-1])
    assert len({first, second, now()}) == 3


def test_pixels_are_those_of_a_stock_processor(tmp_path: Path) -> None:
    from transformers import AutoImageProcessor

    name = make_resnet(tmp_path / "resnet")
    image, _ = decoding.decode(square(5, (77, 50))[1])
    stock = AutoImageProcessor.from_pretrained(name)(image, return_tensors="pt")["pixel_values"][0]
    assert torch.allclose(preparing.pixels(preparing.processor(name), image), stock, atol=1e-2)


def test_gray_of_32_bits_keeps_its_scale() -> None:
    def check(low: int, high: int) -> None:
        values = np.linspace(low, high, 64, dtype=np.int32).reshape(8, 8)
        image, _ = decoding.decode(saved(Image.fromarray(values, "I"), "TIFF"), 1000, 65535)
        expected = values if high < 256 else values / 65535 * 255
        assert np.abs(np.asarray(image)[..., 0].astype(float) - expected).max() <= 1

    each([(0, 252), (0, 40_000)], check)


def test_a_list_of_all_images_beside_split_folders_is_no_split(tmp_path: Path) -> None:
    labels = {}
    for split, label, i in itertools.product(("train", "test"), "ab", range(2)):
        labels[f"{split}/{label}/{i}.png"] = label
    names = list(labels)
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    write_csv(tmp_path / "labels.csv", list(labels.items()), ("image", "label"))
    place = str(tmp_path)
    assert image_entries.splits(place, containers.Columns()) == {"train", "test"}
    train = [e.name for e in image_entries.entries(place, "train", containers.Columns())]
    assert sorted(train) == sorted(n for n in names if n.startswith("train"))


def test_a_test_folder_without_classes_is_none_to_measure(tmp_path: Path) -> None:
    for name in ("train/a/1.png", "train/b/2.png", "test/3.png", "test/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    assert image_entries.splits(str(tmp_path), containers.Columns()) == {"train"}
    found = image_entries.entries(str(tmp_path), "train", containers.Columns())
    assert {e.label for e in found} == {"a", "b"}
