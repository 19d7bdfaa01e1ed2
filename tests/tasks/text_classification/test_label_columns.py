"""Labels as people bring them, from the file to the prediction."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from conftest import Run, each, toy_rows, write_csv

from ftlight import load
from ftlight.__main__ import main
from ftlight.tasks.image_classification.data import ImageData
from ftlight.tasks.text_classification.data import TextData
from ftlight.utils.errors import UserError

SEVERAL = [["joy"], ["joy", "fear"], ["anger"], ["fear", "anger"], ["fear"], []]


def table(path: Path, cells: list[str], count: int = 60) -> str:
    rows = [(text, cells[i % len(cells)]) for i, (text, _) in enumerate(toy_rows(count))]
    return write_csv(path, rows)


def data(bert: str, train: str, **options: object) -> TextData:
    made = TextData(train, tokenizer=bert, validation_split=0.0, **options)  # type: ignore[arg-type]
    made.setup("fit")
    return made


def test_every_form_of_several_labels_is_the_same_task(bert: str, tmp_path: Path) -> None:
    names = ["anger", "fear", "joy"]
    expected = [[names.index(label) for label in row] for row in SEVERAL] * 10

    def check(form: str) -> None:
        cells = {
            "list": [repr(row) for row in SEVERAL],
            "json": [json.dumps(row) for row in SEVERAL],
            "comma": [",".join(row) or "," for row in SEVERAL],
            "semicolon": ["; ".join(row) or ";" for row in SEVERAL],
            "bar": ["|".join(row) or "|" for row in SEVERAL],
            "vector": [str([int(n in row) for n in names]) for row in SEVERAL],
            "marks": [" ".join(str(int(n in row)) for n in names) for row in SEVERAL],
        }[form]
        options = {"labels": names} if form in ("vector", "marks") else {}
        made = data(bert, table(tmp_path / f"{form}.csv", cells), **options)
        assert (made.kind, made.labels) == ("multi", names)
        found = [sorted(row) for row in made.sets["train"].targets]
        assert found == [sorted(row) for row in expected]

    each(["list", "json", "comma", "semicolon", "bar", "vector", "marks"], check)


def marks(path: Path, rows: list[tuple[str, ...]]) -> str:
    return write_csv(path, rows, ("text", "toxic", "insult"))


def test_columns_of_0_and_1(bert: str, tmp_path: Path) -> None:
    cells = [("1", "0"), ("0.0", "1.0"), ("True", "true"), ("0", "False")]
    rows = [(text, *cells[i % 4]) for i, (text, _) in enumerate(toy_rows(40))]
    made = data(bert, marks(tmp_path / "a.csv", rows), label=["toxic", "insult"])
    assert (made.kind, made.labels) == ("multi", ["toxic", "insult"])
    assert made.sets["train"].targets == [[0], [1], [0, 1], []] * 10


def test_faults_of_columns_are_one_line(bert: str, tmp_path: Path) -> None:
    rows = [(text, "1", "0") for text, _ in toy_rows(9)]

    def check(changes: tuple[str, ...], options: dict[str, object], said: str) -> None:
        train = marks(tmp_path / "a.csv", [*rows, ("a text", *changes)])
        with pytest.raises(UserError, match=said):
            data(bert, train, label=["toxic", "insult"], **options)

    each(
        [
            (("2", "0"), {}, r"a.csv:11: column toxic holds '2', expected 0 or 1"),
            (("", "0"), {}, r"a.csv:11: one of the columns toxic, insult has no label"),
            (("1", "0"), {"kind": "single"}, r"data.label says that rows have several labels"),
            (("1", "0"), {"labels": ["a", "b"]}, r"data.labels must be the columns of data.label"),
        ],
        check,
    )
    train = marks(tmp_path / "b.csv", [*rows, ("a text", "", "")])
    made = data(bert, train, label=["toxic", "insult"], on_missing_label="skip")
    assert len(made.sets["train"]) == 9


@pytest.mark.run
def test_runs_keep_how_labels_are_written(fit: Run, tmp_path: Path) -> None:
    train = table(tmp_path / "train.csv", [repr(row) for row in SEVERAL])
    folder = fit("--data.test", train, train=train, name="lists")
    known = json.loads((folder / "labels.json").read_text())
    assert (known["kind"], known["labels"]) == ("multi", ["anger", "fear", "joy"])
    test = table(tmp_path / "test.csv", ["[]", "['fear']"])  # of which none shows several
    assert main(["test", str(folder), "--data.test", test]) == 0
    answer = load(str(folder)).predict(["good movie"])[0]
    assert set(answer["probabilities"]) == {"anger", "fear", "joy"}
    assert main(["fit", "--resume", str(folder), "--trainer.max_epochs", "2"]) == 0

    names = ("text", "toxic", "insult")
    rows = [(text, str(i % 2), "0") for i, (text, _) in enumerate(toy_rows(40))]
    train = write_csv(tmp_path / "marks.csv", rows, names)
    words = ("--data.label", "[toxic, insult]", "--data.test", train)
    folder = fit(*words, train=train, name="columns")
    assert main(["test", str(folder)]) == 0
    assert main(["predict", str(folder), train, "--out", "out.csv", "--probabilities"]) == 0
    assert {"p(toxic)", "p(insult)"} <= set(next(csv.DictReader(Path("out.csv").open())))


@pytest.mark.run
def test_classes_that_pandas_made_floats(fit: Run, tmp_path: Path) -> None:
    train = table(tmp_path / "train.csv", ["0.0", "1.0", "2.0"])
    validation = table(tmp_path / "validation.csv", ["0", "1", "2"])
    test = table(tmp_path / "test.csv", ["0", "1.0", "2.0"])
    words = ("--data.validation", validation, "--data.test", test)
    folder = fit(*words, train=train)
    assert json.loads((folder / "labels.json").read_text())["labels"] == ["0", "1", "2"]
    rows = list(csv.DictReader((folder / "test_predictions.csv").open()))
    assert {row["prediction"] for row in rows} <= {"0", "1", "2"}
    assert main(["test", str(folder), "--data.test", train]) == 0


def test_a_word_for_a_missing_number(bert: str, tmp_path: Path) -> None:
    def check(cells: list[str], kind: str, said: str) -> None:
        train = table(tmp_path / f"{len(cells[-1])}.csv", cells)
        with pytest.raises(UserError, match=said):
            data(bert, train)
        made = data(bert, train, on_missing_label="skip")
        assert made.kind == kind
        assert len(made.sets["train"]) == 60 - 60 // len(cells)

    each(
        [
            (["0.5", "1.5", "nan"], "regression", r":4: column label has no label \(nan\) \(20 "),
            (["0.0", "1.0", "None"], "single", r"has no label \(None\)"),
            (["3,5", "4,25", "N/A"], "regression", r"has no label \(N/A\)"),
            (["0.5", "1.5", ""], "regression", r":4: column label has no label \(20 such"),
        ],
        check,
    )
    made = data(bert, table(tmp_path / "words.csv", ["good", "bad", "none"]))
    assert made.labels == ["bad", "good", "none"]


def test_labels_are_folded_on_request(bert: str, tmp_path: Path) -> None:
    cells = ["joy", "Joy", "joy", "fear", "fear\u200b", "fear"]
    train = table(tmp_path / "train.csv", cells)
    apart = data(bert, train)
    assert len(apart.labels) == 4
    note = (
        "labels that differ only in capitals, blanks, hyphens, Unicode form or a letter written out"
    )
    assert any(n.startswith(note) and "'joy' (20) and 'Joy' (10)" in n for n in apart.notes)
    validation = table(tmp_path / "validation.csv", ["JOY", " fear"])
    joined = data(bert, train, fold_labels=True, validation=validation)
    assert joined.labels == ["fear", "joy"]
    assert joined.sets["validation"].targets == [1, 0] * 30
    assert sum("labels joined under the first" in n for n in joined.notes) == 1
    with pytest.raises(UserError, match=r"it differs from '[Jj]oy' only in capitals"):
        data(bert, train, validation=validation)


@pytest.mark.run
def test_a_run_folds_labels_of_a_test_alike(fit: Run, tmp_path: Path) -> None:
    train = table(tmp_path / "train.csv", ["joy", "joy", "Joy", "fear"])
    folder = fit("--data.fold_labels", "true", train=train)
    test = table(tmp_path / "test.csv", ["JOY", "Fear"])
    assert main(["test", str(folder), "--data.test", test]) == 0
    scores = json.loads((folder / "test-test.csv_metrics.json").read_text())
    assert scores["test/rows"] == 60


def test_images_have_columns_of_labels(tmp_path: Path) -> None:
    from PIL import Image

    rows = []
    for i in range(6):
        Image.new("RGB", (9, 9), (i, 0, 0)).save(tmp_path / f"{i}.png")
        rows.append((f"{i}.png", str(i % 2), "1"))
    train = write_csv(tmp_path / "images.csv", rows, ("image", "smiling", "male"))
    made = ImageData(train, label=["smiling", "male"], validation_split=0.0)
    assert made.kind == "multi"
    table = made.load_split("train")
    assert table["label"][:] == ["male|", "smiling|male|"] * 3


@pytest.mark.run
def test_a_run_of_0_1_keeps_its_classes(fit: Run, tmp_path: Path) -> None:
    """0.1 took each combination for a class, and numbers with decimals for a regression."""

    def check(cells: list[str], kind: str, count: int) -> None:
        train = table(tmp_path / f"{kind}.csv", cells)
        words = ("--data.kind", kind, "--data.validation", train)
        folder = fit(*words, train=train, name=kind)
        config = (folder / "config.yaml").read_text()
        (folder / "config.yaml").write_text(config.replace(f"kind: {kind}", "kind: auto"))
        known = json.loads((folder / "labels.json").read_text())
        del known["form"]
        (folder / "labels.json").write_text(json.dumps(known))
        assert main(["fit", "--resume", str(folder), "--trainer.max_epochs", "2"]) == 0
        assert len(json.loads((folder / "labels.json").read_text())["labels"]) == count

    each(
        [
            (["a,b", "b", "a", "c,a", "c"], "single", 5),
            (["1.0", "2.0", "3.0"], "regression", 0),
        ],
        check,
    )
