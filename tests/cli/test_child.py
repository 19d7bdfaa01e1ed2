"""Commands in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ftlight.cli import child

PYTHON = [sys.executable, "-m", "ftlight", "fit", "--model", "TextClassification", "--run", "s"]
PYTHON += ["--trainer.accelerator", "cpu", "--trainer.report", "false", "--seeds", "2"]


@pytest.mark.processes
def test_a_signal_to_all_processes_ends_the_command_in_its_own_way(
    bert: str, toy: str, tmp_path: Path
) -> None:
    words = [*PYTHON, "--model.backbone", bert, "--data.train", toy, "--trainer.max_epochs", "9"]
    process = subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "epoch 1/9" in line:
            os.killpg(process.pid, signal.SIGTERM)
    assert process.wait() == 75  # to be queued again
    facts = json.loads((tmp_path / "s" / "seed-0" / "run.json").read_text())
    assert facts["status"] == "stopped"
    assert not (tmp_path / "s" / "seed-1").exists()


@pytest.mark.processes
def test_a_command_starts_the_other_processes_of_its_training(
    bert: str, toy: str, tmp_path: Path
) -> None:
    words = [*PYTHON, "--model.backbone", bert, "--data.train", toy, "--trainer.max_epochs", "1"]
    done = subprocess.run(
        [*words, "--trainer.devices", "2"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for seed in (0, 1):
        facts = json.loads((tmp_path / "s" / f"seed-{seed}" / "run.json").read_text())
        assert facts["status"] == "done"
    assert done.stdout.count("2 x cpu") == 2


@pytest.mark.processes
def test_a_command_is_asked_to_stop_once_its_time_is_up(bert: str, toy: str) -> None:
    words = [*PYTHON[4:-2], "--model.backbone", bert, "--data.train", toy]
    words += ["--trainer.max_epochs", "1000", "--trainer.patience", "0"]
    # stopped before it trains, or saved between two steps
    assert child.run("fit", words, Path("log"), seconds=0.0) in (75, 143)
