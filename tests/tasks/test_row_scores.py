"""A number per validation row, of every task; their mean is a metric of the task if it has such."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import words_of

from ftlight.__main__ import main

# The metric that is the mean of the scores of rows; None if no metric is.
METRICS = {
    "text_classification": "val/accuracy",
    "image_classification": "val/accuracy",
    "token_classification": None,
    "question_answering": "val/f1",
    "retrieval": "val/mrr",
    "causal_lm": None,
    "masked_lm": None,
    "seq2seq": None,
}


@pytest.mark.run
@pytest.mark.parametrize("task", METRICS)
def test_the_outcomes_of_a_run_are_those_of_its_best_weights(task: str, tmp_path: Path) -> None:
    words = [*words_of(task, tmp_path), "--run", "run", "--test", "false"]
    words += ["--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"]
    assert main([*words, "--trainer.limit_train_batches", "2"]) == 0
    state = torch.load("run/checkpoints/last.ckpt", weights_only=True)["callbacks"]["Best"]
    outcomes = np.load("run/outcomes-validation.npz", allow_pickle=False)
    scores = outcomes["scores"]
    assert len(scores) == len(outcomes["rows"]) > 0
    assert np.isfinite(scores).all()
    assert torch.equal(state["outcomes"]["scores"], torch.from_numpy(scores))
    # what can do its task untuned is measured before the first step, and every run is judged
    start = Path("run/outcomes-start.npz")
    assert start.is_file() == (task in ("retrieval", "causal_lm", "masked_lm", "seq2seq"))
    if start.is_file():
        before = np.load(start, allow_pickle=False)
        assert np.isin(before["rows"], outcomes["rows"]).all()
        assert len(before["scores"]) == len(before["rows"]) > 0
        assert not np.array_equal(before["scores"], scores[: len(before["scores"])])
    assert json.loads(Path("run/verdict.json").read_text())["sentence"]
    if "keys" in outcomes:
        assert len(outcomes["keys"]) == len(scores)
    metric = METRICS[task]
    if metric:
        with Path("run/metrics.csv").open(newline="") as file:
            values = [float(r["value"]) for r in csv.DictReader(file) if r["name"] == metric]
        assert any(scores.mean() == pytest.approx(value, abs=1e-6) for value in values)
