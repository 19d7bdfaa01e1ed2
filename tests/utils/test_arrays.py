from __future__ import annotations

import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ftlight.utils import arrays
from ftlight.utils.errors import UserError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "kept.npz"
    many: Any = {"rows": np.arange(500), "scores": np.linspace(0, 1, 500)}
    np.savez_compressed(file, **many)
    return file


def test_whole_arrays_are_read(path: Path) -> None:
    found = arrays.read(path, "make it again")
    assert found["rows"].tolist() == list(range(500))
    assert found["scores"].dtype == np.float64


def test_any_damage_is_a_line(path: Path) -> None:
    whole, draw = path.read_bytes(), random.Random(0)
    said = []
    for _ in range(300):
        harmed = bytearray(whole)
        for _ in range(3):
            harmed[draw.randrange(len(harmed))] = draw.randrange(256)
        end = draw.randrange(len(harmed)) if draw.random() < 0.1 else len(harmed)
        path.write_bytes(harmed[:end])
        try:
            arrays.read(path, "make it again")
        except UserError as error:
            said.append(str(error))
    assert len(said) > 200
    assert all(line.endswith("; make it again") for line in said)


def test_objects_and_bombs_are_refused(path: Path, tmp_path: Path) -> None:
    objects: Any = {"rows": np.array([{}, []], dtype=object)}
    np.savez(path, **objects)
    with pytest.raises(UserError, match="is damaged; make it again"):
        arrays.read(path, "make it again")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("a.npy", "w") as part:
        for _ in range(300):
            part.write(bytes(1 << 20))
    with pytest.raises(UserError, match=r"times as large unpacked.*; make it again"):
        arrays.read(path, "make it again")
