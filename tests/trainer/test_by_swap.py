"""Test rows with words exchanged: a model that looks at them is found out."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, one_and_two, toy_rows, write_csv

from ftlight.__main__ import main
from ftlight.data.encoded import EncodedSplit
from ftlight.data.swaps import Exchanged
from ftlight.trainer import by_swap


def test_changes_are_counted() -> None:
    def answer(first: float) -> dict[str, Any]:
        shares = {"a": first, "b": 1 - first}
        return {"prediction": max(shares, key=shares.__getitem__), "probabilities": shares}

    texts = ["he x", "he y", "he z", "he w"]
    exchanged = Exchanged([0, 1, 2, 3], texts, ["s" + t for t in texts], EncodedSplit({}))
    before, after = [0.9, 0.2, 0.6, 0.7], [0.5, 0.2, 0.4, 0.1]
    found = by_swap.compare(exchanged, [*map(answer, before)], [*map(answer, after)])
    assert (found["rows"], found["changed"], found["share"]) == (4, 2, 0.5)
    assert found["mean_change"] == pytest.approx((0.4 + 0 + 0.2 + 0.6) / 4)
    assert found["example"]["text"] == "he w"
    assert (found["example"]["answer"], found["example"]["answer_exchanged"]) == ("a", "b")
    assert "2 of 4 rows change their answer" in by_swap.line(found)
    same = by_swap.compare(exchanged, [*map(answer, before)], [*map(answer, before)])
    assert "0 of 4 rows" in by_swap.line(same)
    assert "still a" in by_swap.line(same)


def rows_of(count: int, seed: int) -> list[tuple[str, str]]:
    """Texts whose label goes with one of two words, though others tell nothing."""
    draw, rows = random.Random(seed), []
    for i in range(count):
        word = draw.choice(["red", "blue"])
        rows.append((f"{draw.choice('abcd')} {word} {i} movie", "good" if word == "red" else "bad"))
    return rows


@pytest.mark.run
def test_a_model_that_goes_by_the_word_is_found_out(fit: Run, tmp_path: Path, capsys: Any) -> None:
    train, test = (
        write_csv(tmp_path / f"{name}.csv", rows_of(count, seed))
        for name, count, seed in (("train", 80, 0), ("test", 40, 1))
    )
    options = ["--data.test", test, "--data.swaps", "[[red, blue]]", "--model.lr", "0.02"]
    folder = fit(*options, "--data.check", "off", train=train, epochs=4)
    out = " ".join(capsys.readouterr().out.split())
    found = json.loads((folder / "test_metrics.json").read_text())["swaps"]
    assert found["rows"] == 40
    assert found["share"] > 0.9
    assert f"{found['changed']} of 40 rows change their answer with words exchanged" in out
    assert {"red", "blue"} & set(found["example"]["text"].split())
    assert main(["test", str(folder), "--data.swaps", "[[happy, sad]]"]) == 0
    assert "no test row holds one of the words" in capsys.readouterr().out
    # the answers are those of predict on the texts as exchanged
    assert main(["test", str(folder), "--data.swaps", "[[movie, plot]]"]) == 0
    facts = json.loads((folder / "test_metrics.json").read_text())["swaps"]
    texts = [(text,) for text, _ in rows_of(40, 1)]
    new = [(text.replace("movie", "plot"),) for (text,) in texts]
    both = write_csv(tmp_path / "both.csv", [*texts, *new], ("text",))
    assert main(["predict", str(folder), both, "--out", "p.jsonl"]) == 0
    lines = [json.loads(line) for line in Path("p.jsonl").read_text().splitlines()]
    changed = [
        a["prediction"] != b["prediction"] for a, b in zip(lines[:40], lines[40:], strict=True)
    ]
    assert facts["changed"] == sum(changed)


def test_several_labels_and_numbers_change_too() -> None:
    texts = ["he x", "he y"]
    exchanged = Exchanged([0, 1], texts, ["s" + t for t in texts], EncodedSplit({}))

    def labels(prediction: str, a: float, b: float) -> dict[str, Any]:
        return {"prediction": prediction, "probabilities": {"a": a, "b": b}}

    before, after = [labels("a|b", 0.9, 0.6), labels("", 0.2, 0.1)], [labels("a", 0.8, 0.2)] * 2
    found = by_swap.compare(exchanged, before, after, "multi")
    assert (found["changed"], found["mean_change"]) == (2, pytest.approx((0.4 + 0.6) / 2))
    assert by_swap.line(found).endswith("'he y' → 'she y': no label → a")
    numbers = [{"prediction": value, "score": value} for value in (1.0, 2.0, 1.5, -2.0)]
    found = by_swap.compare(exchanged, numbers[:2], numbers[2:], "regression")
    assert found["mean_change"] == pytest.approx((0.5 + 4) / 2)
    assert by_swap.line(found) == (
        "2 rows change by 2.25 on average; for example 'he y' → 'she y': 2 → -2"
    )


@pytest.mark.run
def test_numbers_and_several_labels_are_predicted_with_words_exchanged(
    bert: str, tmp_path: Path, capsys: Any
) -> None:
    for kind, label in (("numbers", "{}.5"), ("several", "a|{}")):
        rows = [(f"he {t}", label.format(i % 3)) for i, (t, _) in enumerate(toy_rows(30))]
        file = write_csv(tmp_path / f"{kind}.csv", rows)
        words = ["--model.backbone", bert, "--data.train", file, "--data.test", file, "--run", kind]
        words += ["--data.swaps", "[[he, she]]", "--trainer.max_steps", "1", "--data.check", "off"]
        assert main(["fit", "--model", "TextClassification", *words]) == 0
        assert "30 rows change" in " ".join(capsys.readouterr().out.split()).replace("of 30", "30")
        found = json.loads(Path(kind, "test_metrics.json").read_text())["swaps"]
        assert found["rows"] == 30
        assert ("share" in found) == (kind == "several")


def test_a_swap_is_a_pair(bert: str, tmp_path: Path, capsys: Any) -> None:
    file = write_csv(tmp_path / "n.csv", toy_rows(30))
    words = ["--model.backbone", bert, "--data.train", file, "--data.swaps", "[[he]]"]
    assert main(["fit", "--model", "TextClassification", *words]) == 2
    assert "['he'] is no pair of two different words" in capsys.readouterr().err


@pytest.mark.processes
def test_two_processes_find_the_same(still: str, tmp_path: Path) -> None:
    train, test = (
        write_csv(tmp_path / f"{name}.csv", rows_of(count, seed))
        for name, count, seed in (("train", 40, 0), ("test", 31, 1))
    )
    options = ["--model", "TextClassification", "--model.backbone", still, "--data.train", train]
    options += ["--data.test", test, "--data.swaps", "[[red, blue]]", "--model.lr", "0.01"]
    options += ["--trainer.max_epochs", "2", "--trainer.accelerator", "cpu", "--data.check", "off"]
    found = []
    for folder, _ in one_and_two(options, tmp_path):
        found.append(json.loads((folder / "test_metrics.json").read_text())["swaps"])
    one, two = found
    assert (one["rows"], one["changed"]) == (two["rows"], two["changed"])
    assert one["rows"] == 31
    assert two["mean_change"] == pytest.approx(one["mean_change"], abs=1e-4)
