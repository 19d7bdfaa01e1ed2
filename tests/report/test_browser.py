"""Pages in a real browser, if there is one: they ask for nothing, and open no dialog."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT
from report import made

from ftlight.report import page

pages = SimpleNamespace(**runpy.run_path(str(ROOT / "scripts" / "pages.py")))
pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(pages.find() is None, reason="there is no chromium"),
]


def test_a_hostile_page_asks_for_nothing_and_fits_its_window(tmp_path: Path) -> None:
    run = made.make_run(tmp_path / "x", 12, 120, hostile=True)
    path = tmp_path / "page.html"
    hostile = [made.explained(i, text) for i, text in enumerate(made.HOSTILE)]
    page.write(path, page.of_runs([run], 20, hostile))
    bad = tmp_path / "bad.html"
    bad.write_text("<script>alert(1)</script><img src='http://nowhere.invalid/a.png'>")
    browser = pages.Browser(pages.find())
    try:
        found = pages.look(browser, path)
        assert (found.requests, found.dialogs, found.overflows) == ([], [], [])
        found = pages.look(browser, bad)  # what a browser would notice
        assert set(found.requests) == {"http://nowhere.invalid/a.png"}
        assert set(found.dialogs) == {"1"}
    finally:
        browser.close()
