"""Zips of weights: whole ones, and such as would fill the memory."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from ftlight.utils import archives
from ftlight.utils.zip_file import zip_fault


def test_weights_that_unpack_to_far_more_than_they_are_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "HELD", 100_000)  # as if bombs began there
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": {"w": torch.zeros(100_000), "b": torch.zeros(0)}}, path)
    assert zip_fault(path) == ""
    with zipfile.ZipFile(path) as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    assert zip_fault(path) == "it unpacks to more than 10 times its size, as a bomb does"
