"""The fuzzer: whole examples are read by every verb, a few harmed ones of each form end well."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).resolve().parents[2] / "scripts" / "bench" / "fuzz.py"


@pytest.mark.run
@pytest.mark.processes
def test_whole_examples_are_read_and_harmed_ones_end_in_a_line() -> None:
    words = ["--whole", "--mutations", "1", "--jobs", "1", "--out", "outcomes.jsonl"]
    command = [sys.executable, str(FUZZ), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    ended = [json.loads(line) for line in Path("outcomes.jsonl").read_text().splitlines()]
    refused = [form for form, number, kind, *_ in ended if number < 0 and kind != "read"]
    assert refused == ["sweep"], done.stdout  # no trial ends within its second
    harmed = [kind for _, number, kind, *_ in ended if number >= 0]
    assert len(harmed) == 23
    assert {*harmed} == {"read", "refused"}
