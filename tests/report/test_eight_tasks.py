"""The page that a fit of each task makes, and why its model answers as it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from report.reader import check
from tiny import words_of

from ftlight.__main__ import main

pytestmark = pytest.mark.run
TASKS = sorted(path.parent.name for path in (ROOT / "ftlight" / "tasks").glob("*/task.py"))
SHOWS = {
    "causal_lm": "What it writes",
    "image_classification": "What is taken for what",
    "masked_lm": "Among the worst",
    "question_answering": "Rows to look at",
    "retrieval": "ndcg@10 of test",
    "seq2seq": "reference",
    "text_classification": "Classes",
    "token_classification": "THING",
}

UNEXPLAINED = {"masked_lm": "MaskedLM cannot explain: it has no support of answers"}


@pytest.mark.parametrize("task", TASKS)
def test_fit_makes_a_page(task: str, tmp_path: Path, capsys: Any) -> None:
    sizes = "--trainer.max_epochs 1 --trainer.accelerator cpu --trainer.limit_train_batches 4"
    assert main([*words_of(task, tmp_path), "--run", "made", *sizes.split()]) == 0
    assert "report" in capsys.readouterr().out.splitlines()[-1]
    html = Path("made/report.html").read_text(encoding="utf-8")
    text = check(html).text
    assert len(html) < 100_000
    for part in ("Verdict", "How it learned", "Learning rate", "Rows to look at", SHOWS[task]):
        assert part in text, part
    assert (
        main(["explain", "made", "--rows", "3", "--out", "why.json"]) == (task in UNEXPLAINED) * 2
    )
    said = capsys.readouterr()
    if task in UNEXPLAINED:
        assert said.err == f"ftlight: error: {UNEXPLAINED[task]}\n"
        return
    rows = json.loads(Path("why.json").read_text())
    assert 1 <= len(rows) <= 3
    for why in rows[0]["why"]:
        assert why["score"] > 0
        assert why["sides"] or why["picture"]
