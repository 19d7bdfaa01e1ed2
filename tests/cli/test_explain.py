"""``explain``: texts, files and validation rows; shortcuts; files; bad input in one line."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from conftest import WORDS, Commands, Run, write_csv

from ftlight.__main__ import main

pytestmark = pytest.mark.run


def planted(path: Path, rows: int = 160) -> str:
    """Rows of two classes that differ in one word alone."""
    rng = random.Random(0)
    made = []
    for i in range(rows):
        words = rng.choices(WORDS[20:], k=6)
        if i % 2:
            words.insert(rng.randrange(6), "parcel")
        made.append((" ".join(words), "first" if i % 2 else "second"))
    return write_csv(path, made)


@pytest.fixture
def shortcut(fit: Run, tmp_path: Path) -> Path:
    """A run that has learned a word that one class has."""
    learns = ["--model.lr", "1e-3", "--model.unfreeze", "all", "--data.validation_split", "0.25"]
    return fit(*learns, train=planted(tmp_path / "planted.csv"), epochs=8, name="shortcut")


def test_a_planted_word_is_the_first_that_explain_and_check_name(
    shortcut: Path, command: Commands
) -> None:
    run, before = str(shortcut), (shortcut / "findings.jsonl").read_text()
    said = command("explain", run, "--rows", "30", "--neighbours", "1", "--out", "why.json")
    assert "30 rows of validation explained" in said
    first = next(line for line in said.splitlines() if line.startswith("validation: "))
    assert first.startswith("validation: 'parcel' decides first in 15 of 15 explained rows")
    assert "'parcel' alone gives 'first' away" in command("check", run).splitlines()[0]

    findings = (shortcut / "findings.jsonl").read_text()
    assert findings.startswith(before)
    new = [json.loads(line) for line in findings.removeprefix(before).splitlines()]
    assert [(f["kind"], f["split"]) for f in new[:1]] == [("decides", "validation")]
    command("explain", run, "--rows", "30")  # again: nothing is added twice
    assert (shortcut / "findings.jsonl").read_text() == findings

    rows = json.loads(Path("why.json").read_text())
    assert len(rows) == 30
    for row in rows:
        (why,) = row["why"]
        assert why["answer"] == row["prediction"]
        assert len(why["neighbours"]) == 1
        (side,) = why["sides"]
        words = {side["text"][w["start"] : w["end"]]: w["weight"] for w in side["words"]}
        assert set(words) == set(row["text"].split())
        if row["prediction"] == "first":
            assert max(words, key=words.__getitem__) == "parcel"
            assert why["check"]["holds"]
            assert why["check"]["fall"] > why["check"]["by_chance"]


def test_a_text_and_a_file_are_shown_with_brackets(shortcut: Path, command: Commands) -> None:
    run, text = str(shortcut), "please red parcel two happy"
    said = command("explain", run, "--text", text, "--neighbours", "2")
    assert "\nfirst  p " in said  # behind a line on the vectors of train
    assert "[[parcel]]" in said
    assert "removing the top 20 % of the words lowers p by " in said
    assert said.count("  like  ") == 2
    assert ", first, line " in said
    by_gradients = command("explain", run, "--text", text, "--method", "ig")
    assert "[[parcel]]" in by_gradients
    write_csv(Path("new.csv"), [(text,), ("green <b>sad</b>",), ("blue",)], ("text",))
    of_file = command("explain", run, "new.csv", "--rows", "2", "--out", "why.html")
    page = Path("why.html").read_text()
    assert "Removing the top 20 % of the words" in page
    assert "<b>" not in page
    assert of_file.count("  p ") == 2
    assert "[[parcel]]" in of_file


def test_what_cannot_be_explained_gets_one_line(
    shortcut: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted = tmp_path / "planted.csv"

    def says(*words: str) -> str:
        assert main(["explain", *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line.removeprefix("ftlight: error: ")

    capsys.readouterr()
    run = str(shortcut)
    assert says(run, "--text", "a", "--method", "oclusion") == (
        '--method oclusion: expected occlusion or ig; did you mean "occlusion"?'
    )
    assert says(run, "--rows", "0") == "--rows: expected a whole number from 1 to 1,000,000, got 0"
    assert says(run, str(planted), "--text", "a").endswith(' and --text "…": give one of them')
    assert says(run, "--text", " ") == "there is no text to predict"
    assert says(run, "--text", "a", "--out", "why.pdf").startswith("--out why.pdf: explanations")
    assert says("--text", "a").startswith("explain needs a run")


def test_a_run_without_validation_rows_asks_for_others(
    fit: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fit("--data.validation_split", "0")
    capsys.readouterr()
    assert main(["explain", str(run)]) == 2
    assert "the run has no validation rows; give a file or --text" in capsys.readouterr().err
    assert main(["explain", str(run), "--text", "a late card"]) == 0
