"""Real signals to real processes: state, exit status, nobody left waiting, a run that resumes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, make_bert, toy_rows, write_csv
from forked import Done, command
from resuming import differences, everything
from together import together

from ftlight.training import checkpoint
from ftlight.training.signals import EXIT_REQUEUE

pytestmark = [pytest.mark.run, pytest.mark.processes]
CALLBACK = """
import json, os, pty, signal, time
import lightning as L

class Rows(L.Callback):
    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        with (trainer.folder / f"rows{trainer.global_rank}.jsonl").open("a") as file:
            place = [trainer.current_epoch, trainer.global_step, batch["index"]]
            file.write(json.dumps(place) + "\\n")

class Kill(L.Callback):
    def __init__(self, hook: str, step: int, signals: list[str], rank: int = 0):
        self.step, self.signals, self.rank = step, signals, rank
        setattr(self, hook, self.send)

    def send(self, trainer, *rest):
        if trainer.global_step == self.step and trainer.global_rank == self.rank:
            for i, name in enumerate(self.signals):
                if i:
                    time.sleep(1.2)
                os.kill(os.getpid(), getattr(signal, name))

class Hangup(L.Callback):
    def setup(self, trainer, task, stage):
        if stage == "fit":
            self.master, terminal = pty.openpty()
            os.dup2(terminal, 1), os.dup2(terminal, 2), os.close(terminal)

    def on_train_batch_start(self, trainer, *rest):
        if trainer.global_step == 5:
            os.close(self.master)
            os.kill(os.getpid(), signal.SIGHUP)

class NoReader(L.Callback):
    def on_train_batch_start(self, trainer, *rest):
        if trainer.global_step == 5:
            read, write = os.pipe()
            os.close(read), os.dup2(write, 1)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a BERT with dropout, data, a config, and a run that was never stopped."""
    folder = tmp_path_factory.mktemp("home")
    make_bert(folder / "bert", num_hidden_layers=3)
    for name, rows in (
        ("train", toy_rows(48)),
        ("validation", toy_rows(20)),
        ("test", toy_rows(9)),
    ):
        write_csv(folder / f"{name}.csv", rows)
    (folder / "killer.py").write_text(CALLBACK)
    model = {
        "task": "TextClassification",
        "backbone": str(folder / "bert"),
        "unfreeze": "gradual",
        "lr": 0.001,
    }
    data = {name: str(folder / f"{name}.csv") for name in ("train", "validation", "test")}
    trainer = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "precision": "32-true",
        "log_every_n_steps": 1,
        "enable_progress_bar": False,
    }
    (folder / "X.yaml").write_text(
        json.dumps({"model": model, "data": {**data, "batch_size": 8}, "trainer": trainer})
    )
    done = fit(folder, "whole")
    assert done.returncode == 0, done.stdout
    return folder


def fit(
    home: Path, name: str, *words: str, kill: dict[str, Any] | None = None, **environment: str
) -> Done:
    """Trains in a process of its own, which a callback signals."""
    callbacks = (
        []
        if kill is None
        else ["--trainer.callbacks", json.dumps([{"class_path": "killer.Kill", "init_args": kill}])]
    )
    return command(
        ["fit", "-c", "X.yaml", "--run", name, "--resume", "auto", *words, *callbacks],
        home,
        **environment,
    )


HOOKS = [
    ("on_train_batch_start", 5, 5),
    ("on_validation_batch_start", 6, 6),
    ("on_save_checkpoint", 4, 5),  # the save is ended, and the next step
    ("on_test_batch_start", 12, 12),
]


@pytest.mark.parametrize(("hook", "step", "end"), HOOKS)
def test_a_signal_saves_and_the_run_goes_on_to_the_same_end(
    home: Path, hook: str, step: int, end: int
) -> None:
    name, every = f"run {hook}", ["--trainer.save_every", "2"]
    signals = {"on_train_batch_start": "SIGUSR1", "on_save_checkpoint": "SIGINT"}
    signals["on_test_batch_start"] = "SIGHUP"
    sent = signals.get(hook, "SIGTERM")
    stopped = fit(home, name, *every, kill={"hook": hook, "step": step, "signals": [sent]})
    assert stopped.returncode == (130 if sent == "SIGINT" else EXIT_REQUEUE), stopped.stdout
    assert (
        f"stopped by {sent} at step {end}; to resume: python -m ftlight fit --resume 'run {hook}'"
        in stopped.stdout
    )
    assert json.loads((home / name / "run.json").read_text())["status"] == "stopped"
    again = fit(home, name, *every)
    assert again.returncode == 0, again.stdout
    assert (
        f"{'nothing is left to train after' if end == 12 else 'resuming from'} step {end}"
        in again.stdout
    )
    assert differences(everything(home / "whole"), everything(home / name)) == []
    third = fit(home, name, *every)
    assert third.returncode == 0
    assert "is done; nothing is left to do" in third.stdout


def test_a_second_signal_stops_at_once(home: Path) -> None:
    kill = {"hook": "on_train_batch_start", "step": 5, "signals": ["SIGTERM", "SIGTERM"]}
    stopped = fit(home, "twice", "--trainer.save_every", "2", kill=kill)
    assert stopped.returncode == -signal.SIGTERM
    assert checkpoint.load(home / "twice" / "checkpoints" / "last.ckpt")["global_step"] == 4
    assert fit(home, "twice", "--trainer.save_every", "2").returncode == 0
    assert differences(everything(home / "whole"), everything(home / "twice")) == []


@pytest.mark.parametrize(("callback", "code"), [("Hangup", EXIT_REQUEUE), ("NoReader", 141)])
def test_a_run_is_saved_when_its_screen_is_gone(home: Path, callback: str, code: int) -> None:
    """The terminal is closed, as when a connection is lost; or what reads the output has left."""
    gone = ["--trainer.enable_progress_bar", "true", "--trainer.callbacks"]
    stopped = fit(home, callback, *gone, json.dumps([{"class_path": f"killer.{callback}"}]))
    assert stopped.returncode == code, stopped.stdout
    assert json.loads((home / callback / "run.json").read_text())["status"] == "stopped"
    assert fit(home, callback).returncode == 0
    assert differences(everything(home / "whole"), everything(home / callback)) == []


# where, at which step, on which processes
STOPS = [
    ("on_train_batch_start", 1, [0]),
    ("on_train_batch_start", 2, [1]),
    ("on_train_batch_end", 3, [0, 1]),
    ("on_validation_batch_start", 2, [0]),
    ("on_validation_batch_start", 2, [1]),
    ("on_validation_batch_end", 3, [0, 1]),
    ("on_save_checkpoint", 2, [1]),
    ("on_test_batch_start", 6, [1]),
]


def test_two_processes_stop_together_whichever_is_signalled(home: Path, tmp_path: Path) -> None:
    rows = {name: str(home / f"{name}.csv") for name in ("train", "validation", "test")}
    how = {
        "model": {"unfreeze": "gradual", "cache": False},
        "trainer": {"devices": 2, "strategy": "ddp", "val_check_interval": 2},
    }
    saving = {**how, "trainer": {**how["trainer"], "save_every": 1}}
    jobs: list[dict[str, Any]] = [{"folder": tmp_path / "whole", "how": how}]
    for number, stop in enumerate(STOPS):
        job = {
            "folder": tmp_path / f"stop{number}",
            "how": saving if stop[0] == "on_save_checkpoint" else how,
        }
        jobs += [{**job, "stop": stop}, {**job, "resume": True}]
    found = together(tmp_path, str(home / "bert"), rows, jobs)
    wanted = everything(tmp_path / "whole")
    for number, stop in enumerate(STOPS):
        assert [end["code"] for end in found[1 + 2 * number]] == [EXIT_REQUEUE, EXIT_REQUEUE], stop
        assert all(end["seconds"] < 10 for end in found[1 + 2 * number]), stop
        assert [end["code"] for end in found[2 + 2 * number]] == [0, 0], stop
        assert differences(wanted, everything(tmp_path / f"stop{number}")) == [], stop


def test_lightnings_own_launcher_and_another_number_of_processes(home: Path) -> None:
    """A signal to the second of two processes; then one process resumes, with the same steps."""
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--data.batch_size", "4"]
    words = [
        "fit",
        "-c",
        "X.yaml",
        "--run",
        "launched",
        "--resume",
        "auto",
        *two,
        "--trainer.callbacks",
    ]
    kill = {
        "class_path": "killer.Kill",
        "init_args": {"hook": "on_train_batch_start", "step": 3, "signals": ["SIGTERM"], "rank": 1},
    }
    rows = {"class_path": "killer.Rows"}
    command = [
        sys.executable,
        "-m",
        "ftlight",
        *words,
        json.dumps([rows, kill]),
    ]  # it starts itself again
    stopped = subprocess.run(
        command, cwd=home, capture_output=True, text=True, timeout=240, check=False
    )
    assert stopped.returncode == EXIT_REQUEUE, stopped.stderr
    one = fit(home, "launched", "--data.batch_size", "4", "--trainer.callbacks", json.dumps([rows]))
    assert one.returncode == 0, one.stdout
    assert "1 processes instead of 2: each step has the same rows" in one.stdout
    wanted, found = (
        checkpoint.load(home / n / "checkpoints" / "last.ckpt") for n in ("whole", "launched")
    )
    assert found["global_step"] == wanted["global_step"] == 12
    lines = [
        json.loads(line)
        for n in (0, 1)
        for line in (home / "launched" / f"rows{n}.jsonl").read_text().splitlines()
    ]
    for epoch in (
        0,
        1,
    ):  # a batch that was begun when the signal came is written down twice by the first process
        steps: dict[int, set[int]] = {}
        for _, step, numbers in (line for line in lines if line[0] == epoch):
            steps.setdefault(step, set()).update(numbers)
        assert sorted(n for numbers in steps.values() for n in numbers) == list(range(48))
    far = max(
        float((wanted["state_dict"][k] - found["state_dict"][k]).abs().max())
        for k in wanted["state_dict"]
    )
    assert 0 < far < 0.05  # other dropout, another order of sums
    assert all(
        torch.isfinite(v).all() for v in found["state_dict"].values() if v.is_floating_point()
    )


def test_kills_at_any_time(tmp_path: Path) -> None:
    """The benchmark, with ten kills: it fails if a run ends otherwise than one never killed."""
    script = ROOT / "scripts" / "bench" / "faults"
    options = ["--kills", "10", "--seed", "1", "--home", str(tmp_path)]
    # one process: of two, one that is killed before they are connected leaves the other waiting
    options += ["--tasks", "TextClassification", "--processes", "1"]
    command = [sys.executable, str(script), "kills", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kills that left a checkpoint unreadable: 0; parts of files left: 0" in done.stdout
