"""Sealed files: no change of any byte goes unseen."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftlight.utils.sealed import Damaged, seal, unseal


def sealed(path: Path, content: bytes = b"content", key: str = "a", notes: object = None) -> bytes:
    with path.open("w+b") as file:
        file.write(content)
        seal(file, key, notes)
    return path.read_bytes()


def whole(path: Path) -> bool:
    try:
        unseal(path, "a")
    except Damaged:
        return False
    return True


def test_what_was_sealed_is_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for content in (b"", b"content", bytes(3_000_000)):
        for notes in (None, ["möglich", 1.5], {"a": "x" * 1_000_000}):
            assert sealed(file, content, "a", notes).startswith(content)
            assert unseal(file, "a") == (len(content), notes)


def test_any_changed_bit_is_found(tmp_path: Path) -> None:
    file = tmp_path / "file"
    good = sealed(file)
    for at in range(len(good)):
        for bit in range(8):
            changed = bytearray(good)
            changed[at] ^= 1 << bit
            file.write_bytes(changed)
            assert not whole(file), f"bit {bit} of byte {at}"


def test_any_other_length_is_found(tmp_path: Path) -> None:
    file = tmp_path / "file"
    good = sealed(file)
    for other in [*(good[:n] for n in range(len(good))), *(good[n:] for n in range(1, len(good)))]:
        file.write_bytes(other)
        assert not whole(file), other
    for other in (good + b"\0", good + good, b"\0" + good, bytes(len(good)), bytes(99)):
        file.write_bytes(other)
        assert not whole(file), other


def test_errors_say_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "file"
    good = sealed(file)
    for content, said in {
        b"": "it is empty",
        good[:-1]: "its end is missing",
        good[:9]: "its end is missing",
        b"C" + good[1:]: "its checksum is wrong",
    }.items():
        file.write_bytes(content)
        with pytest.raises(Damaged, match=said):
            unseal(file, "a")
    sealed(file, key="b")
    with pytest.raises(Damaged, match="it is another one, renamed"):
        unseal(file, "a")
    with pytest.raises(FileNotFoundError):
        unseal(tmp_path / "none", "a")
