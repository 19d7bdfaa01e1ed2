"""Whether a run beats cheap models, on planted scores."""

from __future__ import annotations

import numpy as np

from ftlight.evidence.baseline_verdict import compare, from_scratch, verdict
from ftlight.evidence.baselines import Measured


def model(name: str, share: float, rows: int | None = 100, seed: int = 0) -> Measured:
    """A model that is right in a share of 1,000 rows."""
    right = np.random.default_rng(seed).random(1000) < share
    return Measured(name, rows, right.astype(float), {}, None, None)


def test_a_run_pays_if_it_beats_every_cheap_model() -> None:
    run = model("this run", 0.9, seed=1)
    found = compare(run, [model("words", 0.7), model("probe", 0.8, seed=2)], [])
    assert verdict(found, 100).startswith("fine-tuning paid: 0.8920")
    assert "(probe)" in verdict(found, 100)


def test_a_model_as_good_or_better_is_named() -> None:
    run = model("this run", 0.9, seed=1)
    found = compare(run, [model("words", 0.2), model("probe", 0.9, seed=2)], [])
    assert "did not pay: probe is as good, as far as these rows tell" in verdict(found, 100)
    found = compare(run, [model("words", 0.99)], [])
    assert "did not pay: words is better (0.9" in verdict(found, 100)


def test_fewer_rows_and_trainings_from_scratch_do_not_count() -> None:
    run = model("this run", 0.9, seed=1)
    scratch = [model("from scratch", 0.95, 50), model("from scratch", 0.92, seed=3)]
    found = compare(run, [model("words", 0.9, 50), model("words", 0.5)], scratch)
    assert verdict(found, 100).startswith("fine-tuning paid")
    assert from_scratch(found, "from scratch").startswith("from scratch on 100 rows")
    assert from_scratch(found[:1], "from scratch") == ""


def test_p_values_are_adjusted_among_models_of_as_many_rows() -> None:
    run = model("this run", 0.8, seed=1)
    near = model("near", 0.765, seed=2)
    alone = compare(run, [near], [])[0]
    among = compare(run, [near, *(model(f"m{i}", 0.8, seed=9 + i) for i in range(5))], [])[0]
    small = compare(run, [near, *(model(f"m{i}", 0.8, 9, seed=9 + i) for i in range(5))], [])[0]
    assert alone.p is not None
    assert among.p is not None
    assert among.p > alone.p
    assert small.p == alone.p
