"""Benchmarks run on machines that are too small to measure anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "scripts" / "bench"


@pytest.mark.run
@pytest.mark.processes
def test_the_gpu_benchmark_trains_all_variants_on_the_cpu() -> None:
    command = [sys.executable, str(BENCH / "gpu.py"), "--device", "cpu", "--tiny"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(("bert", "llama"))]
    assert [" ".join(w for w in row if w[0].isalpha()) for row in rows] == [
        "bert ftlight padded",
        "bert transformers",
        "llama ftlight padded",
        "llama ftlight packed sdpa",
        "llama transformers",
    ]
    assert all(float(row[-5].replace(",", "")) > 0 for row in rows)
