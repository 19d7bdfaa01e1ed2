"""Zips that are not believed: names, links, bombs."""

from __future__ import annotations

import copy
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest
from conftest import each

from ftlight.tasks.image_classification import containers
from ftlight.utils import archives
from ftlight.utils.errors import UserError


def entry(name: str, mode: int = 0) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.external_attr = mode << 16
    return made


def write(path: Path, *entries: tuple[zipfile.ZipInfo, bytes]) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, content in entries:
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return str(path)


def test_a_bad_entry(tmp_path: Path) -> None:
    cases = [
        ("/etc/passwd.jpg", 0, "'/etc/passwd.jpg' in it leads out of it"),
        ("../up.jpg", 0, "'../up.jpg' in it leads out of it"),
        ("cat/../../up.jpg", 0, "leads out of it"),
        (r"cat\..\..\up.jpg", 0, "leads out of it"),
        ("C:/up.jpg", 0, "leads out of it"),
        (r"\\host\share\up.jpg", 0, "leads out of it"),
        ("cat/link.jpg", stat.S_IFLNK | 0o777, "'cat/link.jpg' in it is a link, no file"),
        ("cat/pipe.jpg", stat.S_IFIFO | 0o644, "'cat/pipe.jpg' in it is a device, no file"),
    ]

    def check(name: str, mode: int, said: str) -> None:
        place = write(
            tmp_path / "a.zip", (entry("cat/1.jpg"), b"1"), (entry(name, mode), b"/etc/passwd")
        )
        for _ in range(2):  # a refused zip is not kept
            with pytest.raises(UserError) as error:
                containers.Zip(place).names()
            assert str(error.value).startswith(f"{place}: ")
            assert said in str(error.value)

    each(cases, check)


def test_a_good_entry(tmp_path: Path) -> None:
    cases = ["cat/1.jpg", "cat/a..b.jpg", "...jpg", "cat/..jpg", "c:d.jpg"]

    def check(name: str) -> None:
        place = write(
            tmp_path / "a.zip",
            (entry("cat/", stat.S_IFDIR | 0o755), b""),
            (entry(name, stat.S_IFREG | 0o644), b"1"),
        )
        assert containers.read(place, name, "") == b"1"
        assert archives.fault(zipfile.ZipFile(place).infolist(), Path(place)) is None

    each(cases, check)


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [(entry(f"cat/{i}.bmp"), bytes(2 << 20)) for i in range(3)]
    cases: list[tuple[dict[str, int], str | None]] = [
        ({"ENTRIES": 2}, "it has 3 files, more than 2"),
        ({"TOTAL": 3 << 20}, "unpacked, more than 0"),
        ({"SMALL": 1 << 20}, "times as large unpacked"),
        ({"SMALL": 1 << 20, "RATIO": 2000}, None),
        ({}, None),
    ]

    def check(limits: dict[str, int], said: str | None) -> None:
        place = write(tmp_path / "a.zip", *entries)
        with monkeypatch.context() as patch:
            for name, value in limits.items():
                patch.setattr(archives, name, value)
            if said is None:
                assert len(containers.Zip(place).names()) == 3
            else:
                with pytest.raises(UserError, match=said):
                    containers.Zip(place).names()

    each(cases, check)


def test_a_bomb_of_many_gigabytes(tmp_path: Path) -> None:
    """A zip whose directory says what bombs say: 5 GB in a few hundred bytes."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("cat/1.bmp", b"1")
        archive.filelist[0].file_size = 5 << 30
    with pytest.raises(UserError, match="times as large unpacked, as those of a zip bomb are"):
        containers.Zip(str(tmp_path / "a.zip")).names()


def test_files_that_overlap(tmp_path: Path) -> None:
    """The directory names the same bytes several times."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("cat/1.bmp", bytes(10_000))
        for number in range(2, 5):
            twin: Any = copy.copy(archive.filelist[0])
            twin.filename = f"cat/{number}.bmp"
            archive.filelist.append(twin)
    with pytest.raises(UserError, match="its files overlap"):
        containers.Zip(str(tmp_path / "a.zip")).names()
