"""Reads a page as a browser would: its elements, its text, and what must not be in it."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from html.parser import HTMLParser

VOID = {"meta", "br", "img", "link", "input", "hr"}
NEVER = {"script", "iframe", "object", "embed", "link", "form", "base", "img", "foreignobject"}
UNSEEN = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")


class Reader(HTMLParser):
    """The elements and the text of a page.

    Attributes:
        tags: each element with its attributes.
        text: what is shown, without the style.
        faults: what a page must not have.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text, self.style = "", ""
        self.faults: list[str] = []
        self.feed(html)
        self.close()
        self.faults += [f"{tag} is never closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.append((tag, found))
        if tag in NEVER:
            self.faults.append(f"<{tag}>")
        for name, value in found.items():
            if name == "style" or name.startswith("on"):
                self.faults.append(f"{tag} has {name}")
            if name in ("href", "src", "xlink:href") and not value.startswith(("#", "data:image/")):
                self.faults.append(f"{tag} loads {value[:60]}")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self.open[-1:]}")
        else:
            self.open.pop()

    def handle_comment(self, data: str) -> None:
        self.faults.append(f"a comment: {data[:40]}")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        """Attributes of each element of a name."""
        return [attributes for name, attributes in self.tags if name == tag]


def check(html: str) -> Reader:
    """Checks what holds of every page. Returns what is in it."""
    page = Reader(html)
    assert page.faults == []
    assert re.search(r"url\(|@import|http", page.style) is None
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    policy = page.all("meta")[1]["content"]
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:")
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = [found["id"] for _, found in page.tags if "id" in found]
    assert len(ids) == len(set(ids))
    named = [found.get("aria-labelledby", "") for _, found in page.tags]
    assert {name for names in named for name in names.split()} <= set(ids)
    assert all(found["scope"] in ("col", "row") for found in page.all("th"))
    assert page.all("html") == [{"lang": "en"}]
    regions = [found["aria-label"] for _, found in page.tags if "aria-label" in found]
    assert len(regions) == len(set(regions))
    assert UNSEEN.findall(html) == []
    return page
