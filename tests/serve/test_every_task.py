"""Each task's answers over HTTP are those of ``predict`` on the same rows."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import WORDS, write_csv
from serve.served import Client, serving
from serve.test_bodies import form
from tiny import words_of
from tiny.image_classification import square

from ftlight.__main__ import main
from ftlight.cli import serving as command
from ftlight.cli.command import Words
from ftlight.cli.verbs.serve import loaded
from ftlight.serve.metrics import Board

COUNT = 12


def sentence(number: int) -> str:
    return " ".join(WORDS[(number * 7 + j * 3) % len(WORDS)] for j in range(1 + number % 9))


def rows_of(task: str, columns: list[str]) -> list[dict[str, Any]]:
    """Rows to predict, of different lengths."""
    if task == "causal_lm":
        asked = [f"where is my {sentence(i)}" for i in range(COUNT)]
        return [{"messages": [{"role": "user", "content": text}]} for text in asked]
    if task == "masked_lm":
        return [{columns[0]: f"{sentence(i)} [MASK]"} for i in range(COUNT)]
    return [{c: sentence(i + n) for n, c in enumerate(columns)} for i in range(COUNT)]


def serve_run(run: str, *options: str) -> Any:
    """A run as the command line would serve it."""
    words = Words("serve", [run, *options])
    return loaded(run, command.read(words), Board([run]).counts(run, 0))


def predicted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answers of the command line."""
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return answers_of("rows.jsonl")


def answers_of(file: str) -> list[dict[str, Any]]:
    assert main(["predict", "run", file, "--out", "out.jsonl", "--probabilities"]) == 0
    return [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]


def same(served: Any, expected: Any) -> None:
    """Texts and labels are equal, numbers to 1e-5."""
    if isinstance(expected, float):
        assert served == pytest.approx(expected, abs=1e-5, nan_ok=True)
    elif isinstance(expected, dict):
        assert served.keys() == expected.keys()
        for key, value in expected.items():
            same(served[key], value)
    elif isinstance(expected, list):
        assert len(served) == len(expected)
        for pair in zip(served, expected, strict=True):
            same(*pair)
    else:
        assert served == expected


def compare(answers: list[dict[str, Any]], lines: list[dict[str, Any]]) -> None:
    """Answers hold what the lines of a file of predictions do."""
    assert len(answers) == len(lines) > 0
    for answer, line in zip(answers, lines, strict=True):
        spread = {f"p({label})": p for label, p in answer.pop("probabilities", {}).items()}
        given = {**answer, **spread}
        same(given, {name: line[name] for name in given})
        assert {"prediction", "score"} <= given.keys()


def ask_each(client: Client, rows: list[Any]) -> list[dict[str, Any]]:
    """The answers to rows of which each is a request of its own, all at once."""
    with ThreadPoolExecutor(len(rows)) as pool:
        replies = list(pool.map(lambda row: client.ask({"rows": [row]}), rows))
    assert {reply.status for reply in replies} == {200}, replies
    return [reply.body["answers"][0] for reply in replies]


@pytest.mark.run
@pytest.mark.parametrize(
    "task",
    [
        *("text_classification", "token_classification", "question_answering", "retrieval"),
        *("seq2seq", "masked_lm", "causal_lm"),
    ],
)
def test_a_task_is_served_as_it_predicts(task: str, tmp_path: Path) -> None:
    few = ["--trainer.max_steps", "3", "--trainer.accelerator", "cpu", "--trainer.report", "false"]
    quick = ["--test", "false", "--trainer.max_epochs", "1"]
    assert main([*words_of(task, tmp_path), *few, *quick, "--run", "run"]) == 0
    served = serve_run("run")
    rows = rows_of(task, served.inputs.columns)
    with serving({"run": served}) as client:
        expected = predicted(rows)
        reply = client.ask({"rows": rows})
        assert reply.status == 200, reply
        compare(reply.body["answers"], expected)
        compare(ask_each(client, rows), expected)
        wrong = client.ask({"rows": [rows[0], {f"{served.inputs.columns[0]}x": "a"}]})
        assert wrong.status == 400, wrong
        assert set(wrong.body) == {"error"}


@pytest.mark.run
def test_images_are_served_as_they_are_predicted(tmp_path: Path) -> None:
    few = ["--trainer.max_steps", "3", "--trainer.accelerator", "cpu", "--trainer.report", "false"]
    quick = ["--test", "false", "--trainer.max_epochs", "1"]
    assert main([*words_of("image_classification", tmp_path), *few, *quick, "--run", "run"]) == 0
    photos = [square(number)[1] for number in range(6)]
    Path("new").mkdir()
    for number, photo in enumerate(photos):
        Path("new", f"{number}.jpg").write_bytes(photo)
    expected = answers_of("new")
    coded = [{"image": base64.b64encode(photo).decode()} for photo in photos]
    with serving({"run": serve_run("run")}) as client:
        compare(client.ask({"rows": coded}).body["answers"], expected)
        compare(ask_each(client, coded), expected)
        body, kind = form(*[("image", photo, True) for photo in photos])
        headers = {"content-type": kind}
        compare(client.ask(body, headers=headers).body["answers"], expected)
        body, kind = form(("a", photos[0], True), ("b", b"no image", True))
        one, broken = client.ask(body, headers={"content-type": kind}).body["answers"]
        assert one["prediction"] == expected[0]["prediction"]
        assert broken["prediction"] is None
        assert broken["error"].startswith("image 2 (")
        why = client.ask({**coded[0], "explain": True}).body["answers"][0]["why"]
        assert why[0]["answer"] == expected[0]["prediction"]
        assert base64.b64decode(why[0]["picture"]["jpeg"]).startswith(b"\xff\xd8")
        alone = client.ask(b"", headers={"content-type": kind})
        assert alone.status == 400


@pytest.mark.run
def test_options_are_those_of_predict_and_explain(tmp_path: Path, bert: str, capsys: Any) -> None:
    rows = [(sentence(i) + (" good", " bad")[i % 2], ("good", "bad")[i % 2]) for i in range(120)]
    data = write_csv(tmp_path / "rows.csv", rows)
    few = "--trainer.max_epochs 8 --trainer.accelerator cpu --test false --trainer.report false"
    words = ["--model", "TextClassification", "--model.backbone", bert, "--data.train", data]
    split = ["--data.validation_split", "0.5", "--run", "run"]
    assert main(["fit", *words, *few.split(), *split]) == 0
    texts = [text for text, _ in rows[:30]]
    with serving({"run": serve_run("run")}) as client:
        whole = client.ask({"rows": texts, "at_least": 0.6, "coverage": 0.9})
        assert whole.status == 200, whole
        ways = ["--at_least", "0.6", "--coverage", "0.9", "--probabilities"]
        Path("rows.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
        assert main(["predict", "run", "rows.jsonl", "--out", "out.jsonl", *ways]) == 0
        lines = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
        assert {"unsure", "set"} <= whole.body["answers"][0].keys()
        compare(whole.body["answers"], lines)
        few = client.ask({"rows": texts[:2], "fields": ["score", "prediction"]}).body["answers"]
        assert [list(answer) for answer in few] == [["score", "prediction"]] * 2
        wrong = client.ask({"rows": texts[:2], "fields": ["scor"]})
        assert (wrong.status, 'did you mean "score"' in wrong.body["error"]) == (400, True)
        out_of_reach = client.ask({"rows": texts[:2], "at_least": 0.9999})
        capsys.readouterr()
        assert main(["predict", "run", "rows.jsonl", "--at_least", "0.9999"]) == 2
        line = capsys.readouterr().err.strip().removeprefix("ftlight: error: --")
        assert (out_of_reach.status, out_of_reach.body["error"]) == (400, line)
        assert main(["explain", "run", "rows.jsonl", "--rows", "2", "--out", "why.json"]) == 0
        expected = json.loads(Path("why.json").read_text())
        explained = client.ask({"rows": texts[:2], "explain": True}).body["answers"]
        same([answer["why"] for answer in explained], [row["why"] for row in expected])
