"""The fuzzer: whole examples are read by every verb, and a few harmed ones of each form end well."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).resolve().parents[2] / "scripts" / "bench" / "fuzz.py"


def outcomes(*words: str) -> list[list[object]]:
    command = [sys.executable, str(FUZZ), "--jobs", "1", "--out", "outcomes.jsonl", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return [json.loads(line) for line in Path("outcomes.jsonl").read_text().splitlines()]


@pytest.mark.run
@pytest.mark.processes
def test_whole_examples_are_read_and_harmed_ones_end_in_a_line() -> None:
    whole = outcomes("--whole")
    refused = [(form, said) for form, _, kind, said, *_ in whole if kind != "read"]
    assert [form for form, _ in refused] == ["sweep"], refused  # no trial ends within its second
    harmed = outcomes("--mutations", "3")[len(whole) :]
    assert len(harmed) == 3 * 23
    assert {kind for _, _, kind, *_ in harmed} == {"read", "refused"}
