"""``tune``: trials are runs, none is lost or made twice, and the choice is honest."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import each, toy_rows, write_csv
from resuming import differences

from ftlight.__main__ import main
from ftlight.cli import child, trials, tune_end, tune_training, tuning
from ftlight.cli.command import Words
from ftlight.metrics.seeds import difference
from ftlight.run import folder
from ftlight.training import checkpoint
from ftlight.tune import ask_tell, ending, study
from ftlight.tune.asked import Asked
from ftlight.tune.space import Parameter
from ftlight.utils.errors import WriteError

SWEEP = """
metric: {name: val/f1, goal: maximize}
parameters:
  model.lr: {min: 1.0e-4, max: 1.0e-2, distribution: log_uniform_values}
  model.unfreeze: {values: [all, [{train: head, fraction: 0.3}, {train: all}]]}
"""


@pytest.fixture
def config(bert: str, tmp_path: Path) -> str:
    """A config of a tiny model, with test data, and a sweep beside it."""
    rows = toy_rows(150)
    write_csv(tmp_path / "train.csv", rows[:100])
    write_csv(tmp_path / "test.csv", rows[100:])
    (tmp_path / "s.yaml").write_text(SWEEP)
    path = tmp_path / "toy.yaml"
    path.write_text(
        f"model: {{task: TextClassification, backbone: {bert}}}\n"
        "data: {train: train.csv, test: test.csv, batch_size: 16}\n"
        "trainer: {max_epochs: 4, accelerator: cpu, save_every: 5}\n"
    )
    return str(path)


def tune(config: str, *words: str, home: str = "t") -> list[str]:
    return ["tune", "-c", config, "--sweep", "s.yaml", "--run", home, *words]


def found(home: str = "t") -> dict[str, Any]:
    known: dict[str, Any] = json.loads((Path(home) / "tune.json").read_text())
    return known


@pytest.mark.run
@pytest.mark.processes
def test_a_tune_leaves_the_best_run_its_config_and_all_that_was_tried(
    config: str, capsys: Any
) -> None:
    assert main(tune(config, "--trials", "3", "--seeds", "2")) == 0
    said, known = capsys.readouterr().out, found()
    assert [trial["number"] for trial in known["trials"]] == [0, 1, 2]
    assert known["trials"][0]["settings"] == {}  # the config as it is
    whole = [trial for trial in known["trials"] if trial["state"] == "complete"]
    assert all(0 <= trial["score"] <= 1 for trial in known["trials"])
    again = {(run["trial"], run["seed"]) for run in known["repeated"]}
    assert again == {(t["number"], 1) for t in whole} or len(whole) < 2
    # the best one is a run, tested once; others have no checkpoints left
    best = Path("t/best")
    assert best.is_symlink()
    assert best.resolve().name == known["best"]["run"]
    assert known["test"].keys() >= {"test/f1", "test/accuracy"}
    assert [p.parent.parent.name for p in Path("t").glob("trial-*/checkpoints/best.ckpt")] == [
        known["best"]["run"]
    ]
    assert len(list(Path("t").glob("*/test_metrics.json"))) == 2  # of the run, and by its link
    config_of_best = folder.read_config(Path("t/best"))
    repeated = Path("t/best.yaml").read_text()
    assert f"seed_everything: {config_of_best['seed_everything']}" in repeated
    assert "test: false" not in repeated
    assert "python -m ftlight fit -c t/best.yaml" in said
    # once more: nothing is left to do
    tested = (best / "test_metrics.json").stat().st_mtime_ns
    assert main(tune(config, "--trials", "3", "--seeds", "2")) == 0
    assert (best / "test_metrics.json").stat().st_mtime_ns == tested
    assert found() == known
    # another sweep is another tune
    Path("s.yaml").write_text(SWEEP.replace("1.0e-2", "1.0e-1"))
    assert main(tune(config, "--trials", "3")) == 2
    assert "is a tune of another sweep; give another --run DIR" in capsys.readouterr().err


def stopped(command: list[str], run: Path, signum: int) -> tuple[int, str]:
    """Starts a tune in a process group of its own, and sends a signal to all of it.

    Returns:
        Status and output of the tune, which got it after the first epoch of a run.
    """
    words = [sys.executable, "-m", "ftlight", *command]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
    deadline, epochs = time.monotonic() + 120, run / "epochs.csv"
    while time.monotonic() < deadline and process.poll() is None:
        if epochs.is_file() and epochs.read_text().count("\n") > 1:
            break
        time.sleep(0.01)
    os.killpg(process.pid, signum)
    said, _ = process.communicate()
    return process.returncode, said


@pytest.mark.run
@pytest.mark.processes
def test_a_tune_that_is_killed_within_a_trial_ends_as_one_that_was_not(config: str) -> None:
    words = ["--trials", "2", "--seeds", "1", "--keep", "all", "--prune", "false"]
    assert main(tune(config, *words)) == 0
    stopped(tune(config, *words, home="k"), Path("k/trial-000"), signal.SIGKILL)
    with Path("k/journal.log").open("ab") as file:
        file.write(b'{"op_code":6,"worker_id":"dead","tri')
    tried = study.opened(Path("k"), "bayes", 0, {})
    assert [trial.state.name for trial in tried.trials] == ["RUNNING"]
    assert main(tune(config, *words, home="k")) == 0
    both = [found(home)["trials"] for home in ("t", "k")]
    for one, other in zip(*both, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
        weights = [
            checkpoint.load(Path(home) / study.name_of(one["number"]) / "checkpoints/best.ckpt")
            for home in ("t", "k")
        ]
        assert differences(weights[0]["state_dict"], weights[1]["state_dict"]) == []
    assert json.loads(Path("k/trial-000/run.json").read_text())["resumed"]


@pytest.mark.run
@pytest.mark.processes
def test_two_jobs_make_the_trials_of_one_each_once(config: str) -> None:
    words = ["--trials", "3", "--seeds", "1", "--prune", "false"]
    assert main(tune(config, *words)) == 0
    assert main(tune(config, *words, "--jobs", "2", home="two")) == 0
    one, two = (
        {trial["number"]: {**trial, "seconds": 0} for trial in found(home)["trials"]}
        for home in ("t", "two")
    )
    assert len(found("two")["trials"]) == 3
    assert two == one


@pytest.mark.run
@pytest.mark.processes
def test_a_hopeless_trial_is_cut_short_unless_pruning_is_off(config: str) -> None:
    Path("s.yaml").write_text("parameters: {model.lr: {values: [1.0e-9]}}")
    own = ["--trials", "2", "--seeds", "1", "--model.lr", "3e-3", "--model.unfreeze", "all"]
    own += ["--trainer.max_epochs", "6", "--trainer.patience", "0"]
    for home, prunes, state, epochs in (("t", "true", "pruned", 3), ("u", "false", "complete", 6)):
        assert main(tune(config, *own, "--prune", prunes, home=home)) == 0
        first, second = found(home)["trials"]
        assert (first["state"], second["state"]) == ("complete", state)
        assert json.loads(Path(home, "trial-001/run.json").read_text())["epochs"] == epochs
        assert found(home)["best"]["trial"] == 0


@pytest.mark.run
@pytest.mark.processes
def test_an_interrupted_tune_says_what_it_has_and_how_it_goes_on(config: str) -> None:
    status, said = stopped(tune(config, "--trials", "9"), Path("t/trial-000"), signal.SIGINT)
    assert status == 130, said
    assert json.loads(Path("t/trial-000/run.json").read_text())["status"] == "stopped"
    assert "no trial has ended yet" in said
    assert re.search(r"to go on: python -m ftlight tune .*--run=\S+/t", said)


def test_what_is_wrong_is_said_before_a_trial_begins(config: str, capsys: Any) -> None:
    def check(sweep: str, words: list[str], fault: str) -> None:
        Path("s.yaml").write_text(sweep)
        assert main(tune(config, *words)) == 2
        assert fault in capsys.readouterr().err
        assert not Path("t/trial-000").exists()

    lr = "parameters: {model.lr: {values: [1.0e-3]}}"
    each(
        [
            ("parameters: {model.lrr: {value: 1}}", [], 'did you mean "model.lr"?'),
            ("parameters: {model.lr: {values: [fast]}}", [], "model.lr: expected a number"),
            ("parameters: {model.lr: {min: -1, max: 1}}", [], "model.lr: -1 is out of range"),
            ("parameters: {trainer.run: {values: [a]}}", [], "trainer.run cannot vary"),
            ("parameters: {data.validation_split: {values: [0.1]}}", [], "scores on other rows"),
            ("parameters: {seed_everything: {values: [1]}}", [], "tune --seeds N"),
            (lr, ["--trials", "many"], "--trials: expected a whole number"),
            (lr, ["--budget", "soon"], "--budget: expected a time"),
            (lr, ["--keep", "some"], "--keep: no some"),
            (lr, ["--trial", "3"], "--trial is not an option of tune"),
            (lr, ["--model.lr", "fast"], "model.lr: expected a number"),
            (lr, ["--data.train", "no.csv"], "no.csv"),
            (lr, ["file.csv"], "file.csv: unexpected"),
        ],
        check,
    )
    Path("full").mkdir()
    Path("full/letter.txt").write_text("mine")
    assert main(tune(config, home="full")) == 2
    assert "exists and is no tune" in capsys.readouterr().err


def test_a_winner_within_noise_is_told_as_such() -> None:
    rng = np.random.default_rng(0)
    config = (rng.random((1, 300)) < 0.8).astype(float)
    close = config.copy()
    close[0, :4] = 1.0
    found = difference(close, config)
    assert not ending.is_better(found, 20)
    said = ending.verdict("trial-007", found, 20)
    assert "within noise" in said
    assert said.endswith("the config is kept as it is")
    better = difference(np.ones((1, 300)), config)
    assert ending.is_better(better, 20)
    said = ending.verdict("trial-007", better, 20)
    assert said.startswith("trial-007 is better than the config as it is: +0.")


def test_the_best_of_many_must_be_better_by_more() -> None:
    # as good as the config, by chance better: how often is one of twenty such trials called better?
    rng, false = np.random.default_rng(1), 0
    for _ in range(100):
        config = (rng.random((1, 200)) < 0.8).astype(float)
        others = (rng.random((20, 200)) < 0.8).astype(float)
        best = others[others.mean(1).argmax()][None]
        false += ending.is_better(difference(best, config), 20)
    assert false <= 8  # of 100, at 5 %


def test_candidates_on_several_seeds_come_first() -> None:
    one = tune_end.Candidate(3, [Path("a"), Path("b")], [0.7, 0.9])
    assert one.mean == pytest.approx(0.8)
    assert one.best == Path("b")


RATE = [Parameter("model.lr", None, 1e-5, 1e-3, log=True)]


def asked(home: Path, count: float = 3) -> Asked:
    """What a tune of the learning rate alone is asked for, without a limit of time."""
    (home / "claims").mkdir()
    endless = float("inf")
    return Asked(
        home, [], RATE, {}, "random", "", "", 0, count, endless, endless, 1, 1, True, "best"
    )


def ended(run: Path, score: float | None) -> int:
    """Leaves what a training leaves that has ended. Returns its status."""
    run.mkdir()
    best = {} if score is None else {"val/r2": score}
    (run / "run.json").write_text(json.dumps({"status": "done", "best": best}))
    return 0


def test_a_full_disk_is_no_fault_of_a_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, tried = asked(tmp_path), study.opened(tmp_path, "random", 0, {})
    tune_training.log_of(tmp_path / "trial-000").write_text("ftlight: error: the disk is full\n")
    monkeypatch.setattr(child, "run", lambda *words, **options: WriteError.status)
    for _ in range(4):
        with pytest.raises(WriteError, match=r"^the disk is full; the same command goes on$"):
            trials.run(wanted, tried)
    assert [trial.state.name for trial in tried.trials] == ["RUNNING"]
    assert "failures" not in tried.trials[0].user_attrs


def test_a_command_goes_on_after_three_failures_of_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, tried = asked(tmp_path, 1), study.opened(tmp_path, "random", 0, {})
    for _ in range(3):
        given = ask_tell.take(tried, tmp_path, RATE, {}, 99)
        assert given is not None
        ask_tell.tell_failure(tried, given, "a machine without memory")
        given.held.close()
    monkeypatch.setattr(tune_training, "train", lambda asked, run, *rest: ended(run, 0.5))
    assert trials.run(wanted, tried) == 0
    assert [trial.state.name for trial in tried.trials] == ["FAIL"] * 3 + ["COMPLETE"]


def test_a_trial_without_a_score_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    wanted, tried = asked(tmp_path, 2), study.opened(tmp_path, "random", 0, {})
    scores = iter([0.5, None, 0.6])
    monkeypatch.setattr(tune_training, "train", lambda asked, run, *rest: ended(run, next(scores)))
    assert trials.run(wanted, tried) == 0
    assert [trial.state.name for trial in tried.trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert "trial 1 failed: its validation score is not a number" in capsys.readouterr().out


def test_a_killed_trial_is_taken_up_though_there_are_no_other_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, tried = asked(tmp_path, 99), study.opened(tmp_path, "random", 0, {})
    monkeypatch.setattr(tune_training, "train", lambda asked, run, *rest: ended(run, 0.5))
    killed = ask_tell.take(tried, tmp_path, RATE, {}, 99)
    assert killed is not None
    for _ in range(study.REPEATS):
        same = tried.ask()
        same.set_user_attr("same_as", 0)
        tried.tell(same, 0.5)
    killed.held.close()
    assert trials.run(wanted, tried) == 0
    assert tried.trials[0].state.name == "COMPLETE"
    assert len(tried.trials) == 1 + study.REPEATS


def test_the_best_whole_trials_keep_their_checkpoints(tmp_path: Path) -> None:
    """They may win on more seeds, though some that were cut short had better scores."""
    wanted, tried = asked(tmp_path), study.opened(tmp_path, "random", 0, {})
    for number, (score, pruned) in enumerate(
        [(0.1, False), (0.8, False), (0.9, True), (0.89, True), (0.88, True), (0.95, False)]
    ):
        given = ask_tell.take(tried, tmp_path, RATE, {}, 99)
        assert given is not None
        (tmp_path / study.name_of(number) / "checkpoints").mkdir(parents=True)
        ask_tell.tell(tried, given, score, {0: score}, pruned)
        given.held.close()
    trials.sweep(wanted, tried)
    kept = sorted(path.parent.name for path in tmp_path.glob("trial-*/checkpoints"))
    assert kept == [study.name_of(number) for number in (0, 1, 2, 3, 5)]


def test_the_end_leaves_what_has_not_ended_to_go_on(tmp_path: Path) -> None:
    states = {"trial-000": "done", "trial-001": "stopped", "trial-002": "running"}
    states |= {"trial-003": "failed", "trial-000-seed-1": "done", "trial-001-seed-1": "stopped"}
    for name, status in states.items():
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / "run.json").write_text(json.dumps({"status": status}))
    tune_end._sweep(asked(tmp_path), tmp_path / "trial-000-seed-1")
    kept = sorted(path.parent.name for path in tmp_path.glob("trial-*/checkpoints"))
    assert kept == ["trial-000-seed-1", "trial-001", "trial-001-seed-1", "trial-002"]


def test_a_stopped_tune_shows_no_secret(tmp_path: Path) -> None:
    tried = study.opened(tmp_path, "random", 0, {})
    words = Words("tune", ["-c", "a.yaml", "--model.api_key", "abc123", "--run", str(tmp_path)])
    said = tuning.so_far(words, asked(tmp_path), tried)
    assert "abc123" not in said
    assert "--model.api_key=" in said
