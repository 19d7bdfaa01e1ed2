"""Ways in which a file comes to harm: by a disk, a download, an editor, a hand."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

LFS = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
PAGE = b"<!DOCTYPE html>\n<html><head><title>404</title></head><body>Not found</body></html>\n"
Mutation = Callable[[Path, random.Random], None]


def _bytes(change: Callable[[bytes, random.Random], bytes]) -> Mutation:
    """A mutation of the bytes of a file."""

    def mutate(path: Path, draw: random.Random) -> None:
        path.write_bytes(change(path.read_bytes(), draw))

    return mutate


def _content(content: bytes) -> Mutation:
    """A mutation that writes another file."""
    return _bytes(lambda data, draw: content)


# Bytes


def flip(data: bytes, draw: random.Random) -> bytes:
    """Flips a bit."""
    out = bytearray(data)
    if out:
        out[draw.randrange(len(out))] ^= 1 << draw.randrange(8)
    return bytes(out)


def spoil(data: bytes, draw: random.Random) -> bytes:
    """Replaces up to 16 bytes in a row by random ones."""
    at = draw.randrange(max(1, len(data)))
    return data[:at] + draw.randbytes(min(16, len(data) - at)) + data[at + 16 :]


def cut(data: bytes, draw: random.Random) -> bytes:
    """Cuts a file at a random place."""
    return data[: draw.randrange(max(1, len(data)))]


def zero(data: bytes, draw: random.Random) -> bytes:
    """Writes zeros over a block of 512 bytes, as a disk leaves them."""
    at = draw.randrange(max(1, len(data)))
    return data[:at] + bytes(min(512, len(data) - at)) + data[at + 512 :]


def insert(piece: bytes) -> Callable[[bytes, random.Random], bytes]:
    """Puts bytes in at a random place."""

    def change(data: bytes, draw: random.Random) -> bytes:
        at = draw.randrange(max(1, len(data)))
        return data[:at] + piece + data[at:]

    return change


def lines(change: Callable[[list[bytes], int], list[bytes]]) -> Callable[..., bytes]:
    """Changes the lines of a text around a random one."""

    def mutate(data: bytes, draw: random.Random) -> bytes:
        parts = data.splitlines(keepends=True) or [b""]
        return b"".join(change(parts, draw.randrange(len(parts))))

    return mutate


# Places


def remove(path: Path, draw: random.Random) -> None:
    path.unlink()


def folder(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.mkdir()


def loop(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.name)


def dangle(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def parent_is_a_file(path: Path, draw: random.Random) -> None:
    parent = path.parent
    shutil.rmtree(parent)
    parent.write_bytes(b"")


# Values of JSON and YAML

VALUES: list[Any] = [
    *(None, True, False, -1, 0, 1, 7, 10**5, 10**9, 10**12, 10**30, -(10**12), 1.5, -0.5, 1e308),
    *(float("nan"), float("inf"), "", "text", "\0", "7", "../../x", [], {}, [1, 2], [None]),
    *({"a": 1}, ["a", "b"], [[1]], "x" * 5000),
]


def _spots(value: Any, draw: random.Random) -> tuple[Any, Any] | None:
    """A container inside a value and a key of it; rather a high one than a deep one."""
    spot = None
    while isinstance(value, (dict, list)) and value:
        key = draw.choice(list(value)) if isinstance(value, dict) else draw.randrange(len(value))
        spot, value = (value, key), value[key]
        if draw.random() < 0.4:
            break
    return spot


def change_value(value: Any, draw: random.Random) -> Any:
    """Replaces, removes, renames or doubles a value inside another one."""
    spot = _spots(value, draw)
    if spot is None:
        return draw.choice(VALUES)
    inside, key = spot
    how = draw.random()
    if how < 0.15:
        del inside[key]
    elif how < 0.2 and isinstance(inside, dict):
        inside[f"{key}x"] = inside.pop(key)
    elif how < 0.2:
        inside.insert(key, inside[key])
    else:
        inside[key] = draw.choice(VALUES)
    return value


def change_json(path: Path, draw: random.Random) -> None:
    """Changes a value of JSON; of JSON lines one in a random line."""
    text = path.read_text()
    if path.suffix == ".jsonl":
        rows = text.splitlines()
        at = draw.randrange(len(rows))
        rows[at] = json.dumps(change_value(json.loads(rows[at]), draw))
        path.write_text("\n".join(rows) + "\n")
        return
    path.write_text(json.dumps(change_value(json.loads(text), draw)))


def change_yaml(path: Path, draw: random.Random) -> None:
    import yaml

    path.write_text(yaml.safe_dump(change_value(yaml.safe_load(path.read_text()), draw)))


# Weights


def change_header(path: Path, draw: random.Random) -> None:
    """Changes a value in the header of safetensors."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.dumps(change_value(json.loads(data[8 : 8 + length]), draw)).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + length :])


def not_finite(path: Path, draw: random.Random) -> None:
    """Makes a weight of safetensors nan or infinite."""
    data = bytearray(path.read_bytes())
    length = struct.unpack("<Q", data[:8])[0]
    at = 8 + length + 4 * draw.randrange((len(data) - 8 - length) // 4)
    data[at : at + 4] = struct.pack("<f", draw.choice([float("nan"), float("inf")]))
    path.write_bytes(bytes(data))


def pack_again(path: Path, draw: random.Random) -> None:
    """Zips a file of torch again with compression, which torch does not do."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    path.write_bytes(out.getvalue())


def lose_part(path: Path, draw: random.Random) -> None:
    """Leaves a part out of a file of torch, or empties it."""
    out, empty = io.BytesIO(), draw.random() < 0.5
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        lost = draw.choice(old.namelist())
        for name in old.namelist():
            if name != lost or empty:
                new.writestr(name, b"" if name == lost else old.read(name))
    path.write_bytes(out.getvalue())


def change_saved(path: Path, draw: random.Random) -> None:
    """Changes a value in what torch has saved."""
    import torch

    saved = torch.load(path, weights_only=True)
    torch.save(change_value(saved, draw), path)


def cut_tensor(path: Path, draw: random.Random) -> None:
    """Takes a row from a tensor that torch has saved."""
    import torch

    saved = torch.load(path, weights_only=True)
    state = saved.get("state_dict", saved)
    name = draw.choice([k for k, v in state.items() if v.ndim and len(v) > 1])
    state[name] = state[name][:-1].clone()
    torch.save(saved, path)


ALWAYS: dict[str, Mutation] = {
    "removed": remove,
    "a folder": folder,
    "a loop of links": loop,
    "a link to nowhere": dangle,
    "empty": _content(b""),
    "zeros": _bytes(lambda data, draw: bytes(len(data))),
    "a pointer of Git LFS": _content(LFS),
    "a web page": _content(PAGE),
    "random bytes": _bytes(lambda data, draw: draw.randbytes(len(data))),
    "twice": _bytes(lambda data, draw: data * 2),
    "[]": _content(b"[]"),
    "null": _content(b"null"),
    "{}": _content(b"{}"),
}
TEXT: dict[str, Mutation] = {
    "a text": _content(b'"text"'),
    "a number": _content(b"7"),
    "nested deep": _content(b"[" * 10_000 + b"]" * 10_000),
    "objects nested deep": _content(b'{"a":' * 900 + b"1" + b"}" * 900),
    "a number of 5,000 digits": _content(b'{"hidden_size": ' + b"9" * 5000 + b"}"),
    "a byte order mark": _bytes(lambda data, draw: b"\xef\xbb\xbf" + data),
    "UTF-16": _bytes(lambda data, draw: data.decode(errors="replace").encode("utf-16")),
    "CRLF": _bytes(lambda data, draw: data.replace(b"\n", b"\r\n")),
}
BYTES: dict[str, Mutation] = {
    "a bit": _bytes(flip),
    "16 bytes": _bytes(spoil),
    "cut": _bytes(cut),
    "zeros in it": _bytes(zero),
}
SOME_TEXT: dict[str, Mutation] = {
    **BYTES,
    "no UTF-8": _bytes(insert(b"\xff")),
    "a NUL": _bytes(insert(b"\0")),
    "a line twice": _bytes(lines(lambda parts, i: [*parts[:i], parts[i], *parts[i:]])),
    "without a line": _bytes(lines(lambda parts, i: [*parts[:i], *parts[i + 1 :]])),
}


def kinds(path: Path, below: Path) -> tuple[dict[str, Mutation], dict[str, Mutation]]:
    """Mutations of a file: those made once, and those drawn from again and again.

    Args:
        path: the file.
        below: the folder that it belongs to.
    """
    once = dict(ALWAYS)
    if path.parent != below:
        once["the folder is a file"] = parent_is_a_file
    if path.suffix in (".json", ".jsonl"):
        return {**once, **TEXT}, {**SOME_TEXT, **{f"a value {i}": change_json for i in range(16)}}
    if path.suffix in (".yaml", ".yml"):
        return {**once, **TEXT}, {**SOME_TEXT, **{f"a value {i}": change_yaml for i in range(16)}}
    if path.suffix == ".safetensors":
        return once, {**BYTES, "its header": change_header, "not finite": not_finite}
    if path.suffix in (".ckpt", ".bin", ".pt"):
        once["packed again"] = pack_again
        parts = {"without a part": lose_part, "a value": change_saved, "a tensor": cut_tensor}
        return once, {**BYTES, **parts}
    return {**once, **TEXT}, SOME_TEXT


def mutate(path: Path, below: Path, number: int, draw: random.Random) -> str:
    """Harms a file in the way that a number stands for. Returns what was done."""
    once, often = kinds(path, below)
    name = list(once)[number] if number < len(once) else draw.choice(list(often))
    (once if number < len(once) else often)[name](path, draw)
    return name.rstrip("0123456789 ") if name.startswith("a value") else name


def files(folder: Path) -> list[Path]:
    """The files of a folder, relative to it."""
    found = (Path(place) / name for place, _, names in os.walk(folder) for name in names)
    return sorted(path.relative_to(folder) for path in found)
