"""The page that a fit of each task makes."""

from __future__ import annotations

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
