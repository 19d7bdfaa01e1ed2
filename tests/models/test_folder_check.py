"""The file of a model's folder that is broken is found by a look at it."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from conftest import each
from safetensors.torch import save

from ftlight.models import folder_check
from ftlight.utils import json_file
from ftlight.utils.errors import UserError
from ftlight.utils.zip_file import zip_fault

WEIGHTS = save({"a": torch.ones(4, 4), "b": torch.ones(3)})
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 90868376\n"


def saved() -> bytes:
    file = io.BytesIO()
    torch.save({"a": torch.ones(4, 4)}, file)
    return file.getvalue()


def changed_part(data: bytes) -> bytes:
    """A file of torch with a byte of its tensor changed."""
    at = data.index(b"\x00\x00\x80?" * 4)
    return data[:at] + b"\x01" + data[at + 1 :]


def header(content: bytes) -> bytes:
    return struct.pack("<Q", len(content)) + content


BROKEN: dict[str, tuple[str, bytes, str]] = {
    "empty weights": ("model.safetensors", b"", "is empty"),
    "weights that are a pointer": ("model.safetensors", LFS, "is a Git LFS pointer .*git lfs pull"),
    "weights that are a page": ("model.safetensors", b"\n<!DOCTYPE html>\n", "is a web page"),
    "weights that are zeros": ("model.safetensors", bytes(4096), "begins with nothing but NUL"),
    "weights cut in their header": ("model.safetensors", WEIGHTS[:40], "cut off or damaged"),
    "weights cut after it": (
        "model.safetensors",
        WEIGHTS[:-5],
        f"is cut off: it has {len(WEIGHTS) - 5} bytes and should have {len(WEIGHTS)}",
    ),
    "weights and more": ("model.safetensors", WEIGHTS + b"x", "is too long"),
    "a header that is no JSON": ("model.safetensors", header(b"{nonsense"), "header cannot be"),
    "a header that is a list": ("model.safetensors", header(b"[1, 2, 3]"), "header cannot be"),
    "a header without places": ("model.safetensors", header(b'{"a": {}}'), "header cannot be"),
    "a page under the name of torch's": ("pytorch_model.bin", b"<html>", "is a web page"),
    "torch's, cut off": (
        "pytorch_model.bin",
        saved()[:-90],
        r"is damaged: it is not a complete file \(",
    ),
    "torch's, a byte changed": (
        "pytorch_model.bin",
        changed_part(saved()),
        "the checksum of its part .* is wrong",
    ),
    "no file of torch": ("pytorch_model.bin", b"weights", "it holds no weights of torch"),
    "a config cut off": ("config.json", b'{"model_type": "be', "cannot be read: not valid JSON"),
    "a config that is a list": ("config.json", b"[]", "expected an object, got a list"),
    "a config with a mark": ("config.json", b"\xef\xbb\xbf{}", "begins with a byte order mark"),
    "a template that is no text": ("chat_template.jinja", b"\xff{{", "byte 0 is not UTF-8"),
    "a list of files, one missing": (
        "model.safetensors.index.json",
        json.dumps({"weight_map": {"a": "model-1-of-2.safetensors"}}).encode(),
        "names model-1-of-2.safetensors, which is not there",
    ),
    "a list of files that is none": (
        "model.safetensors.index.json",
        b'{"weight_map": []}',
        "weight_map: expected an object, got a list",
    ),
}


def test_a_broken_file_is_named_with_what_is_wrong_and_the_way_out(tmp_path: Path) -> None:
    def check(what: str) -> None:
        name, content, says = BROKEN[what]
        folder = tmp_path / what
        folder.mkdir()
        (folder / name).write_bytes(content)
        patterns = (*folder_check.TOKENIZER, *folder_check.WEIGHTS)
        line = folder_check.fault(folder, patterns)
        assert re.fullmatch(rf"{re.escape(str(folder / name))} .*{says}.*; get it again.*", line), (
            line
        )
        assert "\n" not in line

    each(BROKEN, check)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    assert "config.json is a folder" in folder_check.fault(tmp_path, folder_check.CONFIG)
    (tmp_path / "config.json").rmdir()
    (tmp_path / "config.json").symlink_to("config.json")
    assert "config.json cannot be read (" in folder_check.fault(tmp_path, folder_check.CONFIG)


def test_nothing_is_said_of_sound_files(tmp_path: Path) -> None:
    files = {
        "model.safetensors": WEIGHTS,
        "pytorch_model.bin": saved(),
        "config.json": b'{"model_type": "bert"}',
        "chat_template.jinja": b"{{ messages }}",
        "vocab.txt": "[UNK]\né\n".encode(),
        "spiece.model": b"\x0a\x0e\x0a",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    patterns = (*folder_check.TOKENIZER, *folder_check.WEIGHTS, *folder_check.IMAGES)
    assert folder_check.fault(tmp_path, patterns) == ""


def test_only_files_that_are_read_for_a_part_count(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert folder_check.fault(tmp_path, folder_check.CONFIG) == ""
    assert "model.safetensors is empty" in folder_check.fault(tmp_path, folder_check.WEIGHTS)


def test_a_zip_that_was_packed_again_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", b"x" * 100)
    assert zip_fault(path) == ""


def test_a_config_of_gigabytes_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.write(b"{")
        file.truncate(10**11)  # takes no place on the disk
    said = "has 100,000,000,000 bytes, more than the 100,000,000 that are read"
    assert said in folder_check.form_fault(tmp_path, ("config.json",))
    with pytest.raises(UserError, match=r"config.json: has more than 100,000,000 bytes"):
        json_file.read(path)
