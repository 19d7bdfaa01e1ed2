"""Predictions overwrite nothing of others, have the user's columns, and show what is alone."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, each, toy_rows, write_csv
from tiny import spreadsheet as tiny
from tiny.image_classification import make_resnet, square

from ftlight.__main__ import main
from ftlight.cli import prediction
from ftlight.cli.command import Words
from ftlight.data import files
from ftlight.run import outputs, workbook
from ftlight.run.predictions import write_predictions
from ftlight.utils.errors import UserError


def read(path: str | Path) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.run
def test_inputs_of_one_name_have_predictions_of_their_own(fit: Run) -> None:
    fit()
    home = Path("run/predictions")
    for folder, count in (("a", 4), ("b", 5)):
        Path(folder).mkdir()
        write_csv(Path(folder) / "new.csv", toy_rows(count))
    write_csv(Path("new.tsv"), [])
    Path("new.tsv").write_text("text\tlabel\n" + "\t\n".join(["good card"] * 6) + "\t\n")
    inputs = ["a/new.csv", "b/new.csv", "new.tsv"]
    for _ in range(2):  # again, and each finds its own
        for file in inputs:
            assert main(["predict", "run", file]) == 0
    sizes = {path.name: len(read(path)) for path in home.glob("*.csv")}
    assert sizes == {"new.csv": 4, "new-2.csv": 5, "new-3.csv": 6}
    # a file of predictions is an input like any other
    before = (home / "new.csv").read_bytes()
    assert main(["predict", "run", str(home / "new.csv")]) == 0
    assert (home / "new.csv").read_bytes() == before
    assert len(read(home / "new-4.csv")) == 4


@pytest.mark.run
def test_tests_of_files_of_one_name_have_files_of_their_own(fit: Run) -> None:
    fit("--data.test", "toy.csv")
    for folder, count in (("a", 9), ("b", 6)):
        Path(folder).mkdir()
        write_csv(Path(folder) / "t.csv", toy_rows(count))
        for _ in range(2):
            assert main(["test", "run", "--data.test", f"{folder}/t.csv"]) == 0
    found = {p.name: json.loads(p.read_text())["test/rows"] for p in Path("run").glob("test*.json")}
    names = ("test_metrics.json", "test-t.csv_metrics.json", "test-t.csv-2_metrics.json")
    assert found == dict(zip(names, (60, 9, 6), strict=True))
    assert Path("run/wrong.csv").is_file()
    assert Path("run/test-t.csv-2_wrong.csv").is_file()


@pytest.mark.run
def test_what_is_read_is_never_written(fit: Run, capsys: Any) -> None:
    fit()
    write_csv(Path("new.csv"), toy_rows(5))
    os.symlink("new.csv", "link.csv")
    os.link("new.csv", "hard.csv")
    before = Path("new.csv").read_bytes(), Path("toy.csv").read_bytes()

    def check(out: str) -> None:
        assert main(["predict", "run", "new.csv", "--out", out]) == 2
        assert f"--out {out} is a file that is read; give another" in capsys.readouterr().err

    each(["new.csv", "link.csv", "hard.csv", "toy.csv"], check)
    assert (Path("new.csv").read_bytes(), Path("toy.csv").read_bytes()) == before
    for _ in range(2):  # what --out names is one's own to write again
        assert main(["predict", "run", "new.csv", "--out", "out.csv"]) == 0


@pytest.mark.run
def test_what_is_no_prediction_is_never_overwritten(fit: Run, capsys: Any) -> None:
    fit()
    write_csv(Path("new.csv"), toy_rows(3))
    Path("mine.csv").write_text("id;text\n1;a\n")
    Path("mine.jsonl").write_text('{"text": "a"}\n')
    Path("mine.json").write_text('[\n{"text": "a"}\n]\n')
    Path("mine.conll").write_text("Anna\tB-PER\n")

    def check(name: str) -> None:
        before = Path(name).read_bytes()
        assert main(["predict", "run", "new.csv", "--out", name]) == 2
        said = f"--out {name} is there, and nothing in it says that it is predictions; remove it"
        assert said in capsys.readouterr().err
        assert Path(name).read_bytes() == before

    each(["mine.csv", "mine.jsonl", "mine.json", "mine.conll"], check)
    for name in ("out.csv", "out.tsv", "out.jsonl", "out.json"):
        Path(name).touch()
        for _ in range(2):
            assert main(["predict", "run", "new.csv", "--out", name]) == 0
        assert [row["text"] for row in files.read(Path(name))] == [t for t, _ in toy_rows(3)]


@pytest.mark.run
def test_a_spreadsheet_has_numbers_texts_and_no_formulas(fit: Run, capsys: Any) -> None:
    from python_calamine import CalamineWorkbook

    def cells(path: str) -> list[list[Any]]:
        return CalamineWorkbook.from_path(path).get_sheet_by_index(0).to_python()

    fit()
    rows = [("=1+1", 12, "007"), ("https://a.b", 1.5, "x"), ("{=2}", "", "49170123456789")]
    path = tiny.write(Path("new.xlsx"), {"One": [("text", "n", "phone"), *rows]})
    assert main(["predict", "run", path]) == 0
    header, *found = cells("run/predictions/new.xlsx")
    assert header == ["text", "n", "phone", "prediction", "score"]
    assert [tuple(row[:3]) for row in found] == rows
    assert all(isinstance(row[4], float) for row in found)
    with zipfile.ZipFile("run/predictions/new.xlsx") as book:
        assert b"<f>" not in book.read("xl/worksheets/sheet1.xml")
    for _ in range(2):  # its own is written again, another's is not
        assert main(["predict", "run", path, "--out", "out.xlsx", "--probabilities"]) == 0
    assert cells("out.xlsx")[0][-1].startswith("p(")
    tiny.write(Path("mine.xlsx"), {"One": [("prediction", "score"), (1, 2)]})
    assert main(["predict", "run", path, "--out", "mine.xlsx"]) == 2
    assert "--out mine.xlsx is there, and nothing in it" in capsys.readouterr().err
    assert main(["predict", "run", "run/predictions/new.xlsx"]) == 0
    assert Path("run/predictions/new-2.xlsx").is_file()


def test_a_spreadsheet_holds_what_fits_and_says_what_does_not(
    monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(workbook, "ROWS", 2)
    rows = [{"text": "x" * 40_000 if i == 1 else f"a\x01{i}"} for i in range(5)]
    answers = [{"prediction": "a", "score": float("nan") if i else 10**20} for i in range(5)]
    write_predictions(Path("a.xlsx"), rows, answers, False)
    assert "a.xlsx: 1 text is cut after 32,767 characters" in caplog.text
    with zipfile.ZipFile("a.xlsx") as book:
        assert len([name for name in book.namelist() if "worksheets/sheet" in name]) == 3
    (first, *_) = files.read(Path("a.xlsx"))
    assert (first["prediction"], first["score"]) == ("a", str(10**20))
    write_predictions(Path("a.xlsx"), [], [], False)
    with pytest.raises(UserError, match="more than a spreadsheet has"):
        write_predictions(Path("a.xlsx"), [{str(i): i for i in range(20_000)}], [{}], False)
    monkeypatch.setattr(workbook, "is_possible", lambda: False)
    words = Words("predict", ["run", "a.csv", "--out", "b.xlsx"])
    with pytest.raises(UserError, match=r"--out b.xlsx: spreadsheets need XlsxWriter: pip install"):
        prediction.out(words)


@pytest.mark.run
def test_files_about_a_table_are_written_as_it_is(fit: Run) -> None:
    """Excel in Germany takes commas for text, and UTF-8 without a mark for cp1252."""
    rows = [f"{i};{text};{label};é" for i, (text, label) in enumerate(toy_rows(40))]
    table = "\n".join(["id;text;label;why", *rows, ""])
    Path("test.csv").write_text(table, encoding="utf-8-sig")
    Path("old.csv").write_text(table, encoding="cp1252")
    fit("--data.test", "test.csv")
    assert main(["predict", "run", "test.csv"]) == 0
    assert main(["predict", "run", "old.csv", "--data.encoding", "cp1252"]) == 0
    home = Path("run/predictions")
    for path in (home / "test.csv", home / "old.csv", Path("run/test_predictions.csv")):
        text = path.read_text(encoding="utf-8")
        assert text.startswith("\ufeff"), path
        (first, *_) = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), delimiter=";")
        assert first["id"] == "0"
        assert {"text", "label", "prediction", "score"} <= set(first)
    wrong = list(files.read(Path("run/wrong.csv")))
    assert wrong[0]["why"] in ("wrong", "doubtful")
    texts = [text for text, _ in toy_rows(40)]
    assert all(row["why_"] == "é" and row["text"] == texts[int(row["id"])] for row in wrong)


def test_a_name_is_free_if_nothing_else_has_it(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    assert outputs.free(folder, "x.csv", "a/x.csv") == "x.csv"
    outputs.claim(folder, "x.csv", "a/x.csv")
    assert outputs.free(folder, "x.csv", "a/x.csv") == "x.csv"
    assert outputs.free(folder, "x.csv", "b/x.csv") == "x-2.csv"
    (folder / "y.csv").write_text("of a version that noted nothing")
    assert outputs.free(folder, "y.csv", "y.csv") == "y-2.csv"
    assert outputs.free(folder, "hf:a/b", "hf:a/b", "test-", "_metrics.json") == "hf:a/b"
    (folder / "inside").mkdir()
    (folder / "inside" / "1.jpg").write_text("")
    with pytest.raises(UserError, match=r"1\.jpg is in .*made, which is read"):
        outputs.keep_apart(folder / "inside" / "1.jpg", [None, str(folder)])
    outputs.keep_apart(folder / "y.csv", [None, str(folder)])  # written there before


@pytest.mark.run
def test_one_row_prints_its_answer(fit: Run, capsys: Any) -> None:
    fit()
    write_csv(Path("one.csv"), toy_rows(1))
    capsys.readouterr()
    assert main(["predict", "run", "one.csv"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].strip() == toy_rows(1)[0][0].strip()
    assert said[-1] == "1 prediction in run/predictions/one.csv"
    assert main(["predict", "run", "--text", "a good card", "--out", "t.csv"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "a good card"
    assert said[-1] == "1 prediction in t.csv"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A run on photos, and photos in a folder with a table of them."""
    for i in range(12):
        name, data = square(i)
        path = tmp_path / "set" / name / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "data" / "img").mkdir(parents=True)
    for i in range(3):
        (tmp_path / "data" / "img" / f"{i}.jpg").write_bytes(square(i)[1])
    (tmp_path / "data" / "img" / "cut.jpg").write_bytes(square(1)[1][:90])
    rows = [(f"img/{name}.jpg", f"site {name}") for name in ("0", "cut", "1", "none", "2")]
    write_csv(tmp_path / "data" / "list.csv", rows, ("photo", "site"))
    backbone = make_resnet(tmp_path / "resnet")
    words = ["--model", "ImageClassification", "--model.backbone", backbone, "--data.train", "set"]
    words += ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--run", "run"]
    assert main(["fit", *words, "--data.image", "photo"]) == 0
    return tmp_path


@pytest.mark.run
def test_broken_images_are_left_out_counted_and_listed(
    images: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["predict", "run", "data/list.csv"]) == 0
    said = capsys.readouterr().out
    assert "3 predictions in run/predictions/list.csv" in said
    assert "2 of 5 images cannot be used: data/img/cut.jpg (it is " in said
    assert "listed in run/predictions/list.skipped.txt" in said
    rows = read("run/predictions/list.csv")
    assert [(r["photo"], r["site"]) for r in rows] == [
        (f"data/img/{i}.jpg", f"site {i}") for i in range(3)
    ]
    alone = {}
    for i in range(3):
        assert main(["predict", "run", f"data/img/{i}.jpg", "--out", "one.csv"]) == 0
        alone[i] = read("one.csv")[0]
    assert [r["score"] for r in rows] == [alone[i]["score"] for i in range(3)]
    os.chdir("data")
    assert main(["predict", "../run", "list.csv", "--out", "p.jsonl"]) == 0
    first = json.loads(Path("p.jsonl").read_text().splitlines()[0])
    assert first["photo"] == "img/0.jpg"  # as it is in the table, which is here
    shutil.copy("img/0.jpg", "img/cut.jpg")
    shutil.copy("img/0.jpg", "img/none.jpg")
    assert main(["predict", "../run", "list.csv", "--out", "p.jsonl"]) == 0
    assert not Path("p.skipped.txt").exists()
    os.chdir("..")
    monkeypatch.setattr("sys.stdin", io.StringIO("\ndata/img/0.jpg\nnone.jpg\n"))
    assert main(["predict", "run", "-"]) == 0
    said = capsys.readouterr().out
    assert "input: 1 of 3 lines is blank, and left out (line 1)" in said
    assert "left out: none.jpg (no such file)" in said
    (images / "bad.jpg").write_bytes(b"")
    assert main(["predict", "run", "bad.jpg"]) == 2
    assert "1 of 1 images cannot be used: bad.jpg (it is empty)" in capsys.readouterr().err
