"""The look that all pages share: typeface, colours by day and night, tables, shades of words."""

from __future__ import annotations

from pathlib import Path


def css(own: Path) -> str:
    """The shared rules, and those of a page behind them.

    Args:
        own: file of the page's own rules.
    """
    files = (Path(__file__).with_name("look.css"), own)
    return "\n".join(file.read_text(encoding="utf-8") for file in files)
