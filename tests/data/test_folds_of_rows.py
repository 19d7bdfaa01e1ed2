"""Which rows are in which fold."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import each, toy_rows, write_csv

from ftlight.data import folds
from ftlight.tasks.text_classification.data import TextData
from ftlight.utils.errors import UserError

SIZES = ([50, 50], [100, 10, 3], [2] * 40, [7] * 30, [500, 2, 2, 2], [13, 1, 1, 40], [3, 3, 3])


def classes_of(sizes: list[int], seed: int = 0) -> list[str]:
    names = [f"c{i}" for i, size in enumerate(sizes) for _ in range(size)]
    return [names[i] for i in np.random.default_rng(seed).permutation(len(names))]


def test_folds_and_classes_are_even_to_a_row() -> None:
    def check(sizes: list[int], count: int, seed: int) -> None:
        classes = classes_of(sizes, seed)
        of = folds.assign([[name] for name in classes], None, len(classes), count, seed)
        assert ((of >= 0) & (of < count)).all()
        rows = np.bincount(of, minlength=count)
        assert rows.max() - rows.min() <= 1
        for name in set(classes):
            own = np.bincount(of[np.array(classes) == name], minlength=count)
            assert own.max() - own.min() <= 1

    each(itertools.product(SIZES, [2, 3, 5, 10], range(3)), check)


def test_folds_are_a_function_of_the_seed() -> None:
    labels = [[name] for name in classes_of([40, 40, 20])]

    def check(given: Any) -> None:
        made = [folds.assign(given, None, 100, 5, seed).tolist() for seed in range(5)]
        assert len({str(of) for of in made}) == 5
        assert made == [folds.assign(given, None, 100, 5, seed).tolist() for seed in range(5)]

    each([None, labels], check)


def test_groups_stay_whole_and_folds_about_even() -> None:
    def check(seed: int) -> None:
        rng = np.random.default_rng(seed)
        groups = [f"g{number}" if number else "" for number in rng.integers(0, 40, 300)]
        labels = [[name] for name in classes_of([150, 100, 50], seed)]
        of = folds.assign(labels, groups, 300, 5, seed)
        for name in set(groups) - {""}:
            assert len({of[row] for row, group in enumerate(groups) if group == name}) == 1
        rows = np.bincount(of, minlength=5)
        assert rows.max() - rows.min() <= 12
        for name in ("c0", "c1", "c2"):
            own = Counter(of[[row for row, label in enumerate(labels) if label == [name]]].tolist())
            assert max(own.values()) - min(own[fold] for fold in range(5)) <= 12

    each(range(5), check)


def test_several_labels_are_spread_the_rarest_first() -> None:
    def check(seed: int) -> None:
        rng = np.random.default_rng(seed)
        chances = [0.5, 0.3, 0.1, 0.04]
        labels = [[f"l{i}" for i, p in enumerate(chances) if rng.random() < p] for _ in range(400)]
        of = folds.assign(labels, None, 400, 5, seed)
        rows = np.bincount(of, minlength=5)
        assert rows.max() - rows.min() <= 4
        for i in range(len(chances)):
            own = np.bincount(of[[f"l{i}" in row for row in labels]], minlength=5)
            assert own.max() - own.min() <= 6

    each(range(5), check)


def test_numbers_are_alike_in_each_fold() -> None:
    values = np.random.default_rng(0).lognormal(size=100).tolist()
    of = folds.assign(folds.strata(values, 5), None, 100, 5, seed=1)
    means = [np.log(np.array(values)[of == fold]).mean() for fold in range(5)]
    assert np.bincount(of).tolist() == [20] * 5
    assert max(means) - min(means) < 0.25


def test_a_data_module_takes_each_row_once_and_keeps_test_out(bert: str, tmp_path: Path) -> None:
    rows = toy_rows(60)
    file = write_csv(tmp_path / "rows.csv", [*rows, *rows[:9]])  # nine are there twice

    def read(**options: Any) -> dict[str, list[int]]:
        data = TextData(file, tokenizer=bert, test_split=0.2, check="off", **options)
        splits = ("train", "validation", "test") if data.has("validation") else ("train", "test")
        lines: dict[str, list[int]] = {}
        for split in splits:
            lines[split] = [int(line) for line in data.load_split(split)["line"]]
        assert data.labels == ["bad", "good", "late"]
        return lines

    parts = [read(folds=4, fold=fold) for fold in range(4)]
    whole = read(validation_split=0.0)
    assert all(part["test"] == whole["test"] for part in parts)
    held = [line for part in parts for line in part["validation"]]
    assert sorted(held) == whole["train"]
    for part in parts:
        assert sorted([*part["train"], *part["validation"]]) == whole["train"]
        texts = [{rows[(line - 2) % 60][0] for line in part[s]} for s in ("train", "validation")]
        assert not texts[0] & texts[1]  # a row and its repeat are in one fold


def test_what_does_not_go_with_folds_is_said_in_a_line(toy: str, bert: str, tmp_path: Path) -> None:
    def check(options: dict[str, Any], said: str) -> None:
        with pytest.raises(UserError, match=said):
            TextData(toy, tokenizer=bert, **options).load_split("validation")

    each(
        [
            ({"fold": 0}, "data.fold, data.folds: give both"),
            ({"folds": 3}, "data.fold, data.folds: give both"),
            ({"fold": 3, "folds": 3}, "data.fold: 3 is none of 3 folds, which are 0 to 2"),
            ({"fold": 0, "folds": 1}, "folds"),
            ({"fold": 0, "folds": 3, "shots": 2}, "data.folds: the rows of data.shots"),
            ({"fold": 0, "folds": 3, "validation": "v.csv"}, "v.csv would be left unused"),
            ({"fold": 0, "folds": 61}, "60 rows are too few for 61 folds"),
        ],
        check,
    )
    lonely = write_csv(tmp_path / "one.csv", [*toy_rows(30), ("one of its kind", "rare")])
    with pytest.raises(UserError, match=r"one.csv: the rows of some labels .*: rare; add rows"):
        TextData(lonely, tokenizer=bert, folds=3, fold=0).load_split("train")
    few = write_csv(tmp_path / "few.csv", [*toy_rows(30), ("a small", "rare"), ("b two", "rare")])
    data = TextData(few, tokenizer=bert, folds=3, fold=0)
    data.load_split("train")
    assert "some folds have no rows of rare: too few (data.folds)" in data.notes
