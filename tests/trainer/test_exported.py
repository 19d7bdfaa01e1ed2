"""What the card of an export says of its weights, and which scores are theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conftest import each

from ftlight.trainer.exported import Exported


def exported(home: Path, checkpoint: str = "best", share: float | None = None) -> Exported:
    nothing: Any = None  # the task and its data say nothing about the weights
    return Exported(home, nothing, nothing, checkpoint, share)


def test_weights_are_told_unless_they_are_the_best_ones(tmp_path: Path) -> None:
    last = "These are the weights of the checkpoint last, not the best ones."
    mixed = (
        "The backbone's weights are 0.7 fine-tuned and 0.3 pre-trained (WiSE-FT); scores of a mix"
        " are not calibrated."
    )

    def check(checkpoint: str, share: float | None, said: str) -> None:
        assert exported(tmp_path, checkpoint, share).weights == said

    cases = [("best", None, ""), ("last", None, last), ("best", 0.7, mixed)]
    each([*cases, ("last", 0.7, f"{last} {mixed}")], check)
    assert "<b>" not in exported(tmp_path, "<b>a</b>").weights


def test_scores_are_of_the_weights_that_are_exported(tmp_path: Path) -> None:
    def write(stem: str, **about: Any) -> None:
        (tmp_path / f"{stem}_metrics.json").write_text(json.dumps(about))

    def check(checkpoint: str, share: float | None, loss: float | None) -> None:
        assert exported(tmp_path, checkpoint, share).scores().get("test/loss") == loss

    assert exported(tmp_path).scores() == {}
    write("test", **{"test/loss": 0.1})
    write("test-last", **{"test/loss": 0.2})
    write("test-wise", **{"test/loss": 0.3, "wise": {"share": 0.7}})
    write("test-wise-last", **{"test/loss": 0.4, "wise": {"share": 0.7}})
    cases = [("best", None, 0.1), ("last", None, 0.2), ("best", 0.7, 0.3), ("last", 0.7, 0.4)]
    each([*cases, ("best", 0.5, None), ("other", None, None)], check)
