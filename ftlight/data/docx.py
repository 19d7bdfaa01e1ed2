"""The text of Word files (.docx), read as what they are: a zip with XML in it."""

from __future__ import annotations

import posixpath
import zipfile
from pathlib import Path
from typing import Any
from xml.parsers import expat

from ftlight.utils import archives

BLOCK = 2**16  # bytes that are parsed at once
SMALL = 2**24  # bytes up to which any ratio of compression will do
# Ends of these elements are breaks in the text; the start of others is.
ENDS = {"p": "\n"}
# Elements without text of their own: properties of paragraphs list the stops of tabs, and what
# older readers fall back to is there a second time.
HIDDEN = ("pPr", "Fallback")
STARTS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "\u2011"}


class Bad(Exception):
    """A Word file that cannot be read; says why."""


def text(path: Path, most: int) -> str:
    """The paragraphs of a Word file, those of tables too, a line each.

    Headers, footnotes, comments and what was deleted with changes tracked are not read.

    Args:
        path: the file.
        most: most bytes of XML that it may unpack to.

    Raises:
        Bad: it is no whole Word file, or more than its size lets expect.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if fault := archives.fault(archive.infolist(), path, SMALL, way=""):
                raise Bad(fault)
            words = _Words()
            _parse(archive, _main_part(archive, most), most, words)
    except archives.UNREADABLE as error:
        encrypted = _is_encrypted(path)
        why = "it has a password; save it without one" if encrypted else f"no Word file ({error})"
        raise Bad(why) from None
    return "".join(words.parts)


class _Words:
    """Gathers the text of a document's XML."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.is_text = False
        self.hidden = 0  # elements open that are hidden, or lie in one

    def start(self, name: str, attributes: dict[str, str]) -> None:
        space, _, tag = name.rpartition(" ")
        self.hidden += tag in HIDDEN or self.hidden > 0
        self.is_text = tag == "t" and not self.hidden and "wordprocessingml" in space
        if not self.hidden and "wordprocessingml" in space:
            self.parts.append(STARTS.get(tag, ""))

    def end(self, name: str) -> None:
        space, _, tag = name.rpartition(" ")
        if not self.hidden and "wordprocessingml" in space:
            self.parts.append(ENDS.get(tag, ""))
        self.hidden -= self.hidden > 0
        self.is_text = False

    def characters(self, data: str) -> None:
        if self.is_text:
            self.parts.append(data)


class _Relations:
    """Finds the name of the main part among the relations of a document."""

    def __init__(self) -> None:
        self.main = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if attributes.get("Type", "").endswith("/officeDocument"):
            self.main = attributes.get("Target", "").lstrip("/")

    def end(self, name: str) -> None:
        """Nothing is to be done at the end of a relation."""

    def characters(self, data: str) -> None:
        """Relations hold no text."""


def _main_part(archive: zipfile.ZipFile, most: int) -> str:
    """The name of the part that holds the text; word/document.xml unless it says another."""
    relations = _Relations()
    if "_rels/.rels" in archive.namelist():
        _parse(archive, "_rels/.rels", most, relations)
    return posixpath.normpath(relations.main or "word/document.xml")


def _parse(archive: zipfile.ZipFile, name: str, most: int, handler: _Words | _Relations) -> None:
    """Parses a part of a document block by block, without a tree and without entities.

    Raises:
        Bad: there is no such part, it is too large, no XML, or declares entities.
    """
    try:
        size = archive.getinfo(name).file_size
    except KeyError:
        raise Bad(f"no Word file (it has no part {name})") from None
    if size > most:
        raise Bad(f"its text unpacks to {size >> 20:,} MB, more than {most >> 20}")
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = handler.start
    parser.EndElementHandler = handler.end
    parser.CharacterDataHandler = handler.characters
    parser.StartDoctypeDeclHandler = _refuse
    try:
        with archive.open(name) as file:
            while block := file.read(BLOCK):
                parser.Parse(block, False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise Bad(f"its XML is broken ({error})") from None


def _refuse(*declared: Any) -> None:
    """Refuses a document type, the only place where entities can be declared."""
    raise Bad("it declares entities, which no Word file does and XML bombs do")


def _is_encrypted(path: Path) -> bool:
    """Whether it is a container of Office with encrypted content, in place of a zip."""
    with path.open("rb") as file:
        return file.read(8) == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
