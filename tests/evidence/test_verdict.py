"""What is said of a run at its end: of planted histories, and of tiny runs."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Commands, Run, each, toy_rows, write_csv
from scipy.stats import binom

import ftlight
from ftlight.__main__ import main
from ftlight.evidence.rules import decide
from ftlight.evidence.verdict import Facts
from ftlight.metrics.statistics import random_score

ROWS, SPREAD = 400, np.linspace(0, 1, 400)


def right(share: float, count: int = ROWS) -> np.ndarray:
    """Rows of which a share is right."""
    return (np.arange(count) < share * count).astype(float)


def history(**changes: Any) -> Facts:
    """A run of four epochs in which nothing is wrong."""
    sound = Facts(
        train_rows=4000,
        labels=4,
        total=400,
        steps=[100, 200, 300, 400],
        scores=[0.7, 0.8, 0.84, 0.85],
        losses=[0.8, 0.6, 0.52, 0.51],
        train_losses=[1.0, 0.6, 0.4, 0.3],
        train_steps=[100, 200, 300, 400],
        constant_loss=1.386,
        rate=0.1,
        kept=400,
        longer="--trainer.max_epochs 8",
        rows=right(0.85),
        chance=np.full(ROWS, 0.25),
        sure=1 - SPREAD,  # right rows are the surest
        test=right(0.84),
    )
    return sound._replace(**changes)


def cut(facts: Facts, count: int) -> Facts:
    """The same with fewer validation rows."""
    every = ROWS // count
    rows = {name: getattr(facts, name)[::every] for name in ("rows", "chance", "sure")}
    return facts._replace(**rows)


EPOCHS = [100 * epoch for epoch in range(1, 9)]
LONG = history(
    total=800,
    steps=EPOCHS,
    train_steps=EPOCHS,
    losses=[0.7, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1],
    scores=[0.8, 0.84, 0.85, 0.84, 0.85, 0.84, 0.83, 0.83],
    train_losses=[0.9, 0.4, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01],
)
CASES = {
    "fine": history(),
    "rate too high": history(train_losses=[3.0, 1.5, 1.4, 1.39], rate=10.0, rows=right(0.25)),
    "no signal": history(rows=right(0.25), losses=[1.40, 1.41, 1.45, 1.5]),
    "too short": history(losses=[1.3, 1.1, 0.9, 0.7]),
    "worse than base": history(start=(right(0.9), right(0.85))),
    "cannot tell": cut(history(), 20),
    "label noise": history(rows=np.tile([1.0, 0.0, 1.0, 1.0], 100)),
    "too few rows": history(train_rows=12, rows=right(0.6), longer=""),
    "overfitting": LONG,
    "worse on test": history(test=right(0.5)),
    "not validated": history(steps=[], scores=[], losses=[], rows=None, chance=None, sure=None),
}


def test_each_history_gets_its_verdict() -> None:
    def check(kind: str, facts: Facts) -> None:
        found = decide(facts)
        assert found.kind == kind, found
        assert found.sentence
        assert bool(found.option) == (kind != "fine")

    each(CASES.items(), check)


def test_what_makes_later_evidence_worthless_is_said_first() -> None:
    diverged = CASES["rate too high"]
    both = diverged._replace(losses=[0.7, 0.8, 0.9, 1.0], test=right(0.5))
    assert decide(both).kind == "rate too high"
    assert decide(CASES["no signal"]._replace(train_rows=12, labels=4)).kind == "too few rows"
    assert decide(cut(CASES["no signal"], 20)).kind == "cannot tell"


def test_a_high_rate_that_learned_is_no_fault_and_a_usual_one_that_diverged_is() -> None:
    assert decide(history(rate=10.0)).kind == "fine"
    assert decide(history(rate=10.0, train_losses=[1.7, 1.0, 0.6, 0.3])).kind == "rate too high"
    found = decide(history(train_losses=[1.4, 1.6, 2.0, 2.4]))
    assert (found.kind, found.option) == ("rate too high", "try: lower model.lr to a tenth")
    assert decide(history(skipped=40)).kind == "rate too high"
    assert decide(history(skipped=1)).kind == "fine"


def test_a_score_of_chance_is_never_fine() -> None:
    def check(seed: int) -> None:
        draw = np.random.default_rng(seed)
        rows = (draw.random(ROWS) < 0.25).astype(float)
        assert decide(history(rows=rows, losses=[1.4, 1.39, 1.4, 1.39])).kind == "no signal"

    each(range(50), check)


def test_few_steps_that_left_train_to_learn_are_too_short_without_a_fall_to_see() -> None:
    brief = history(total=7, steps=[7], train_steps=[7], losses=[0.8], scores=[0.7])
    begun = brief._replace(train_losses=[1.1], rows=right(0.7))
    assert decide(begun).kind == "too short"
    assert "after 7 steps" in decide(begun).sentence
    assert decide(begun._replace(train_losses=[0.5])).kind == "fine", "it has learned train"
    assert decide(begun._replace(rows=right(0.99), test=None)).kind == "fine", "nothing is missing"
    assert decide(begun._replace(longer="")).kind == "fine", "no limit ended it"


def test_how_sure_one_can_be_is_told_by_the_rows() -> None:
    start = (right(0.80), right(0.81)[::-1])
    assert decide(history(start=start)).kind == "cannot tell"
    assert decide(history(start=(right(0.6), right(0.85)))).kind == "fine"
    # a good score lacks nothing, whatever the labels' rows
    few = history(train_rows=12, rows=right(0.99), test=right(0.98), longer="")
    assert decide(few).kind == "fine"


def test_answers_of_which_hardly_any_is_right_are_not_fine() -> None:
    spans = history(
        chance=None, sure=None, floor=0.0, rows=right(0.9), scores=[0.0, 0.0, 0.01, 0.02]
    )
    assert decide(spans).kind == "no signal"
    assert decide(spans._replace(losses=[1.3, 1.1, 0.9, 0.7])).kind == "too short"


def test_without_anything_to_compare_with_a_run_is_not_called_fine() -> None:
    assert decide(history(chance=None, sure=None)).kind == "cannot tell"
    assert decide(history(rows=None, chance=None, sure=None, test=None)).kind == "cannot tell"
    assert decide(history(chance=None, sure=None, floor=0.0)).kind == "fine"


def test_losses_are_judged_where_they_are_the_score() -> None:
    rows = -np.random.default_rng(0).gamma(4, size=ROWS)
    loss = history(
        monitor="val/loss", sign=-1.0, scores=[2.0, 1.9, 1.85, 1.84], losses=[2.0, 1.9, 1.85, 1.84]
    )._replace(rows=rows, chance=None, sure=None, test=rows, constant_loss=None)
    assert decide(loss._replace(start=(rows - 0.5, rows))).kind == "fine"
    assert decide(loss._replace(start=(rows + 0.5, rows))).kind == "worse than base"
    long = LONG._replace(**{k: getattr(loss, k) for k in ("sign", "chance", "rows", "sure")})
    long = long._replace(scores=LONG.losses, start=(rows - 0.5, rows), test=rows)
    assert decide(long).kind == "overfitting"


def test_a_model_that_is_as_sure_of_wrong_answers_is_not_fine() -> None:
    noisy = CASES["label noise"]
    by_heart = noisy._replace(train_losses=[0.9, 0.4, 0.1, 0.02])
    assert decide(by_heart).kind == "overfitting"
    # errors among the least sure rows are those of a sound model
    assert decide(noisy._replace(rows=right(0.75), test=right(0.75))).kind == "fine"


def test_a_run_is_too_long_if_it_only_went_on() -> None:
    assert decide(LONG).option == "try: trainer.max_epochs: 3"
    flat = LONG._replace(losses=[0.7, 0.5, 0.49, 0.49, 0.49, 0.48, 0.48, 0.48])
    assert decide(flat).kind == "overfitting"
    # patience ended it; the score was still gaining
    assert decide(LONG._replace(longer="")).kind == "fine"
    assert decide(LONG._replace(scores=[0.5, 0.6, 0.7, 0.75, 0.8, 0.82, 0.84, 0.85])).kind == "fine"


def test_a_head_that_no_step_made_better_is_named() -> None:
    found = decide(history(kept=0, base="the head alone, as solved"))
    assert found.kind == "worse than base"
    assert "400 steps made the head alone, as solved no better" in found.sentence


def test_the_test_of_chance_is_that_of_a_binomial_distribution() -> None:
    def check(count: int, share: float) -> None:
        found = random_score(right(share, count), np.full(count, 0.3))
        assert found == pytest.approx(binom.sf(round(share * count) - 1, count, 0.3), abs=1e-12)

    each([(40, 0.25), (40, 0.5), (1000, 0.33), (2, 1.0)], check)
    many = random_score(right(0.31, 20000), np.full(20000, 0.3))
    assert many == pytest.approx(binom.sf(6199, 20000, 0.3), rel=0.1)


@pytest.mark.run
def test_a_fit_ends_with_a_verdict_that_it_keeps_and_python_repeats(fit: Run, capsys: Any) -> None:
    write_csv(Path("big.csv"), toy_rows(240))
    learns = ("--model.lr", "0.003", "--model.unfreeze", "all")
    folder = fit("--data.validation_split", "0.3", *learns, train="big.csv", epochs=4)
    out = " ".join(capsys.readouterr().out.split())
    kept = json.loads((folder / "verdict.json").read_text())
    assert kept["kind"] == "fine"
    assert f"verdict {kept['sentence']}" in out
    found = ftlight.verdict(folder)
    assert {**found._asdict(), "evidence": {**found.evidence}} == kept
    assert main(["fit", "--resume", str(folder), "--trainer.max_epochs", "5"]) == 0
    assert "verdict" in capsys.readouterr().out


@pytest.mark.run
def test_a_head_that_is_solved_is_judged_too(fit: Run) -> None:
    write_csv(Path("big.csv"), toy_rows(240))
    folder = fit("--data.validation_split", "0.3", "--model.unfreeze", "head", train="big.csv")
    kept = json.loads((folder / "verdict.json").read_text())
    assert kept["kind"] == "fine", kept
    assert "72 validation rows tell little" in kept["sentence"]


@pytest.mark.run
def test_shuffled_labels_of_a_tiny_set_are_never_fine(fit: Run) -> None:
    def check(seed: int) -> None:
        texts, labels = zip(*toy_rows(200), strict=True)
        dealt = random.Random(seed).sample(labels, len(labels))
        write_csv(Path("shuffled.csv"), list(zip(texts, dealt, strict=True)))
        words = ("--data.validation_split", "0.4", "--model.lr", "0.003", "--data.split_seed")
        folder = fit(*words, str(seed), train="shuffled.csv", epochs=3, name=f"run-{seed}")
        kept = json.loads((folder / "verdict.json").read_text())
        assert kept["kind"] in ("no signal", "too short", "label noise"), kept

    each(range(3), check)


@pytest.mark.run
def test_without_validation_data_nothing_is_judged(fit: Run, command: Commands) -> None:
    folder = fit("--data.validation_split", "0")
    kept = json.loads((folder / "verdict.json").read_text())
    assert kept["kind"] == "not validated"
    assert "validation" in kept["option"]


@pytest.mark.run
def test_a_run_that_begins_with_another_is_compared_with_it(fit: Run) -> None:
    write_csv(Path("big.csv"), toy_rows(200))
    write_csv(Path("rest.csv"), toy_rows(260)[200:])
    write_csv(Path("wrong.csv"), [(text, "bad") for text, _ in toy_rows(90)] + toy_rows(3))
    words = ("--data.validation", "rest.csv", "--data.check", "off", "--model.lr", "0.003")
    fit(*words, train="big.csv", epochs=4, name="sound")
    folder = fit(*words, "--from", "sound", train="wrong.csv", epochs=2, name="worse")
    kept = json.loads((folder / "verdict.json").read_text())
    assert kept["kind"] == "worse than base", kept
    assert "sound, where it began" in kept["sentence"]
