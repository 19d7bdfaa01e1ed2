"""The table at the end: the scores of the weights that were kept, which they are, why it ended."""

from __future__ import annotations

import csv
import json
import logging
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Run, each, one_and_two, toy_rows, write_csv
from resuming import SignalAt, run

from ftlight.__main__ import main
from ftlight.run.budget import Budget
from ftlight.trainer import closing
from ftlight.trainer.best import Best
from ftlight.training.signals import RunInterrupted

pytestmark = pytest.mark.run
FLAT = [
    "--model.unfreeze",
    "all",
    "--model.lr",
    "1e-7",
    "--model.lr_schedule",
    "constant",
    "--model.warmup",
    "0",
]


def values(folder: Path, name: str) -> list[float]:
    """The values of a metric, by validation."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [float(row["value"]) for row in csv.DictReader(file) if row["name"] == name]


def kept(folder: Path) -> dict[str, Any]:
    """What last.ckpt says of the best weights."""
    file = folder / "checkpoints" / "last.ckpt"
    best = torch.load(file, weights_only=True)["callbacks"]["Best"]
    outcomes = {name: values.tolist() for name, values in best["outcomes"].items()}
    return {**best, "outcomes": outcomes}


def line(text: str, name: str) -> str:
    """What a table says beside a name."""
    return next(found for found in text.splitlines() if found.split("  ")[0] == name)


def test_without_test_data_the_scores_are_those_of_the_kept_weights(fit: Run, capsys: Any) -> None:
    steady = ("--model.lr", "0.05", "--model.unfreeze", "all")
    folder = fit(*steady, "--trainer.patience", "3", epochs=30)
    out = capsys.readouterr().out
    scores, losses = values(folder, "val/f1"), values(folder, "val/loss")
    best = max(range(len(scores)), key=lambda i: (scores[i], -losses[i]))
    assert best < len(scores) - 1  # else the last and the best are the same
    assert len(scores) < 30
    assert f"{scores[best]:.4f}" in line(out, "val accuracy") + line(out, "also")
    assert f"loss {losses[best]:.4f}" in line(out, "also")
    assert f"epoch {best + 1}, step {7 * (best + 1)}: val/f1 {scores[best]:.4f}" in line(
        out, "kept"
    )
    assert (
        f"stopped after epoch {len(scores)}: 3 validations without a better val/f1;"
        " 6 rows tell little: --trainer.patience 0 trains to the end"
    ) in " ".join(out.split())
    assert "no test data: python -m ftlight test" in line(out, "test")
    assert "--data.test FILE" in line(out, "test")
    assert main(["validate", str(folder)]) == 0
    assert line(capsys.readouterr().out, "also") == line(out, "also")


def test_with_test_data_the_kept_epoch_is_named(fit: Run, tmp_path: Path, capsys: Any) -> None:
    file = write_csv(tmp_path / "test.csv", toy_rows(20))
    folder = fit("--data.test", file, epochs=2)
    out = capsys.readouterr().out
    assert f"val/f1 {max(values(folder, 'val/f1')):.4f}" in line(out, "kept")
    assert "test accuracy" in out
    assert "stopped" not in out
    assert "no test data" not in out
    fit("--data.test", file, "--test", "false", name="untested")
    assert "not yet: python -m ftlight test" in line(capsys.readouterr().out, "test")


def test_without_validation_the_weights_at_the_end_are_kept(fit: Run, capsys: Any) -> None:
    fit("--data.validation_split", "0")
    assert "the weights at the end" in line(capsys.readouterr().out, "kept")


def test_a_run_cut_short_by_steps_says_so(fit: Run, capsys: Any) -> None:
    fit("--trainer.max_steps", "9", epochs=5)
    assert "in epoch 2 of 5: trainer.max_steps 9" in line(capsys.readouterr().out, "stopped")


def test_of_equal_scores_that_of_the_lower_loss_is_kept(fit: Run, capsys: Any) -> None:
    folder = fit(*FLAT, "--trainer.patience", "3", epochs=8)
    scores, losses = values(folder, "val/f1"), values(folder, "val/loss")
    assert len(set(scores)) == 1
    # an equal score is no better one: training stops after three of them
    assert len(scores) == 4
    first_lowest = losses.index(min(losses))
    assert first_lowest > 0
    assert kept(folder)["epoch"] == first_lowest + 1
    assert kept(folder)["loss"] == pytest.approx(min(losses))
    told = " ".join(capsys.readouterr().out.split())
    assert f"kept epoch {first_lowest + 1}, step" in told
    assert f"val/f1 {scores[0]:.4f}, as good as epoch 1 and with a lower loss stopped" in told


def test_ties_are_broken_alike_by_a_run_that_resumes(fit: Run) -> None:
    whole = fit(*FLAT, "--trainer.patience", "0", epochs=3, name="whole")
    rest = fit(*FLAT, "--trainer.patience", "0", epochs=1, name="rest")
    assert main(["fit", "--resume", str(rest), "--trainer.max_epochs", "3"]) == 0
    found = [{**kept(folder), "path": ""} for folder in (whole, rest)]
    assert found[0] == found[1]
    assert found[0]["epoch"] == values(whole, "val/loss").index(min(values(whole, "val/loss"))) + 1


def test_a_checkpoint_of_0_1_has_the_score_alone(fit: Run, capsys: Any) -> None:
    folder = fit(*FLAT, "--trainer.patience", "0", epochs=1)
    file = folder / "checkpoints" / "last.ckpt"
    old = torch.load(file, weights_only=True)
    best = old["callbacks"]["Best"]
    old["callbacks"]["Best"] = {"score": best["score"], "path": best["path"]}
    torch.save(old, file)
    capsys.readouterr()
    assert main(["fit", "--resume", str(folder), "--trainer.max_epochs", "2"]) == 0
    assert kept(folder)["epoch"] is None  # the loss of the first is not known: it stays
    assert f"the weights of the best val/f1, {best['score']:.4f}" in capsys.readouterr().out


def test_an_average_of_the_weights_is_what_is_kept_and_shown(fit: Run, capsys: Any) -> None:
    average = {
        "class_path": "lightning.pytorch.callbacks.EMAWeightAveraging",
        "init_args": {"decay": 0.9},
    }
    folder = fit(*FLAT, "--trainer.callbacks", json.dumps([average]), epochs=3)
    out = capsys.readouterr().out
    losses = values(folder, "val/loss")
    assert kept(folder)["epoch"] == losses.index(min(losses)) + 1
    assert main(["validate", str(folder)]) == 0
    assert line(capsys.readouterr().out, "also") == line(out, "also")


@pytest.mark.processes
def test_two_processes_keep_the_same(still: str, toy: str, tmp_path: Path) -> None:
    options = ["--model", "TextClassification", "--model.backbone", still, "--data.train", toy]
    options += [*FLAT, "--trainer.max_epochs", "3", "--trainer.accelerator", "cpu"]
    found = []
    for folder, shown in one_and_two(options, tmp_path):
        found.append((kept(folder), line(shown, "also"), line(shown, "kept")))
    (one, *shown_by_one), (two, *shown_by_two) = found
    assert shown_by_one == shown_by_two
    assert two["loss"] == pytest.approx(one["loss"], abs=1e-5)


def test_rows_of_train_are_no_test(fit: Run, tmp_path: Path, capsys: Any) -> None:
    rows = toy_rows(60)
    train = write_csv(tmp_path / "train.csv", rows[:40])
    folder = fit("--data.validation", write_csv(tmp_path / "v.csv", rows[50:]), train=train)
    other = [(f"{text} please", label) for text, label in rows[40:]]
    files = {
        "all.csv": (rows[:15], 15),
        "some.csv": (rows[:12] + other, 12),
        "none.csv": (other, 0),
    }

    def check(name: str, content: list[tuple[str, str]], shared: int) -> None:
        file = write_csv(tmp_path / name, content)
        for verb, option in (("test", "--data.test"), ("validate", "--data.validation")):
            capsys.readouterr()
            assert main([verb, str(folder), option, file]) == 0
            out = capsys.readouterr().out
            if shared == 0:
                assert "in train" not in out
            elif shared == len(content):
                assert f"all {shared} rows are in train too: this is no score" in out
            else:
                assert f"{shared} of {len(content)} rows, the same or nearly; of" in out
                alone = write_csv(tmp_path / "alone.csv", content[shared:])
                assert main([verb, str(folder), option, alone]) == 0
                score = line(
                    capsys.readouterr().out, f"{'val' if verb == 'validate' else verb} accuracy"
                )
                assert score.split(None, 2)[2].strip() in " ".join(out.split())

    each([(name, *found) for name, found in files.items()], check)


def test_train_that_is_gone_or_changed_is_named(fit: Run, tmp_path: Path, capsys: Any) -> None:
    train = write_csv(tmp_path / "train.csv", toy_rows(40))
    folder = fit("--data.validation", write_csv(tmp_path / "v.csv", toy_rows(10)), train=train)
    file = write_csv(tmp_path / "test.csv", toy_rows(15))
    write_csv(tmp_path / "train.csv", toy_rows(39))
    assert main(["test", str(folder), "--data.test", file]) == 0
    out = capsys.readouterr().out
    assert "rows that were trained on are not looked for" in out
    assert "train.csv has changed since" in out
    Path(train).unlink()
    assert main(["test", str(folder), "--data.test", file]) == 0
    assert "rows that were trained on are not looked for" in capsys.readouterr().out


def test_a_fit_measures_rows_of_train_in_its_test_too(fit: Run, toy: str, capsys: Any) -> None:
    fit("--data.test", toy)
    assert "54 of 60 rows, the same or nearly" in line(capsys.readouterr().out, "in train")


def test_a_run_with_more_steps_than_are_asked_for_is_done(
    bert: str, rows: dict[str, str], tmp_path: Path, caplog: Any
) -> None:
    """Before its first validation there are no best weights: those at the end are kept."""

    def check(stop: int, asked: dict[str, int], says: str) -> None:
        folder = tmp_path / f"{stop}-{min(asked)}"
        with pytest.raises(RunInterrupted):
            run(bert, rows, folder, {"trainer": {"save_every": 1, "max_epochs": 3}}, SignalAt(stop))
        caplog.clear()
        trainer = run(bert, rows, folder, {"trainer": {"save_every": 1, **asked}}, resume=True)
        assert trainer.global_step == stop
        assert says in caplog.text
        assert (folder / "test_metrics.json").is_file()
        assert json.loads((folder / "run.json").read_text())["status"] == "done"

    with caplog.at_level(logging.INFO):
        each(
            [
                (2, {"max_steps": 1}, "the run has taken 2 steps, trainer.max_steps is 1"),
                (5, {"max_steps": 2}, "the run has taken 5 steps, trainer.max_steps is 2"),
                (7, {"max_epochs": 1}, "nothing is left to train after step 7"),
            ],
            check,
        )


def test_a_run_that_leaves_some_of_its_time_says_how_much() -> None:
    now = time.monotonic()
    budgets = [Budget(600.0, begun=now - 240), Budget(600.0, begun=now - 600), None]
    runs: Any = [SimpleNamespace(budget=budget) for budget in budgets]
    said = [closing._left(run) for run in runs]
    assert said == ["; 6m of 10m are left", "", ""]


def test_a_run_that_ends_while_it_learns_names_the_option() -> None:
    def check(losses: list[float], score: float, mcc: float | None, told: str) -> None:
        best = Best(SimpleNamespace(), "val/f1", "max")  # type: ignore[arg-type]
        best.losses, best.score, best.mcc = losses, score, mcc
        trainer: Any = SimpleNamespace(
            callbacks=[best], early_stopping_callbacks=[], max_epochs=3, current_epoch=3
        )
        run: Any = SimpleNamespace(budget=None, resume_command="fit --resume r")
        said = closing._more(trainer, run)
        assert said.endswith(told)
        assert bool(said) == bool(told)
        run.budget = Budget(60.0)
        assert closing._more(trainer, run) == ""

    each(
        [
            ([2.0, 1.8, 1.6], 0.0, None, "fit --resume r --trainer.max_epochs 6"),
            ([2.0, 1.8, 1.6], 0.6, 0.4, ""),
            ([1.6, 1.8, 1.7], 0.0, 0.0, ""),
        ],
        check,
    )
