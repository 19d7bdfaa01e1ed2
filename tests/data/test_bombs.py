"""Files that unpack to far more than their size lets expect are refused before they are held."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ftlight.data import delimited, encoding, encoding_guess, files
from ftlight.utils import archives
from ftlight.utils.errors import UserError


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Bombs begin at two megabytes here."""
    monkeypatch.setattr(archives, "SMALL", 2_000_000)
    monkeypatch.setattr(archives, "HELD", 2_000_000)
    monkeypatch.setattr(archives, "_permitted", [0])
    return iter([None])


def packed(name: str, line: bytes, size: int = 3_000_000) -> Path:
    path = Path(name)
    path.write_bytes(gzip.compress(line * (size // len(line))))
    return path


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a.csv.gz", b"text,label\n"),
        ("b.tsv.gz", b"text\tlabel\n"),
        ("c.jsonl.gz", b'{"text": "a"}\n'),
        ("d.json.gz", b"[1,\n"),
    ],
)
def test_a_packed_bomb_is_one_line_unless_it_is_permitted(name: str, line: bytes) -> None:
    path = packed(name, line)
    with pytest.raises(UserError, match=f"^{name}: unpacks to more than 100 times .*max_bytes"):
        list(files.read(path))
    with pytest.raises(UserError, match="unpacks to more than 100 times"):
        encoding_guess.guess(path)
    archives.permit(4_000_000)
    encoding._searched.cache_clear()
    encoding_guess.guess(path)
    if not name.startswith("d"):
        assert sum(1 for _ in files.read(path)) == 3_000_000 // len(line) - (name[0] in "ab")


def test_a_large_file_that_is_packed_as_texts_are_is_read() -> None:
    rows = "".join(f"{i * 7919 % 999983:x} {i * 104729 % 999979:x},{i}\n" for i in range(150_000))
    path = Path("a.csv.gz")
    path.write_bytes(gzip.compress(f"text,label\n{rows}".encode()))
    assert len(rows) > 2_000_000
    assert sum(1 for _ in files.read(path)) == 150_000


def test_a_parquet_file_of_one_value_many_times() -> None:
    pq.write_table(pa.table({"text": pa.array(["a"] * 3_000_000)}), "a.parquet")
    with pytest.raises(UserError, match="unpacks to more than 100 times"):
        list(files.read(Path("a.parquet")))


def test_a_line_too_long_to_be_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "LONGEST", 2_000_000)
    path = Path("a.csv")
    path.write_bytes(b"text,label\n" + b"a" * 4_000_000 + b",b\n")
    with pytest.raises(UserError, match="holds a line of more than 2,000,000 bytes"):
        list(files.read(path))


def test_a_long_line_of_the_sample_does_not_hide_the_delimiter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delimited, "CUT", 10)
    Path("a.csv").write_text("text;label\n" + "".join(f"{'a' * i};b\n" for i in range(30)))
    assert sum(1 for _ in files.read(Path("a.csv"))) == 30


def test_the_place_of_a_wrong_byte_is_told_beyond_the_first_block() -> None:
    Path("a.csv").write_bytes("text,é\n".encode() * 200_000 + b"\xff,b\n")
    with pytest.raises(UserError, match=f"byte {200_000 * 8} \\(0xff\\)"):
        list(files.read(Path("a.csv")))


def test_the_names_of_many_columns_are_not_compared_each_with_each() -> None:
    names = [f"column_{i}" for i in range(100_000)]
    line = ",".join("a" for _ in names)
    Path("a.csv").write_text(f"{','.join(names)}\n{line}\n{line}\n")
    assert [len(row) for row in files.read(Path("a.csv"))] == [100_001, 100_001]
    Path("b.csv").write_text(f"{','.join([*names, 'column_7'])}\n{line},a\n")
    with pytest.raises(UserError, match="column column_7 occurs twice"):
        list(files.read(Path("b.csv")))
