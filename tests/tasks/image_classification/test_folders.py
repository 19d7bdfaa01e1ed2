"""Images in folders and zips: by suffix or first bytes; what is left out is counted."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

from conftest import each
from PIL import Image
from tiny.image_classification import square

from ftlight.data.remarks import collected
from ftlight.tasks.image_classification import containers, predicting
from ftlight.tasks.image_classification.entries import entries
from ftlight.tasks.image_classification.trees import images

PHOTO = square(1)[1]


def saved(kind: str) -> bytes:
    data = io.BytesIO()
    Image.open(io.BytesIO(PHOTO)).convert("RGB").save(data, kind)
    return data.getvalue()


def folder(path: Path, files: dict[str, bytes]) -> str:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return str(path)


def places(path: Path, files: dict[str, bytes]) -> list[str]:
    """A folder and a zip of files."""
    place = folder(path / "set", files)
    return [place, shutil.make_archive(str(path / "zipped"), "zip", place)]


def test_images_are_told_by_suffix_or_first_bytes(tmp_path: Path) -> None:
    kinds = ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"]
    good = {f"cat/{kind}": saved(kind) for kind in kinds}
    good |= {f"dog/a{suffix}": PHOTO for suffix in (".jfif", ".jpe", ".JPE", ".jpg_large", ".2024")}
    bad = {
        "cat/BMW": b"BM but no bitmap at all",
        "cat/notes": b"some words",
        "cat/empty": b"",
        "dog/a.orig": PHOTO,
        "dog/b.txt": b"words",
    }
    ignored = {"cat/Thumbs.db": b"x", "dog/desktop.ini": b"x", "cat/.hidden": PHOTO}
    for place in places(tmp_path, {**good, **bad, **ignored}):
        tree = containers.tree(place)
        assert tree is not None
        assert set(images(tree, tree.names())) == set(good)
        with collected() as remarks:
            found = list(entries(place, "train", containers.Columns()))
        assert {e.name: e.label for e in found} == {name: name[:3] for name in good}
        left_out = f"{place}: 5 files are left out, no image by name, such as cat/BMW"
        assert remarks == [left_out]
        with collected() as remarks:
            rows = predicting.rows_of(place, containers.Columns())
        assert rows is not None
        assert len(rows) == len(good)
        assert remarks == [left_out]


def test_images_beside_the_splits_are_counted(tmp_path: Path) -> None:
    names = ["train/cat/1.jpg", "train/dog/2.jpg", "test/cat/3.jpg", "sample/s.jpg"]
    for place in places(tmp_path, dict.fromkeys(names, PHOTO)):
        with collected() as remarks:
            assert len(list(entries(place, "train", containers.Columns()))) == 2
        assert remarks == [
            f"{place}: 1 image is in folders that are no split and left out, such as sample/s.jpg"
        ]


def test_a_file_to_predict_needs_no_suffix(tmp_path: Path) -> None:
    folder(tmp_path, {"photo": PHOTO, "words": b"words", "a.jfif": b"", "b.csv": PHOTO})

    def check(name: str, image: bool) -> None:
        assert containers.is_image_file(str(tmp_path / name)) is image

    each([("photo", True), ("words", False), ("a.jfif", True), ("b.csv", False)], check)
    assert not containers.is_image_file(str(tmp_path))
