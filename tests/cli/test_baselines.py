"""``baselines``: cheap models beside a run of each task, and a verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run, each, make_bert, toy_rows, write_csv
from tiny import words_of

from ftlight.__main__ import main
from ftlight.metrics.statistics import mcnemar

pytestmark = pytest.mark.run
MODELS = {
    "text_classification": ["majority", "TF-IDF + LinearSVC", "names of labels", "probe"],
    "image_classification": ["majority", "nearest image", "probe"],
    "question_answering": ["sentence nearest to the question"],
    "retrieval": ["popularity", "TF-IDF", "untuned model"],
    "causal_lm": ["untuned model"],
    "masked_lm": ["untuned model"],
    "seq2seq": ["first sentences", "target of the nearest text"],
}


def figures(run: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(run) / "baselines.json").read_text())
    return found


def scores(run: str | Path, split: str = "test") -> np.ndarray:
    return np.load(Path(run) / f"outcomes-{split}.npz")["scores"]


@pytest.mark.parametrize("task", MODELS)
def test_every_task_has_what_is_natural_for_it(task: str, tmp_path: Path, capsys: Any) -> None:
    words = [*words_of(task, tmp_path), "--run", "run", "--trainer.max_epochs", "1"]
    words += ["--trainer.accelerator", "cpu"]
    assert main(words) == 0
    before = {path.name: path.read_bytes() for path in Path("run").iterdir() if path.is_file()}
    capsys.readouterr()
    assert main(["baselines", "run"]) == 0
    said = capsys.readouterr().out
    found = figures("run")
    assert [model["name"] for model in found["models"]] == [*MODELS[task], "this run"]
    assert "fine-tuning paid" in said or "fine-tuning did not pay" in said
    split = found["split"]
    assert found["rows"] == len(scores("run", split))
    own = found["models"][-1]
    if task != "seq2seq":  # whose row has a loss, which no text of others has
        assert own["score"] == pytest.approx(scores("run", split).mean())
    for model in found["models"]:
        assert model["low"] <= model["score"] <= model["high"]
        assert np.isfinite(model["score"])
    # the run is as it was
    assert before == {name: (Path("run") / name).read_bytes() for name in before}


def test_rows_scratch_and_backbones(bert: str, fit: Run, tmp_path: Path, capsys: Any) -> None:
    train, test = toy_rows(160), toy_rows(41)
    data = write_csv(tmp_path / "train.csv", train)
    run = fit("--data.test", write_csv(tmp_path / "test.csv", test), train=data, epochs=2)
    other = str(make_bert(tmp_path / "other", hidden_size=16))
    capsys.readouterr()
    asked = ["baselines", str(run), "--rows", "20,60,all", "--scratch"]
    assert main([*asked, "--backbones", f"{bert},{other}"]) == 0
    said, found = capsys.readouterr().out, figures(run)
    sizes = {}
    for model in found["models"]:
        sizes.setdefault(model["name"], []).append(model["train_rows"])
    rows = [20, 60, 144]
    assert sizes == {
        "majority": [None],
        "TF-IDF + LinearSVC": rows,
        f"names of labels, {bert}": [None],
        f"names of labels, {other}": [None],
        f"probe, {bert}": rows,
        f"probe, {other}": rows,
        "from scratch": rows,
        "this run": [144],
    }
    assert [given["backbone"] for given in found["frozen_passes"]] == [bert, other]
    by_name = {(m["name"], m["train_rows"]): m for m in found["models"]}
    scratch = by_name["from scratch", 60]
    drawn = run / "baselines" / "from-scratch-60"
    assert scratch["score"] == pytest.approx(scores(drawn).mean())
    assert scratch["run_above"]["p"] == pytest.approx(mcnemar(scores(run), scores(drawn)))
    assert scratch["weights"] > 10_000 > by_name[f"probe, {bert}", 60]["weights"]
    assert scratch["spent"]["processor"] > 0
    assert set(found["learning_curve"]["scores"]) == {"36", "72", "144"}
    assert "from scratch on 144 rows, at the run's own steps" in said
    assert "twice the data would give about" in said
    # what is trained already is read
    made = (drawn / "checkpoints" / "best.ckpt").stat().st_mtime_ns
    assert main(asked) == 0
    assert (drawn / "checkpoints" / "best.ckpt").stat().st_mtime_ns == made


def test_entities_and_the_head_alone(tmp_path: Path) -> None:
    words = [*words_of("token_classification", tmp_path), "--run", "run"]
    assert main([*words, "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]) == 0
    assert main(["baselines", "run"]) == 0
    tag, head, own = figures("run")["models"]
    assert (tag["name"], head["name"]) == ("most frequent tag of a word", "head alone")
    assert tag["metrics"]["f1"] == 1.0  # some words always are entities
    assert own["score"] < 1.0
    assert "most frequent tag of a word is better" in figures("run")["verdict"][0]


def test_numbers_and_several_labels(fit: Run, tmp_path: Path) -> None:
    def check(name: str, labels: list[str], first: str, kind: str) -> None:
        rows = [(text, labels[i % len(labels)]) for i, (text, _) in enumerate(toy_rows(90))]
        train = write_csv(tmp_path / f"{name}.csv", rows)
        run = fit("--data.test", train, "--data.kind", kind, train=train, name=name)
        assert main(["baselines", str(run)]) == 0
        found = figures(run)
        assert found["models"][0]["name"] == first
        assert len(found["models"]) == 4  # that, words, a probe, the run

    cases = [
        ("many", ["a|b", "b", "a", "a|b|c"], "most frequent set", "multi"),
        ("number", ["1.5", "2", "7"], "mean", "regression"),
    ]
    each(cases, check)


def test_a_run_without_a_test_is_compared_on_its_validation(fit: Run) -> None:
    run = fit()
    assert main(["baselines", str(run)]) == 0
    assert figures(run)["split"] == "validation"


def test_what_is_wrong_is_said_in_a_line(fit: Run, tmp_path: Path, capsys: Any) -> None:
    test = write_csv(tmp_path / "test.csv", toy_rows(20))
    run = str(fit("--data.test", test))
    untested = str(fit("--trainer.limit_val_batches", "0", name="untested"))
    capsys.readouterr()

    def check(words: list[str], fault: str) -> None:
        assert main(["baselines", *words]) == 2
        assert fault in capsys.readouterr().err

    each(
        [
            ([run, "--rows", "many"], "--rows: expected numbers from 2 on, or all"),
            ([run, "--row", "100"], "--row is not an option"),
            ([run, "--backbones", "nothing/here"], "nothing/here"),
            ([untested], "has no outcomes of its rows; measure it: python -m ftlight test"),
            (["nowhere"], "nowhere is not a run"),
        ],
        check,
    )
    write_csv(tmp_path / "test.csv", toy_rows(19))
    assert main(["baselines", run]) == 2
    assert "was measured on other rows of test than there are now" in capsys.readouterr().err
