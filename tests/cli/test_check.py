"""``check``, and the audit at the start of a fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import each, toy_rows, write_csv
from tiny.causal_lm import make_decoder
from tiny.question_answering import squad

from ftlight.__main__ import main
from ftlight.run import records


@pytest.fixture
def words(bert: str, tmp_path: Path) -> list[str]:
    rows = toy_rows(60)
    train = write_csv(tmp_path / "train.csv", [*rows[:50], (rows[3][0], "late")])
    test = write_csv(tmp_path / "test.csv", [*rows[:2], (f"{rows[5][0]} now", "bad"), *rows[50:]])
    options = ["--model", "TextClassification", "--model.backbone", bert]
    return [*options, "--data.train", train, "--data.test", test]


def findings(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {(line["kind"], line["split"]): line for line in lines}


def test_findings_are_shown_and_written_with_all_lines(
    words: list[str], tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out" / "f.jsonl"
    out.parent.mkdir()
    assert main(["check", *words, "--out", str(out)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "test: 2 of 13 rows are in train too (lines 2, 3)" in shown
    assert "train: 1 row repeats another with a different label" in shown
    assert "no validation data given" in shown
    found = findings(out)
    assert found["leak", "test"]["lines"] == [2, 3]
    assert found["conflict", "train"]["level"] == "look"
    assert found["size", "train"]["rows"] == 46
    assert "train held out" in found["read", ""]["message"]
    assert list(Path().glob("runs")) == []


@pytest.mark.run
def test_a_run_that_goes_on_names_its_findings_and_does_not_repeat_them(
    words: list[str], capsys: Any
) -> None:
    assert main(["fit", *words, "--trainer.max_epochs", "1", "--run", "r"]) == 0
    assert "test: 2 of 13 rows are in train too" in " ".join(capsys.readouterr().out.split())
    assert main(["fit", "--resume", "r", "--trainer.max_epochs", "2"]) == 0
    out = capsys.readouterr().out
    assert "findings as before: r/findings.jsonl" in out
    assert "no validation data given" in out
    assert "are in train too (lines" not in out


@pytest.mark.run
def test_leaks_that_are_taken_out_need_no_decision(words: list[str], capsys: Any) -> None:
    assert main(["check", *words, "--data.on_leak", "drop"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "set data.on_leak" not in told
    assert told.count("taken out") == 1
    assert told.index("know") < told.index("are in train too") < told.index("taken out")


def test_a_finding_that_stops_ends_with_1(words: list[str], capsys: Any) -> None:
    assert main(["check", *words, "--data.on_leak", "stop"]) == 1
    told = capsys.readouterr()
    assert told.err == "ftlight: error: no model should be trained on these data: leak, near leak\n"
    assert told.out.startswith("stop")
    assert main(["fit", *words, "--data.on_leak", "stop"]) == 2
    assert "test.csv: test: 2 of 13 rows are in train too" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_what_is_wrong_is_one_line(words: list[str], capsys: Any) -> None:
    def check(more: list[str], line: str) -> None:
        capsys.readouterr()
        assert main(["check", *words, *more]) == 2
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1
        assert line in error

    each(
        [
            (["--data.train", "trian.csv"], "trian.csv: no such file"),
            (["--data.groups", "[lable]"], 'no column lable; did you mean "label"?'),
            (["--data.max_overlap", "1"], "max_overlap is gone: a validation or test file"),
            (["--data.check", "fats"], "data.check"),
        ],
        check,
    )


def test_an_option_that_is_gone_is_named_in_a_yaml(words: list[str], capsys: Any) -> None:
    Path("X.yaml").write_text("data: {max_overlap: 0.5}\n")
    assert main(["check", "-c", "X.yaml", *words]) == 2
    assert "X.yaml:1: data.max_overlap is gone: " in capsys.readouterr().err


def test_a_planted_group_is_said(bert: str, tmp_path: Path, capsys: Any) -> None:
    rows = [(*row, "north" if row[1] == "bad" else "south") for row in toy_rows(120)]
    path = tmp_path / "g.csv"
    lines = "".join(f"{text},{label},{region}\n" for text, label, region in rows)
    path.write_text(f"text,label,region\n{lines}")
    words = ["check", "--model", "TextClassification", "--model.backbone", bert]
    assert main([*words, "--data.train", str(path), "--data.groups", "[region]"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "train: 'bad' falls to 100% of the" in shown
    assert "rows with region 'north', to 0% of the others" in shown


@pytest.mark.run
def test_leaks_are_taken_out_and_a_run_remembers_which(words: list[str], capsys: Any) -> None:
    more = ["--data.validation_split", "0.2", "--trainer.max_epochs", "1", "--run", "r"]
    assert main(["fit", *words, "--data.on_leak", "drop", "--model.unfreeze", "head", *more]) == 0
    told = capsys.readouterr().out
    dropped = records.facts(Path("r"))["dropped"]
    assert f"train: {len(dropped)} of " in told
    assert "taken out, since they are in validation or test too" in told
    assert len(dropped) >= 3
    assert "are in train too" not in told  # what is set is not advised
    assert "data.on_leak: drop" not in told
    assert "in train" not in [line.split("  ")[0] for line in told.splitlines()]
    assert ("leak", "test") in findings(Path("r/findings.jsonl"))
    assert main(["test", "r"]) == 0
    assert "the same or nearly" not in capsys.readouterr().out


@pytest.mark.run
def test_a_fit_keeps_what_was_found_and_scores_rows_without_a_twin(
    words: list[str], capsys: Any
) -> None:
    more = ["--model.unfreeze", "head", "--run", "r"]
    assert main(["fit", *words, *more]) == 0
    assert "3 of 13 rows, the same or nearly; of the others accuracy" in capsys.readouterr().out
    metrics = json.loads(Path("r/test_metrics.json").read_text())
    assert metrics["test/rows_in_train"] == 3
    assert {"test/accuracy_unseen", "test/accuracy_unseen_low"} <= metrics.keys()
    assert Path("r/outcomes-test.npz").exists()


@pytest.mark.run
def test_full_runs_the_model_once_and_a_fit_of_the_head_finds_that(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("FTLIGHT_CACHE", str(tmp_path / "store"))
    assert main(["check", *words, "--full", "--out", "f.jsonl"]) == 0
    assert "computed once now" in capsys.readouterr().out
    assert {"drift", "size"} <= {kind for kind, _ in findings(Path("f.jsonl"))}
    assert main(["fit", *words, "--model.unfreeze", "head", "--run", "r"]) == 0
    assert "kept from an earlier run" in capsys.readouterr().out
    assert main(["check", "r", "--full"]) == 0
    texts = [(text, "") for text, _ in toy_rows(20)]
    write_csv(tmp_path / "new.csv", [*texts, ("zz qq zz qq zz", "")])
    capsys.readouterr()
    assert main(["check", "r", "new.csv", "--out", "new.jsonl"]) == 0
    assert "rows look unlike anything in training, of train's own 1%" in capsys.readouterr().out
    assert {"stranger", "drift"} == {kind for kind, _ in findings(Path("new.jsonl"))}
    assert main(["predict", "r", "new.csv"]) == 0
    assert "of rows look unlike anything in training (1 % of its own do)" in capsys.readouterr().out
    assert main(["check", "r", "empty.csv"]) == 2
    assert "empty.csv: no such file" in capsys.readouterr().err


@pytest.mark.run
def test_new_data_are_checked_beside_what_a_run_without_leaks_was_trained_on(
    words: list[str], tmp_path: Path, capsys: Any
) -> None:
    more = ["--model.unfreeze", "head", "--data.on_leak", "drop", "--run", "r"]
    assert main(["fit", *words, *more]) == 0
    write_csv(tmp_path / "new.csv", [(text, "") for text, _ in toy_rows(20)])
    capsys.readouterr()
    assert main(["check", "r", "new.csv"]) == 0
    assert "unlike anything in training" in capsys.readouterr().out


def test_a_chat_is_known_by_what_it_asks(tmp_path: Path, capsys: Any) -> None:
    def chat(asked: str, said: str) -> dict[str, Any]:
        turns = [("system", "You are kind. " * 9), ("user", asked), ("assistant", said)]
        return {"messages": [{"role": role, "content": text} for role, text in turns]}

    rows = [chat(f"{text} {label}", label) for text, label in toy_rows(30)]
    files = {"train": rows[:25], "test": [chat(rows[3]["messages"][1]["content"], "?"), *rows[25:]]}
    words = []
    for split, content in files.items():
        path = tmp_path / f"{split}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
        words += [f"--data.{split}", str(path)]
    model = make_decoder(tmp_path / "llama")
    assert main(["check", "--model", "CausalLM", "--model.backbone", model, *words]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "test: 1 of 6 rows are in train too (line 1)" in shown
    assert "nearly" not in shown


def test_full_of_a_model_that_answers_questions(bert: str, tmp_path: Path, capsys: Any) -> None:
    train = squad(tmp_path, 20)
    words = ["--model", "QuestionAnswering", "--model.backbone", bert, "--data.train", train]
    assert main(["check", *words, "--full"]) == 0
    assert "know" in capsys.readouterr().out
