"""Which file of a model's folder is broken: libraries name the folder, or another file.

The looks are cheap and need no library, so that they can be taken whenever a folder does not load.
"""

from __future__ import annotations

import fnmatch
import json
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ftlight.utils import json_file
from ftlight.utils.errors import first_line, join_limited
from ftlight.utils.zip_file import zip_fault

# Files that each part of a model is read from, as patterns, the likely culprit first.
CONFIG = ("config.json",)
VOCABULARY = ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken")
TOKENIZER = (
    *VOCABULARY,
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt"),
    *("chat_template.*", *CONFIG),
)
WEIGHTS = (
    *("*.index.json", "model*.safetensors", "pytorch_model*.bin", "adapter_*"),
    *("generation_config.json", *CONFIG),
)
IMAGES = ("preprocessor_config.json", "processor_config.json", *CONFIG)
LFS = b"version https://git-lfs"
PAGES = (b"<!doctype html", b"<html", b"<?xml")
WAY = "get it again, or take another folder"
TEXT = 100_000_000  # bytes of vocabularies and templates
MOST = {".json": json_file.MOST, ".txt": TEXT, ".jinja": TEXT, ".model": TEXT, ".tiktoken": TEXT}
HEADER = 100_000_000  # bytes that safetensors allows a header


def fault(folder: Path, patterns: Sequence[str]) -> str:
    """The first broken file of a folder, and the way out; empty if none shows.

    Args:
        folder: the folder.
        patterns: patterns of the files that count.
    """
    return _first(folder, patterns, file_fault)


def weights_in(folder: Path) -> str:
    """The file of weights in a folder; the folder if there are several."""
    files = list(_matching(folder, ("model*.safetensors", "pytorch_model*.bin")))
    return str(files[0]) if len(files) == 1 else f"the weights in {folder}"


def read_from(folder: Path, patterns: Sequence[str]) -> str:
    """Names of the files of a folder that match."""
    return join_limited(dict.fromkeys(path.name for path in _matching(folder, patterns)))


def _matching(folder: Path, patterns: Sequence[str]) -> Iterator[Path]:
    names = sorted(os.listdir(folder))  # unlike glob with links to nowhere
    for pattern in patterns:
        yield from (folder / name for name in fnmatch.filter(names, pattern))


def form_fault(folder: Path, patterns: Sequence[str]) -> str:
    """As :func:`fault`, by the first bytes of each file alone: quick enough to be always asked.

    Libraries pass over a folder, or a link to nowhere, in place of a file as if there were none,
    and take whatever a template holds for one.
    """
    return _first(folder, patterns, _form)


def _first(folder: Path, patterns: Sequence[str], check: Callable[[Path], str]) -> str:
    for path in _matching(folder, patterns):
        wrong = check(path)
        if wrong:
            return f"{path} {wrong}; {WAY}"
    return ""


def file_fault(path: Path) -> str:
    """What is wrong with a file, as the end of a sentence; empty if nothing shows."""
    try:
        return _form(path) or _checks(path)(path)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def _form(path: Path) -> str:
    """What a file is by its first bytes, if not what it is called."""
    if path.is_dir():
        return "is a folder; a file should be there"
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    most = MOST.get(path.suffix, 0)
    if most and path.stat().st_size > most:
        return f"has {path.stat().st_size:,} bytes, more than the {most:,} that are read"
    if not start:
        return "is empty" if path.name != "merges.txt" else ""  # a vocabulary of letters has none
    if not start.strip(b"\0"):
        return "begins with nothing but NUL bytes"
    if start.startswith(LFS):
        return "is a Git LFS pointer in place of the file (git lfs pull gets it)"
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(PAGES):
        return "is a web page, as a failed download leaves it"
    return ""


def _checks(path: Path) -> Callable[[Path], str]:
    """The check of a format."""
    if path.name == "tokenizer.json":
        return _tokenizer
    by_suffix: dict[str, Callable[[Path], str]] = {
        ".json": _json,
        ".safetensors": safetensors_fault,
        ".bin": _pickle,
        ".txt": _text,
        ".jinja": _text,
    }
    return by_suffix.get(path.suffix, lambda _: "")


def _json(path: Path) -> str:
    try:
        data = json_file.content(path)
        value = json_file.parse(data)
    except ValueError as error:
        return f"cannot be read: {error}"
    if data.startswith(b"\xef\xbb\xbf"):
        return "begins with a byte order mark; save it as UTF-8 without one"
    wrong = json_file.misfit(value, dict)
    if not wrong and path.name.endswith(".index.json"):
        return _index(path, value.get("weight_map"))
    return f"cannot be used: {wrong}" if wrong else ""


def _index(path: Path, files: object) -> str:
    """What is wrong with the list of the files that weights are divided among."""
    wrong = json_file.misfit({"weight_map": files}, {"weight_map": {json_file.ANY: str}})
    if wrong:
        return f"cannot be used: {wrong}"
    assert isinstance(files, dict)
    for name in sorted(set(files.values())):
        if not os.path.lexists(path.parent / name):
            return f"names {name}, which is not there"
    return ""


def _tokenizer(path: Path) -> str:
    """What is wrong with a tokenizer.json, which libraries tell without its name."""
    from tokenizers import Tokenizer

    wrong = _json(path)
    if wrong:
        return wrong
    try:
        Tokenizer.from_file(str(path))
    except BaseException as error:  # a panic of Rust is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        return f"cannot be used: {first_line(error)}"
    return ""


def safetensors_fault(path: Path) -> str:
    """What is wrong with a file of safetensors, by its header and size; empty if nothing is."""
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        if not 2 <= length <= min(HEADER, size - 8):
            return f"is cut off or damaged: its header does not fit its {size:,} bytes"
        header = file.read(length)
    try:
        tensors = json.loads(header)
        ends = [tensor["data_offsets"][1] for key, tensor in tensors.items() if key[:2] != "__"]
        wanted = 8 + length + max(ends, default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return "is damaged: its header cannot be read"
    if wanted != size:
        how = "is cut off" if wanted > size else "is too long"
        return f"{how}: it has {size:,} bytes and should have {wanted:,}"
    from safetensors import safe_open

    try:
        with safe_open(path, "np"):
            return ""
    except Exception as error:
        return f"is damaged: {first_line(error)}"


def _pickle(path: Path) -> str:
    """What is wrong with a file of torch; nothing in it is run."""
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] == b"PK":
        wrong = zip_fault(path)
        return f"is damaged: {wrong}" if wrong else ""
    if start[:1] != b"\x80":  # the start of a pickle, which older versions of torch wrote
        return "is damaged: it holds no weights of torch"
    return ""


def _text(path: Path) -> str:
    try:
        path.read_bytes().decode()
    except UnicodeDecodeError as error:
        return f"cannot be read: byte {error.start} is not UTF-8"
    return ""
