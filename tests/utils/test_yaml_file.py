"""YAML that is broken or meant to do harm is one line, soon."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from conftest import each

from ftlight.utils import yaml_file
from ftlight.utils.errors import UserError
from ftlight.utils.yaml_file import parse, quoted, read_yaml

DOUBLED = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60)
)
WIDE = "a: &a [" + "x, " * 3000 + "]\nb: [" + "*a, " * 3000 + "]\n"
BROKEN: dict[str, tuple[str | bytes, str]] = {
    "no UTF-8": (b"model: \xff\n", "cannot be read as UTF-8 text"),
    "a NUL": ("model: \0\n", "not valid YAML: .*special characters are not allowed"),
    "a list": ("[]", "expected keys such as model: and data:, got list"),
    "nested for the reader": ("[" * 10_000 + "]" * 10_000, "nested more than 50 levels deep"),
    "nested for those who walk": (
        "a: " + "[" * 150 + "]" * 150,
        "nested more than 50 levels deep",
    ),
    "in itself": ("a: &a [*a]", "nested more than 50 levels deep"),
    "doubled again and again": (DOUBLED, "more than 100,000 values, those of aliases included"),
    "doubled many times at once": (WIDE, "more than 100,000 values"),
    "a tag that does not fit": ("a: !!int x", "not valid YAML"),
    "a time that is none": ("a: !!timestamp x", "not valid YAML"),
    "a class": ("a: !!python/object:os.system {}", "remove the tag"),
}


def test_broken_yaml_is_one_line_with_its_file(tmp_path: Path) -> None:
    def check(what: str) -> None:
        content, says = BROKEN[what]
        path = tmp_path / "x.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(UserError) as caught:
            read_yaml(path)
        assert re.fullmatch(rf"{path}(:\d+)?: .*{says}.*", str(caught.value)), caught.value

    each(BROKEN, check)


def test_what_is_no_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    for path in (tmp_path, tmp_path / "loop.yaml"):
        with pytest.raises(UserError, match=rf"{path}: cannot be read \("):
            read_yaml(path)


def test_aliases_are_read(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: &a [1, 2]\nb: *a\n")
    assert read_yaml(tmp_path / "x.yaml")[0] == {"a": [1, 2], "b": [1, 2]}


def test_aliases_and_values_without_end_are_refused_before_they_are_made() -> None:
    laughs = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    merges = "a: &a {x: 1}\n"
    for one, next_one in itertools.pairwise("abcdefgh"):
        nine = ", ".join([f"*{one}"] * 9)
        laughs += f"{next_one}: &{next_one} [{nine}]\n"
        merges += f"{next_one}: &{next_one} {{<<: [{nine}]}}\n"
    for text in (laughs, merges, "a: [" + "1," * 200_000 + "]"):
        with pytest.raises(UserError, match="more than 100,000 values"):
            yaml_file.parse(text, "x.yaml")
        Path("x.yaml").write_text(text)
        with pytest.raises(UserError, match="more than 100,000 values"):
            yaml_file.read_words(Path("x.yaml"))


def test_words_are_read_as_they_are_written() -> None:
    Path("x.yaml").write_text("NO: 1e-4\nb: [yes, null, {c: 0x1}]\n")
    assert yaml_file.read_words(Path("x.yaml")) == {
        "NO": "1e-4",
        "b": ["yes", "null", {"c": "0x1"}],
    }


def test_any_text_is_quoted_so_that_yaml_reads_it_as_it_is() -> None:
    words = [chr(code) for code in [*range(1, 0xD800), *range(0xE000, 0xFFFE), 0x1F600, 0xE0041]]
    text = "".join(words)
    assert parse(quoted({"a": [text]}), "x")[0] == {"a": [text]}
