"""The choice among models by validation, and how much it flatters."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from ftlight.evidence import choice, goal
from ftlight.utils.errors import UserError


def test_the_chance_of_being_better_is_the_normal_one() -> None:
    draw = np.random.default_rng(0)
    new, old = draw.random(300), draw.random(300)
    gaps = new - old
    wanted = norm.cdf(gaps.mean() / (gaps.std() / np.sqrt(300)))
    assert choice.chance_better(new, old) == pytest.approx(wanted)
    assert choice.chance_better(old, new) == pytest.approx(1 - wanted)


def test_a_dearer_model_needs_rows_that_tell_it_from_the_simpler_one() -> None:
    simple = np.tile([1.0, 0.0], 50)
    hardly = simple.copy()
    hardly[[1, 3]], hardly[0] = 1, 0  # two rows won, one lost
    clearly = simple.copy()
    clearly[1:21:2] = 1
    assert choice.climb([simple, hardly]) == 0
    assert choice.climb([simple, hardly, clearly]) == 2
    assert choice.climb([clearly, simple, hardly]) == 0


def test_what_a_choice_flatters_by_is_what_its_score_falls_by_on_further_rows() -> None:
    """Ten models that are equally good: the highest of them is so by chance."""
    draw, fell, told = np.random.default_rng(1), [], []
    for _ in range(60):
        rows = (draw.random((10, 400)) < 0.8).astype(float)
        seen, further = rows[:, :200], rows[:, 200:]
        kept = choice.climb(list(seen))
        chance = seen.mean() - further.mean()
        fell.append(seen[kept].mean() - further[kept].mean() - chance)
        told.append(choice.flattery(list(seen), draws=50))
    assert np.mean(fell) > 0.01
    assert np.mean(told) == pytest.approx(np.mean(fell), abs=0.012)
    assert choice.flattery([seen[0]]) == 0


@pytest.mark.parametrize("text", ["accuracy", "accuracy = 1", ">= 1", "accuracy >= one", "f1>=."])
def test_a_goal_that_is_none(text: str) -> None:
    with pytest.raises(UserError, match=r'expected such as "accuracy >= 0\.9"'):
        goal.read(text)


def test_goals() -> None:
    assert goal.read("val/f1>90%") == ("f1", ">", 0.9)
    assert goal.read("loss <= 2e-1").is_reached({"loss": 0.2})
    assert not goal.read("loss < 0.2").is_reached({"loss": 0.2})
    with pytest.raises(UserError, match='no metric acuracy; did you mean "accuracy"'):
        goal.read("acuracy > 0.9").is_reached({"accuracy": 1.0})
