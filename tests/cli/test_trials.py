"""The trials of a tune without a training: what is said of them, given up and trained again."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import optuna
import pytest
from conftest import each
from optuna.trial import TrialState

from ftlight.cli import repeats, trials
from ftlight.cli.tune_training import Measured
from ftlight.tune.ask_tell import Given
from ftlight.tune.asked import Asked
from ftlight.utils.errors import UserError

LOSS = Measured(0.25, "val/loss", -1.0)


def asked(home: Path, **others: Any) -> Asked:
    """What a tune is asked for, without a limit of time."""
    endless = float("inf")
    plain = Asked(
        home, [], [], {}, "random", "", "", 7, 9, endless, endless, 3, 1, prunes=True, keep="best"
    )
    return plain._replace(**others)


def given(tried: optuna.Study, **settings: Any) -> Given:
    return Given(tried.ask(), settings, io.StringIO(), is_new=True)


def ended(score: float, seconds: float, state: TrialState = TrialState.COMPLETE) -> Any:
    about = {"score": score, "seconds": seconds, "settings": {"model.lr": score}}
    return optuna.trial.create_trial(state=state, value=score, user_attrs=about)


def test_a_sweep_may_name_the_score_that_there_is(tmp_path: Path) -> None:
    def fits(metric: str, goal: str) -> None:
        trials.check_metric(asked(tmp_path, metric=metric, goal=goal), LOSS)

    def does_not(metric: str, goal: str) -> None:
        with pytest.raises(UserError, match=r"is val/loss \(minimize\); leave metric out"):
            fits(metric, goal)

    each([("", ""), ("val/loss", ""), ("", "min"), ("val/loss", "min")], fits)
    each([("val/f1", ""), ("", "max"), ("val/loss", "max"), ("val/f1", "min")], does_not)


def test_a_line_about_a_trial_says_what_it_changed_and_how_it_stands() -> None:
    tried = optuna.create_study(direction="maximize")
    first, second = given(tried), given(tried, **{"model.lr": 0.001, "model.unfreeze": None})
    for one in (first, second):
        one.trial.set_user_attr("seconds", 61.0)
        one.trial.set_user_attr("score", -0.25)
    best = tried.get_trials()[0]
    line = trials.said(first, LOSS, False, best)
    assert line == "trial 0: val/loss 0.2500 (1m 1s; the best so far): the config as it is"
    line = trials.said(second, LOSS, True, best)
    assert line.startswith("trial 1: val/loss 0.2500 (cut short, 1m 1s; best 0.2500): ")
    assert line.endswith("model.lr 0.001, model.unfreeze null")


def test_a_trial_fails_after_two_tries_and_at_once_if_its_settings_are_wrong(
    tmp_path: Path,
) -> None:
    tried, log = optuna.create_study(), tmp_path / "trial.log"
    log.write_text("ftlight: error: no such layer\n")
    config, killed, wrong = given(tried), given(tried), given(tried)
    assert trials._fault(killed, 137, log) == ""
    assert trials._fault(killed, 137, log) == "no such layer"
    assert trials._fault(wrong, UserError.status, log) == "no such layer"
    with pytest.raises(UserError, match=r"^the config as it is fails: no such layer$"):
        trials._fault(config, UserError.status, log)
    log.write_text("")
    assert trials._fault(killed, 137, log) == "it ended with status 137"


def test_the_best_whole_trials_are_trained_on_more_seeds(tmp_path: Path) -> None:
    tried = optuna.create_study(direction="maximize")
    wanted = asked(tmp_path)
    tried.add_trial(ended(0.5, 10))
    assert repeats.to_repeat(wanted, tried) == []  # there is nothing to choose from
    tried.add_trial(ended(0.9, 10, TrialState.PRUNED))
    tried.add_trial(ended(0.7, 10))
    found = repeats.to_repeat(wanted, tried)
    assert [(again.number, again.seed) for again in found] == [(2, 8), (0, 8), (2, 9), (0, 9)]
    assert found[0].name == "trial-002-seed-8"
    assert found[0].settings == {"model.lr": 0.7}
    assert repeats.to_repeat(wanted._replace(seeds=1), tried) == []
    assert repeats.to_repeat(wanted._replace(budget=10.0), tried) == []  # no time for them
