"""W&B's history of a run that is killed, its groups and sweeps, and faults of tracking."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, toy_rows, write_csv
from forked import Done, command
from wandb_files import read, records, written

from ftlight.run import loggers, offline_log, tracked, tracking
from ftlight.run.loggers import MetricsFile
from ftlight.run.tracking import WandB

KILL = """
import os, signal
import lightning as L

class Kill(L.Callback):
    def on_train_batch_end(self, trainer, *rest):
        place = os.environ.get("KILL_AT")
        if place and trainer.global_step == int(place):
            os.kill(os.getpid(), signal.SIGKILL)
"""


class Seen:
    """A W&B run that keeps what it gets."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, Any]]] = []

    def log(self, row: dict[str, Any], step: int) -> None:
        """Keeps a row."""
        self.rows.append((step, row))


def logged(folder: Path, sent: int = 0) -> Seen:
    """What W&B gets of two steps if it has some lines of them already."""
    folder.mkdir(exist_ok=True)
    seen, file = Seen(), MetricsFile(folder)
    tracker = WandB(file, seen, sent)
    for logger in (file, tracker):
        logger.log_metrics({"a": 1.0, "b": 2.0, "epoch": 0}, 0)
    for logger in (file, tracker):
        logger.log_metrics({"a": 3.0, "b": 4.0, "epoch": 0}, 1)
    return seen


@pytest.mark.parametrize("sent", range(5))
def test_what_wandb_has_is_not_sent_again(tmp_path: Path, sent: int) -> None:
    values = [(0, "a", 1.0), (0, "b", 2.0), (1, "a", 3.0), (1, "b", 4.0)]
    got = []
    for _, row in logged(tmp_path, sent).rows:
        step = row.pop("trainer/global_step")
        assert row.pop("epoch") == 0
        got += [(step, name, value) for name, value in row.items()]
    assert got == values[sent:]


def test_what_wandb_lacks_is_read_from_the_file(tmp_path: Path) -> None:
    logged(tmp_path)
    file, seen = MetricsFile(tmp_path), Seen()
    tracker = WandB(file, seen, last=1)
    for logger in (file, tracker):
        logger.log_metrics({"c": float("nan")}, 2)
    tracker.catch_up()
    assert [step for step, _ in seen.rows] == [2, 4, 5]
    assert seen.rows[0][1] == {"b": 2.0, "trainer/global_step": 0, "epoch": 0}
    assert seen.rows[1][1] == {"a": 3.0, "b": 4.0, "trainer/global_step": 1, "epoch": 0}


def test_a_run_that_had_ended_counts_on_from_its_end(tmp_path: Path) -> None:
    logged(tmp_path)
    known = tracked.settle({"id": "x"}, "p", ended=True)
    (tmp_path / "run.json").write_text(json.dumps({"wandb": known}))
    file, seen = MetricsFile(tmp_path), Seen()
    tracker = WandB(file, seen, last=9, anew=known["anew"])  # W&B has four lines, a test, tables
    for step in (2, 3):
        for logger in (file, tracker):
            logger.log_metrics({"a": 5.0, "b": 6.0}, step)
    assert [step for step, _ in seen.rows] == [11, 13]
    noted = json.loads((tmp_path / "run.json").read_text())["wandb"]
    assert noted == {"id": "x", "project": "p", "base": 5}
    again = WandB(MetricsFile(tmp_path), seen, last=11, base=noted["base"])  # killed after one
    again.catch_up()
    assert [step for step, _ in seen.rows] == [11, 13, 13]


@pytest.mark.run
@pytest.mark.parametrize("ended", [False, True])
def test_if_wandb_has_nothing_of_a_run_it_gets_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_NAME", "mine")
    logged(tmp_path)
    about = tracked.settle({"id": "y[1]", "base": 5}, "p", ended)  # of a log that is gone
    (tmp_path / "run.json").write_text(json.dumps({"wandb": about}))
    file = MetricsFile(tmp_path)
    tracker = tracking.start(about, file, {})
    assert tracker is not None
    for logger in (file, tracker):
        logger.log_metrics({"a": 5.0}, 2)
    tracking.finish([tracker])
    sent = read(tmp_path)
    assert sent.runs[0].display_name == "mine"
    assert sent.curves == {"a": [(0, 1.0), (1, 3.0), (2, 5.0)], "b": [(0, 2.0), (1, 4.0)]}
    noted = json.loads((tmp_path / "run.json").read_text())["wandb"]
    assert noted == {"id": "y[1]", "project": "p", "base": 0}
    assert offline_log.last_step(tmp_path, "y[1]") == 5  # its brackets are no pattern


@pytest.mark.run
def test_an_offline_file_that_is_cut_is_read_up_to_there(tmp_path: Path) -> None:
    import wandb

    settings = wandb.Settings(silent=True, console="off", mode="offline")
    run = wandb.init(project="p", id="x", dir=str(tmp_path), settings=settings)
    for step in range(400):
        run.log({"long": "word " * 50}, step=step + 1)
    run.finish()
    (path,) = written(tmp_path)
    whole = path.read_bytes()
    assert len(whole) > 3 * offline_log.BLOCK
    assert [r.num for r in offline_log.records(path)] == [r.num for r in records(path)]
    assert offline_log.last_step(tmp_path, "x") == 400
    last = 400
    for size in (*range(len(whole) - 1, len(whole) // 2, -9973), 40_000, 7, 3, 0):
        path.write_bytes(whole[:size])
        steps = [r.history.step.num for r in records(path)] if size > 6 else [0]
        assert offline_log.last_step(tmp_path, "x") == max(steps, default=0) <= last
        last = max(steps, default=0)


@pytest.mark.run
@pytest.mark.processes
def test_a_run_that_is_killed_twice_has_the_history_of_one_that_was_not(
    bert: str, tmp_path: Path
) -> None:
    (tmp_path / "killer.py").write_text(KILL)
    train = write_csv(tmp_path / "toy.csv", toy_rows(60))
    config = {
        "model": {"task": "TextClassification", "backbone": bert},
        "data": {"train": train, "batch_size": 8},
        "trainer": {
            **{"max_epochs": 8, "accelerator": "cpu", "log_every_n_steps": 1, "save_every": 4},
            "callbacks": [{"class_path": "killer.Kill"}],
        },
    }
    (tmp_path / "c.yaml").write_text(json.dumps(config))

    def fit(run: str, kill_at: str = "") -> Done:
        words = ["fit", "-c", "c.yaml", "--run", run, "--resume", "auto", "--wandb", "p"]
        return command(words, tmp_path, WANDB_MODE="offline", KILL_AT=kill_at)

    assert fit("calm").returncode == 0
    for step in ("26", "43"):
        assert fit("killed", step).returncode == -signal.SIGKILL
    assert fit("killed").returncode == 0
    calm, killed = read(tmp_path / "calm"), read(tmp_path / "killed")
    assert len({run.run_id for run in killed.runs}) == 1
    assert killed.curves == calm.curves
    assert len(killed.curves["train/loss_step"]) > 43  # it was killed before that
    steps = [row["_step"] for row in killed.history]
    assert steps == sorted({*steps})


@pytest.mark.run
@pytest.mark.processes
def test_agents_of_a_sweep_start_fit_word_for_word(bert: str, tmp_path: Path) -> None:
    config = {
        "model": {"task": "TextClassification", "backbone": bert},
        "data": {"train": write_csv(tmp_path / "toy.csv", toy_rows(60)), "batch_size": 8},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }
    (tmp_path / "X.yaml").write_text(json.dumps(config))
    agent = {"WANDB_SWEEP_ID": "s1", "WANDB_PROJECT": "swept", "WANDB_RUN_ID": "r1"}
    (tmp_path / "p.yaml").write_text("model.lr:\n  value: 0.001\n")
    agent |= {"WANDB_MODE": "offline", "WANDB_SWEEP_PARAM_PATH": str(tmp_path / "p.yaml")}
    stages = "[{'train': 'head', 'fraction': 0.25, 'lr': None}, {'train': 'last:1'}]"
    words = ["fit", "-c", "X.yaml", "--model.lr=0.001", f"--model.unfreeze={stages}"]
    words += ["--model.dropout=None", "--trainer.test=False", "--data={'batch_size': 4}"]
    done = command([*words, "--run", "r"], tmp_path, **agent)
    assert done.returncode == 0, done.stdout
    sent = read(tmp_path / "r")
    assert (sent.runs[0].run_id, sent.runs[0].project, sent.runs[0].sweep_id) == (
        *("r1", "swept"),
        "s1",
    )
    assert sent.config["model.lr"] == 0.001
    options = sent.config["model"]["init_args"]
    assert (options["lr"], options.get("dropout"), len(options["unfreeze"])) == (0.001, None, 2)
    assert sent.config["data"]["init_args"]["batch_size"] == 4
    assert "val/f1" in sent.summary


@pytest.mark.run
@pytest.mark.processes
@pytest.mark.parametrize("by_agent", [False, True])
def test_seeds_are_a_group(bert: str, tmp_path: Path, by_agent: bool) -> None:
    train = write_csv(tmp_path / "toy.csv", toy_rows(60))
    words = ["fit", "--model", "TextClassification", "--model.backbone", bert]
    words += ["--data.train", train, "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
    words += ["--seeds", "2", "--run", "several"]
    words += ["--model.dropout=None"] if by_agent else ["--wandb", "p"]
    agent = {"WANDB_SWEEP_ID": "s1", "WANDB_PROJECT": "p", "WANDB_RUN_ID": "r1"}
    done = command(words, tmp_path, WANDB_MODE="offline", **(agent if by_agent else {}))
    assert done.returncode == 0, done.stdout
    homes = [tmp_path / "several" / f"seed-{seed}" for seed in (0, 1)]
    runs = [run for home in homes for run in read(home).runs]
    assert len({run.run_id for run in runs} - {"r1"}) == 2
    group = f"{tmp_path.name}/several"
    assert [(run.run_group, run.job_type, run.sweep_id) for run in runs] == [
        (group, "seed", "")
    ] * 2
    facts = [json.loads((home / "run.json").read_text()) for home in homes]
    assert facts[0]["wandb"]["group"] == group  # for one that is resumed by itself
    if by_agent:  # the run of the sweep has their mean
        swept = read(tmp_path / "several" / "wandb")
        (run,) = swept.runs
        assert (run.run_id, run.sweep_id, run.run_group) == ("r1", "s1", group)
        mean = sum(fact["best"]["val/f1"] for fact in facts) / 2
        assert swept.history[-1]["val/f1"] == pytest.approx(mean)


def test_groups_that_are_set_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tracked.grouped(tmp_path / "a\u202e", "fold")[tracked.GROUP]
    assert own == f"{tmp_path.name}/a\ufffd"
    monkeypatch.setenv(tracked.GROUP, "mine")
    assert tracked.grouped(tmp_path, "fold") == {tracked.GROUP: "mine", tracked.KIND: "fold"}


def started(folder: Path, caplog: pytest.LogCaptureFixture) -> tuple[Any, list[str]]:
    """A tracker that is started for a folder, and what was said of it."""
    about = tracked.settle({}, "p")
    found = tracking.start(about, MetricsFile(folder), {"labels": ["a"]})
    return found, said(caplog)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What a person was told; W&B notes more for itself."""
    return [r.getMessage() for r in caplog.records if r.name.startswith("ftlight")]


def test_without_wandb_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert started(tmp_path, caplog) == (
        None,
        ["W&B is not installed: pip install wandb; the run goes on without it"],
    )


@pytest.mark.run
def test_disabled_counts_no_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert started(tmp_path, caplog) == (None, [])


SETTING = """
import logging
from pathlib import Path
from ftlight.run import loggers, tracked, tracking
logging.basicConfig()
tracker = tracking.start(tracked.settle({}, "p"), loggers.MetricsFile(Path("r")), {})
print("offline:", tracker.experiment.offline)
tracking.finish([tracker])
"""


@pytest.mark.run
@pytest.mark.processes
def test_wandb_offline_in_a_folder_counts_there(tmp_path: Path) -> None:
    for name in ("r", "wandb"):
        (tmp_path / name).mkdir()
    (tmp_path / "wandb" / "settings").write_text("[default]\nmode = offline\n")
    environment = {n: v for n, v in os.environ.items() if not n.startswith("WANDB_")}
    environment |= {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    environment |= {"WANDB_INIT_TIMEOUT": "5", "WANDB_CONFIG_DIR": str(tmp_path)}
    environment["PYTHONPATH"] = str(ROOT)
    words, pipes = [sys.executable, "-c", SETTING], subprocess.PIPE
    done = subprocess.run(
        words, cwd=tmp_path, env=environment, stdout=pipes, stderr=subprocess.STDOUT, text=True
    )
    assert "offline: True" in done.stdout
    assert "W&B: " not in done.stdout  # it did not look for a connection


@pytest.mark.run
@pytest.mark.parametrize("key", ["wrong", "0" * 40])
def test_without_a_connection_or_a_key_the_log_stays_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "5")
    monkeypatch.setenv("WANDB_RUN_ID", "known")
    tracker, (line,) = started(tmp_path, caplog)
    assert f"the log stays in {tmp_path}/wandb" in line
    for logger in (tracker.file, tracker):
        logger.log_metrics({"a": 1.0}, 0)
    tracking.finish([tracker])
    assert tracker.experiment.id != "known"  # W&B's process may hold that
    assert read(tmp_path).curves == {"a": [(0, 1.0)]}
    assert said(caplog) == [line]


@pytest.mark.run
def test_a_service_that_is_gone_costs_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    tracker, _ = started(tmp_path, caplog)
    guarded = loggers.guard(tracker)
    for child in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        for number in map(int, child.read_text().split()):
            if "wandb-core" in Path(f"/proc/{number}/cmdline").read_text():
                os.kill(number, signal.SIGKILL)
    for step in range(5):
        tracker.file.log_metrics({"a": 1.0}, step)
        guarded.log_metrics({"a": 1.0}, step)
    tracking.finish([guarded], 0)
    (line,) = said(caplog)
    assert line.startswith("WandB: ")
