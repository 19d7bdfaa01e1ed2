"""A text of several windows is one row everywhere: its logits are pooled, its outcome is one."""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import WORDS, Run, card_lines, each, one_and_two, same, toy_rows, write_csv

import ftlight
from ftlight.__main__ import main

LABELS = ("good", "bad", "late")
FILLER = [word for word in WORDS if word not in LABELS]
LONGEST, STRIDE = 16, 4


def document(number: int, label: str) -> str:
    """A text of 4 to 80 words, the last of which is the label's."""
    draw = random.Random(number)
    return " ".join([*draw.choices(FILLER, k=draw.choice([3, 20, 45, 79])), label])


def documents(count: int, labels: Sequence[str] = LABELS, seed: int = 0) -> list[tuple[str, str]]:
    rows = [(i, LABELS[i % 3], labels[i % 3]) for i in range(count)]
    return [(document(1000 * seed + i, word), label) for i, word, label in rows]


@pytest.fixture
def train(tmp_path: Path) -> str:
    return write_csv(tmp_path / "train.csv", documents(60))


@pytest.fixture
def test(tmp_path: Path) -> str:
    return write_csv(tmp_path / "test.csv", documents(21, seed=1))


WINDOWS = ("--data.max_length", str(LONGEST), "--data.check", "off")


def logits(predictor: Any, text: str, pair: str | None = None, pool: str = "mean") -> torch.Tensor:
    """The logits of a text by hand: stock tokenizer, one window at a time, then pooled."""
    tokenizer = predictor.data.tokenizer
    parts = (text,) if pair is None else (text, pair)
    options: dict[str, Any] = {"truncation": "only_first", "max_length": LONGEST, "stride": STRIDE}
    out = tokenizer(*parts, return_overflowing_tokens=True, **options)
    with torch.inference_mode():
        own = [
            predictor.task.model(
                input_ids=torch.tensor([ids]),
                attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                token_type_ids=torch.tensor([types]),
            ).logits[0]
            for ids, types in zip(out["input_ids"], out["token_type_ids"], strict=True)
        ]
    stacked = torch.stack(own)
    return stacked.mean(0) if pool == "mean" else stacked.amax(0)


@pytest.mark.run
def test_a_document_is_one_row_in_every_file_and_its_logits_are_the_mean(
    fit: Run, train: str, test: str, capsys: Any
) -> None:
    run = fit("--data.test", test, *WINDOWS, train=train)
    said = " ".join(capsys.readouterr().out.split())
    assert "read whole in up to 8 windows; model.long_text: window, since more than 1%" in said
    assert json.loads((run / "labels.json").read_text())["long_text"] == "window"
    assert json.loads((run / "test_metrics.json").read_text())["test/rows"] == 21
    assert len(np.load(run / "outcomes-test.npz")["scores"]) == 21
    assert len((run / "test_predictions.csv").read_text().splitlines()) == 22
    predictor = ftlight.load(str(run))
    rows = documents(21, seed=1)
    found = predictor.predict([text for text, _ in rows])
    for (text, _), answer in zip(rows, found, strict=True):
        wanted = logits(predictor, text).softmax(-1).tolist()
        assert [*answer["probabilities"].values()] == pytest.approx(wanted, abs=1e-5)
    assert main(["predict", str(run), test, "--out", "out.jsonl", "--probabilities"]) == 0
    lines = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [line["prediction"] for line in lines] == [answer["prediction"] for answer in found]
    right = np.mean([a["prediction"] == label for a, (_, label) in zip(found, rows, strict=True)])
    metrics = json.loads((run / "test_metrics.json").read_text())
    assert metrics["test/accuracy"] == pytest.approx(right)


@pytest.mark.run
def test_every_kind_and_option_predicts_what_its_windows_say(
    fit: Run, request: Any, tmp_path: Path
) -> None:
    def check(name: str, backbone: str, labels: tuple[str, ...], *options: str) -> None:
        rows: list[tuple[str, ...]] = [*documents(30, labels)]
        header: tuple[str, ...] = ("text", "label")
        if name == "pairs":
            rows = [(text, "two red", label) for text, label in documents(30, labels)]
            header = ("text", "other", "label")
        file = write_csv(tmp_path / f"{name}.csv", rows, header)
        place = request.getfixturevalue(backbone)
        run = fit(*WINDOWS, *options, train=file, backbone=place, name=name)
        predictor = ftlight.load(str(run))
        scale = predictor.task.scale
        pool = "max" if name == "max" else "mean"
        fields = dict(zip(header, zip(*rows, strict=True), strict=True))
        inputs = [{column: fields[column][i] for column in header[:-1]} for i in range(len(rows))]
        for row, answer in zip(inputs, predictor.predict(inputs), strict=True):
            own = logits(predictor, row["text"], row.get("other"), pool)
            if name == "numbers":
                assert answer["prediction"] == pytest.approx(
                    float(own) * scale.sd + scale.mean, abs=1e-4
                )
                continue
            wanted = own.sigmoid() if name == "several" else own.softmax(-1)
            found = [*answer["probabilities"].values()]
            assert found == pytest.approx(wanted.tolist(), abs=1e-5)

    each(
        [
            ("native", "plain_bert", LABELS),
            ("pairs", "plain_bert", LABELS, "--data.text_pair", "other"),
            ("several", "bert", ("good|late", "bad", "late")),
            ("numbers", "bert", ("1.5", "2.5", "9.0")),
            ("max", "bert", LABELS, "--model.window_pooling", "max"),
            ("few", "bert", LABELS, "--model.head_init", "labels", "--model.contrastive", "0.5"),
        ],
        check,
    )


@pytest.mark.run
def test_texts_that_fit_train_to_the_same_bits(fit: Run, tmp_path: Path) -> None:
    rows = write_csv(tmp_path / "short.csv", toy_rows(40))
    runs = [
        fit("--model.long_text", how, "--data.check", "off", train=rows, name=how)
        for how in ("auto", "window", "cut")
    ]
    models = [ftlight.load(str(run)).task.model for run in runs]
    same(models[0], models[1])
    same(models[0], models[2])


def loaded(bert: str, train: str, **options: Any) -> tuple[Any, Any]:
    """A task and its data, encoded, without a trainer."""
    data = ftlight.TextData(
        train, tokenizer=bert, max_length=LONGEST, validation_split=0, check="off", batch_size=4
    )
    labels = {"labels": data.labels, "kind": data.kind}
    task = ftlight.TextClassification(bert, **{**labels, "long_text": "window", **options})
    data.set_task(task)
    data.setup("fit")
    task.datamodule = data
    return task, data


def test_the_loss_and_its_gradient_are_those_of_documents_whatever_runs_together(
    still: str, train: str
) -> None:
    task, data = loaded(still, train)
    task.train()
    rows = [0, 1, 2, 3, 4, 5, 6, 7]
    batch = data.collate(data.sets["train"][rows], rows)
    counts = batch["windows"].tolist()
    assert len(counts) == 8
    assert sum(counts) == len(batch["inputs"]["input_ids"]) > 8
    assert batch["at_once"] == 4
    losses, slopes = [], []
    for together in (4, 1000):
        task.zero_grad()
        loss = task.step({**batch, "at_once": together}).loss
        loss.backward()
        losses.append(loss.item())
        slopes.append(
            torch.cat([p.grad.flatten() for p in task.parameters() if p.grad is not None])
        )
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert torch.allclose(*slopes, atol=1e-6)
    predictor = SimpleNamespace(task=task, data=data)
    texts = data.load_split("train")["text"][:8]
    by_hand = torch.stack([logits(predictor, text) for text in texts])
    wanted = torch.nn.functional.cross_entropy(by_hand, batch["targets"])
    assert losses[0] == pytest.approx(wanted.item(), abs=1e-5)


def test_a_task_without_the_option_and_a_bare_data_module_cut(bert: str, train: str) -> None:
    def check(task: Any) -> None:
        data = ftlight.TextData(train, tokenizer=bert, max_length=LONGEST, check="off")
        if task is not None:
            data.set_task(task)
        data.setup("fit")
        assert max(data.sets["train"]["length"]) == LONGEST
        assert "windows" not in next(iter(data.train_dataloader()))

    each([None, SimpleNamespace(model=None)], check)


def test_few_long_rows_are_cut_and_a_line_says_so(bert: str, tmp_path: Path) -> None:
    rows = [*toy_rows(300), *documents(40)]

    def check(long: int, wanted: str) -> None:
        chosen = [row for row in rows[300:] if len(row[0].split()) > LONGEST][:long]
        file = write_csv(tmp_path / f"{long}.csv", [*rows[:300], *chosen])
        task = SimpleNamespace(long_text="auto")
        data = ftlight.TextData(
            file, tokenizer=bert, max_length=LONGEST, validation_split=0, check="off"
        )
        data.set_task(task)
        data.setup("fit")
        assert data.long_text == wanted
        (line,) = [note for note in data.notes if "longer than 16 tokens" in note]
        assert f"model.long_text: {wanted}, since " in line

    each([(3, "cut"), (4, "window")], check)


@pytest.mark.run
def test_a_run_of_before_cuts(fit: Run, train: str, capsys: Any) -> None:
    run = fit(*WINDOWS, "--model.long_text", "cut", train=train)
    text = document(3, "late") + " good" * 40
    cut = ftlight.load(str(run)).predict([text])
    config = yaml.safe_load((run / "config.yaml").read_text())
    for name in ("long_text", "window_pooling"):
        del config["model"]["init_args"][name]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert ftlight.load(str(run)).predict([text]) == cut
    resumed = ["fit", "--resume", str(run), "--trainer.max_epochs", "2"]
    assert main(resumed) == 0
    again = yaml.safe_load((run / "config.yaml").read_text())["model"]["init_args"]
    assert again["long_text"] == "cut"
    assert "read whole" not in capsys.readouterr().out


@pytest.mark.run
def test_a_head_is_solved_on_the_mean_vectors_of_documents(
    fit: Run, train: str, test: str, capsys: Any
) -> None:
    run = fit("--model.unfreeze", "head", "--data.test", test, *WINDOWS, train=train)
    said = capsys.readouterr()
    assert "the head is solved on 54 rows" in said.out + said.err
    kept = np.load(run / "familiar.npz")["vectors"]
    assert len(kept) == 54
    assert main(["predict", str(run), test, "--out", "out.csv"]) == 0
    assert "% of rows look unlike anything in training" in capsys.readouterr().out
    predictor = ftlight.load(str(run))
    text = document(1003, "late")
    (answer,) = predictor.predict([text])
    wanted = logits(predictor, text).softmax(-1).tolist()
    assert [*answer["probabilities"].values()] == pytest.approx(wanted, abs=1e-5)


def test_rows_that_look_unlike_are_counted_once_a_document(still: str, train: str) -> None:
    from ftlight.evidence.familiar import Familiar

    task, data = loaded(still, train, pooling="mean")
    batch = data.collate(data.sets["train"][[0, 1, 2, 3]], [0, 1, 2, 3])
    assert sum(batch["windows"]) > batch["at_once"]  # the head runs several times
    task.eval()
    seen: list[torch.Tensor] = []
    np.savez("familiar.npz", vectors=np.eye(32)[:12], usual=2.0)
    familiar = Familiar(Path("familiar.npz"))
    familiar.on_predict_start(None, task)  # type: ignore[arg-type]
    seen.append(task.evaluate(batch).outputs)
    familiar.on_predict_batch_end(None, task, seen, batch)  # type: ignore[arg-type]
    assert (familiar.rows, familiar.strange) == (4, 4)


@pytest.mark.run
def test_the_largest_of_several_logits_is_stepped_not_solved(
    fit: Run, train: str, capsys: Any
) -> None:
    fit("--model.unfreeze", "head", "--model.window_pooling", "max", *WINDOWS, train=train)
    said = capsys.readouterr()
    assert "the head is stepped, not solved: model.window_pooling: max takes the largest" in (
        said.out + said.err
    )


@pytest.mark.run
def test_frozen_layers_of_several_windows_are_not_stored_and_a_line_says_so(
    fit: Run, train: str, capsys: Any
) -> None:
    words = ("--model.unfreeze", "last:1", "--model.cache")
    stored = fit(*words, "true", *WINDOWS, train=train, name="stored")
    said = capsys.readouterr()
    assert "a row has several windows" in said.out + said.err
    plain = fit(*words, "false", *WINDOWS, train=train, name="plain")
    same(ftlight.load(str(stored)).task.model, ftlight.load(str(plain)).task.model)


@pytest.mark.run
def test_a_full_audit_has_one_vector_a_document(still: str, train: str) -> None:
    from ftlight.evidence.vectors import Rows

    task, data = loaded(still, train, pooling="mean")
    trainer = ftlight.Trainer(accelerator="cpu", run="unused")
    read = Rows(trainer, task, data)
    vectors = read.read("train").vectors
    read.close()
    tokenizer, texts = data.tokenizer, data.load_split("train")["text"]
    for row in range(6):
        options: dict[str, Any] = {"truncation": True, "max_length": LONGEST, "stride": STRIDE}
        out = tokenizer(texts[row], return_overflowing_tokens=True, **options)
        with torch.inference_mode():
            own = [
                task.model.model(input_ids=torch.tensor([ids])).last_hidden_state[0].mean(0)
                for ids in out["input_ids"]
            ]
        assert torch.allclose(vectors[row], torch.stack(own).mean(0), atol=1e-5)


@pytest.mark.run
def test_check_counts_documents(fit: Run, train: str, test: str, capsys: Any) -> None:
    run = fit(*WINDOWS, train=train)
    assert main(["check", str(run), test]) == 0
    assert "of 21 rows look unlike anything in training" in capsys.readouterr().out
    short = ["--model", "TextClassification", "--model.backbone", str(run / "backbone")]
    files = ["--data.train", train, "--data.test", test, "--data.max_length", str(LONGEST)]
    assert main(["check", *short, *files]) in (0, 1)
    assert "read whole in up to 8 windows" in capsys.readouterr().out


def printed(folder: Path, texts: Sequence[Any]) -> list[Any]:
    """What the lines of an export's card print for texts: the last value of each line."""
    example, lines = card_lines(folder)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(lines, {"FOLDER": str(folder), "texts": texts, "pairs": texts})
    with contextlib.redirect_stdout(io.StringIO()), contextlib.chdir(folder.parent):
        exec(f"{example}\n{lines}", {})  # as they stand
    answers = [line for line in said.getvalue().splitlines() if line.endswith("}")]
    return [line.partition("{")[2].rstrip("}") for line in answers]


@pytest.mark.run
def test_the_card_of_an_export_scores_whole_documents_as_ftlight_does(
    fit: Run, request: Any, tmp_path: Path
) -> None:
    def check(name: str, backbone: str, *options: str) -> None:
        rows: list[tuple[str, ...]] = [*documents(30)]
        header: tuple[str, ...] = ("text", "label")
        if name == "pairs":
            rows = [(text, "two red", label) for text, label in rows]
            header = ("text", "other", "label")
        file = write_csv(tmp_path / f"{name}.csv", rows, header)
        place = request.getfixturevalue(backbone)
        run = fit(*WINDOWS, *options, train=file, backbone=place, name=name)
        assert main(["export", str(run)]) == 0
        fields = [dict(zip(header, row, strict=True)) for row in rows]
        texts = [row[:2] if name == "pairs" else row[0] for row in rows]
        ours = ftlight.load(str(run)).predict(fields)
        for line, answer in zip(printed(run / "export", texts), ours, strict=True):
            theirs = dict(re.findall(r"'(\w+)': ([\d.e-]+)", line))
            assert {k: float(v) for k, v in theirs.items()} == pytest.approx(
                answer["probabilities"], abs=1e-4
            )

    each(
        [
            ("pooled", "bert"),
            ("native", "plain_bert"),
            ("max", "plain_bert", "--model.window_pooling", "max"),
            ("pairs", "plain_bert", "--data.text_pair", "other"),
            ("cut", "bert", "--model.long_text", "cut"),
        ],
        check,
    )


@pytest.mark.processes
def test_two_processes_train_and_measure_windows_as_one(
    still: str, train: str, test: str, tmp_path: Path
) -> None:
    """Texts differ in windows, so the processes do different work in a step."""
    options = ["--model", "TextClassification", "--model.backbone", still, "--data.train", train]
    options += ["--data.validation", test, "--data.test", test, "--model.lr", "0.01", *WINDOWS]
    options += ["--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"]
    scores = []
    for folder, shown in one_and_two(options, tmp_path):
        assert "read whole in up to" in shown
        scores.append(json.loads((folder / "test_metrics.json").read_text()))
    one, two = scores
    assert one["test/rows"] == two["test/rows"] == 21
    assert two["test/loss"] == pytest.approx(one["test/loss"], abs=2e-3)
    assert two["test/accuracy"] == pytest.approx(one["test/accuracy"], abs=0.05)
