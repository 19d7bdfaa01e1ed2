"""The page that asks a server from a browser: its files, and what a browser may do there."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ftlight.utils import look

STATIC = Path(__file__).with_name("static")
POLICY = (
    *("default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"),
    *("img-src blob: data:", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"),
    *("require-trusted-types-for 'script'", "trusted-types 'none'"),  # texts never become HTML
)
HEADERS = {
    "content-security-policy": "; ".join(POLICY),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}


class File(NamedTuple):
    """A file of the page: its path on the server, its content type, and its bytes."""

    path: str
    kind: str
    content: bytes


def files() -> list[File]:
    """The files of the page; none holds anything of a run."""
    return [
        File("/", "text/html", (STATIC / "page.html").read_bytes()),
        File("/page.css", "text/css", look.css(STATIC / "page.css").encode()),
        *(
            File(f"/{path.name}", "text/javascript", path.read_bytes())
            for path in sorted(STATIC.glob("*.js"))
        ),
    ]
