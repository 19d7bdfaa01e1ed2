"""The page about a tune."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from report.reader import check

from ftlight.__main__ import main
from ftlight.report import tuned
from ftlight.tune.ending import Tried

EVIL = '</td><script>alert("x")</script>'


def write(home: Path, text: str = "gradual") -> Path:
    settings: list[dict[str, Any]] = [
        {},
        {"model.lr": 1e-4, "model.unfreeze": text},
        {"model.lr": 3e-3, "model.unfreeze": [{"train": "all"}]},
        {"model.lr": 1e-3, "model.unfreeze": "all"},
    ]
    ends = [("complete", 0.7), ("pruned", 0.5), ("complete", 0.8), ("failed", None)]
    trials = [
        Tried(i, state, score, 12.5, chosen, text if state == "failed" else "")._asdict()
        for i, (chosen, (state, score)) in enumerate(zip(settings, ends, strict=True))
    ]
    home.mkdir()
    about = {
        "score": "val/f1",
        "goal": "max",
        "names": ["model.lr", "model.unfreeze"],
        "trials": trials,
        "repeated": [{"trial": 2, "seed": 1, "score": 0.78}],
        "importance": {"model.lr": 0.75, "model.unfreeze": 0.25},
        "best": {"trial": 2, "run": "trial-002", "settings": settings[2]},
        "test": {"test/f1": 0.75},
        "verdict": f"trial-002 is better: {text}",
        "note": "it flatters",
    }
    (home / "tune.json").write_text(json.dumps(about))
    return home


def test_a_page_shows_what_was_tried(tmp_path: Path, capsys: Any) -> None:
    home = write(tmp_path / "tuned")
    assert main(["report", str(home)]) == 0
    assert "report.html" in capsys.readouterr().out
    html = (home / "report.html").read_text()
    check(html)
    for text in ("trial-002 is better", "0.003", "75 %", "One trial after another", "seed 1"):
        assert text in html, text
    # a second time it is written over
    assert main(["report", str(home)]) == 0


def test_nothing_in_a_tune_is_taken_for_a_page(tmp_path: Path) -> None:
    home = write(tmp_path / "tuned", EVIL)
    assert main(["report", str(home)]) == 0
    html = (home / "report.html").read_text()
    check(html)
    assert "<script" not in html


def test_a_damaged_file_is_a_line(tmp_path: Path, capsys: Any) -> None:
    home = write(tmp_path / "tuned")
    (home / "tune.json").write_text('{"trials": 3}')
    assert main(["report", str(home)]) == 2
    assert "tune.json" in capsys.readouterr().err


def test_lines_go_through_the_settings_of_trials_on_axes_that_fit() -> None:
    trials = [
        {"number": i, "settings": {"a": a, "b": b}, "score": score}
        for i, (a, b, score) in enumerate([(1e-5, "x", 0.1), (1e-3, "y", 0.9), (1e-4, "x", 0.5)])
    ]
    found = tuned.parallel(trials, ["a", "b"], "score", best=1)
    assert found is not None
    assert [axis.name for axis in found.axes] == ["a", "b", "score"]
    assert found.lines[-1][0] == 1  # the best on top
    top, low = tuned.TOP, tuned.HEIGHT - 20
    side, wide = tuned.SIDE, tuned.WIDE
    best = f"M{side:g} {top:g}L{side + wide:g} {low:g}L{side + 2 * wide:g} {top:g}"
    assert found.lines[-1][1] == best
    # a thousandth, a hundredth: in the middle of a logarithmic axis
    assert f"M{side:g} {(top + low) / 2:g}" in found.lines[1][1]
    assert tuned.parallel(trials[:1], ["a", "b"], "score", 0) is None


def test_the_history_rises_to_the_best() -> None:
    trials = [{"number": i, "score": score} for i, score in enumerate([0.5, None, 0.7, 0.6])]
    found = tuned.history(trials, "val/f1", rises=True)
    assert found is not None
    assert "best: from 0.5000 to 0.7000" in found.words
    falls = tuned.history(trials, "val/loss", rises=False)
    assert falls is not None
    assert "best: from 0.5000 to 0.5000" in falls.words
