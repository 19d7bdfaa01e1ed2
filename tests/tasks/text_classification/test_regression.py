"""Regression at any scale: standardised targets, raw units everywhere a person or library looks."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Run, each, save_tokenizer, toy_rows, write_csv

from ftlight import load
from ftlight.__main__ import main
from ftlight.tasks.text_classification.task import TextClassification

WORDS = {"good": 5.0, "bad": 3.0, "late": 1.0}
FAST = ("--model.lr", "3e-3", "--trainer.patience", "0", "--data.kind", "regression")


def prices(path: Path, offset: float = 0.0, factor: float = 1.0, count: int = 60) -> str:
    """A CSV in which the price goes by a word of the text."""
    rows = [(text, repr(offset + factor * WORDS[word])) for text, word in toy_rows(count)]
    return write_csv(path, rows)


def metric(folder: Path, name: str) -> list[float]:
    lines = csv.DictReader((folder / "metrics.csv").open())
    return [float(line["value"]) for line in lines if line["name"] == name]


def checkpoint(folder: Path, name: str = "last") -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


@pytest.mark.run
def test_every_scale_is_learned_alike(fit: Run, tmp_path: Path) -> None:
    losses = {}

    def check(offset: float, factor: float) -> None:
        name = f"{offset}{factor}"
        train = prices(tmp_path / f"{name}.csv", offset, factor)
        folder = fit(*FAST, "--data.test", train, train=train, epochs=12, name=name)
        losses[name] = metric(folder, "train/loss")
        scores = json.loads((folder / "test_metrics.json").read_text())
        assert scores["test/r2"] > 0.8
        assert scores["test/r2_low"] <= scores["test/r2"] <= scores["test/r2_high"]
        assert scores["test/rmse"] < abs(factor)
        # raw units in the table, from Python, and on the command line
        rows = list(csv.DictReader((folder / "test_predictions.csv").open()))
        error = [float(row["prediction"]) - float(row["label"]) for row in rows]
        assert np.mean(np.square(error)) ** 0.5 == pytest.approx(scores["test/rmse"], rel=1e-2)
        answers = load(str(folder)).predict([row["text"] for row in rows])
        wanted = [float(row["prediction"]) for row in rows]
        found = [answer["prediction"] for answer in answers]
        assert np.allclose(found, wanted, rtol=1e-5, atol=1e-3 * abs(factor))
        kept = checkpoint(folder, "best")["target_scale"]
        targets = offset + factor * np.array([WORDS[word] for _, word in toy_rows(60)])
        assert kept["mean"] == pytest.approx(targets.mean(), abs=0.5 * abs(factor))

    each([(0, 1e-3), (0, 1), (0, 1e4), (1e6, 1), (1e9, 1), (0, -10)], check)
    first = losses.pop("01")
    for name in ("00.001", "010000.0"):  # the same run in other units
        assert losses[name] == pytest.approx(first, rel=0.05)


@pytest.mark.run
def test_exports_give_raw_units(
    fit: Run, tmp_path: Path, plain_bert: str, llama: str, bert: str
) -> None:
    train = prices(tmp_path / "prices.csv", 2e4, 1.7e5)
    texts = [text for text, _ in toy_rows(9)]

    def check(backbone: str, is_native: bool) -> None:
        name = f"run-{Path(backbone).name}"
        folder = fit(*FAST, train=train, backbone=backbone, epochs=2, name=name)
        wanted = [answer["prediction"] for answer in load(str(folder)).predict(texts)]
        assert main(["export", str(folder)]) == 0
        out = str(folder / "export")
        if is_native:
            from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

            tokenizer = AutoTokenizer.from_pretrained(out)
            model = AutoModelForSequenceClassification.from_pretrained(out).eval()
            with torch.no_grad():
                logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
            assert logits[:, 0].tolist() == pytest.approx(wanted, rel=1e-5)
            scored = pipeline("text-classification", out)(texts)
            assert [row["score"] for row in scored] == pytest.approx(wanted, rel=1e-5)
        else:
            from sentence_transformers import SentenceTransformer

            values = SentenceTransformer(out, device="cpu").encode(texts)
            assert values[:, 0].tolist() == pytest.approx(wanted, rel=1e-5)

    padded = shutil.copytree(llama, tmp_path / "padded")
    save_tokenizer(padded)  # with a token of its own for padding
    each([(plain_bert, True), (bert, False), (str(padded), False)], check)


@pytest.mark.run
def test_an_export_without_a_place_for_the_mean_says_what_to_add(
    fit: Run, tmp_path: Path, llama: str
) -> None:
    folder = fit(*FAST, train=prices(tmp_path / "prices.csv", 2e4, 1.7e5), backbone=llama)
    wanted = load(str(folder)).predict(["good movie"])[0]["prediction"]
    assert main(["export", str(folder)]) == 0
    from transformers import pipeline

    score = pipeline("text-classification", str(folder / "export"))(["good movie"])[0]["score"]
    (added,) = re.findall(r"# add (\S+) to each score", (folder / "export/README.md").read_text())
    assert score + float(added) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.run
def test_an_export_in_python_leaves_predictions_as_they_were(fit: Run, tmp_path: Path) -> None:
    folder = fit(*FAST, train=prices(tmp_path / "prices.csv", 1e5, 3e4))
    predictor = load(str(folder))
    before = predictor.predict(["good movie"])[0]["prediction"]
    out = tmp_path / "out"
    out.mkdir()
    predictor.task.export(out, predictor.data)
    assert predictor.predict(["good movie"])[0]["prediction"] == pytest.approx(before, rel=1e-6)


@pytest.mark.run
def test_a_resumed_run_has_the_scale_of_its_checkpoint(fit: Run, tmp_path: Path) -> None:
    train = prices(tmp_path / "prices.csv", 7.0, 1 / 3)
    folder = fit(*FAST, train=train, epochs=1)
    first = checkpoint(folder)["target_scale"]
    assert main(["fit", "--resume", str(folder), "--trainer.max_epochs", "2"]) == 0
    assert checkpoint(folder)["target_scale"] == first
    other = prices(tmp_path / "other.csv", 500.0, 90.0)
    begun = ["--ckpt_path", str(folder / "checkpoints" / "last.ckpt"), "--trainer.max_epochs", "3"]
    assert main(["fit", "-c", f"{folder}/config.yaml", "--data.train", other, *begun]) == 0
    (next_run,) = Path("runs").glob("*/2*")
    assert checkpoint(next_run)["target_scale"] == first  # of the weights, not of the rows


def as_of_0_1(folder: Path) -> None:
    """Turns a run into one of 0.1: no scale in its checkpoints, and none in labels.json."""
    for path in (folder / "checkpoints").glob("*.ckpt"):
        state = torch.load(path, weights_only=True)
        del state["target_scale"]
        for key in [k for k in state.get("callbacks", {}) if k.startswith("EarlyStopping")]:
            old = key.replace("val/r2", "val/pearson")
            state["callbacks"][old] = state["callbacks"].pop(key)
        torch.save(state, path)
    known = json.loads((folder / "labels.json").read_text())
    (folder / "labels.json").write_text(json.dumps({k: known[k] for k in ("kind", "labels")}))


@pytest.mark.run
def test_a_run_of_0_1_resumes_with_raw_targets_and_its_own_monitor(
    fit: Run, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    train = prices(tmp_path / "prices.csv", 100.0, 10.0)
    options = ("--model.lr", "3e-3", "--data.validation", train, "--trainer.patience", "9")
    folder = fit(*options, train=train, epochs=1)
    as_of_0_1(folder)
    raw = load(str(folder)).predict(["good movie"])[0]["prediction"]
    assert abs(raw) < 10  # what the head gives
    capsys.readouterr()
    assert main(["fit", "--resume", str(folder), "--trainer.max_epochs", "2"]) == 0
    assert "better val/pearson" in " ".join(capsys.readouterr().out.split())
    assert "target_scale" not in checkpoint(folder)
    assert "val/pearson" in json.loads((folder / "run.json").read_text())["best"]
    loss, rmse = metric(folder, "val/loss")[-1], metric(folder, "val/rmse")[-1]
    assert loss == pytest.approx(rmse**2, rel=1e-4)  # in raw units, as it was


@pytest.mark.run
def test_losses_are_in_units_of_the_variance(fit: Run, tmp_path: Path) -> None:
    train = prices(tmp_path / "prices.csv", 0.0, 1000.0)
    folder = fit(*FAST, "--data.validation", train, train=train, epochs=1)
    sd = checkpoint(folder)["target_scale"]["sd"]
    loss, rmse = metric(folder, "val/loss")[0], metric(folder, "val/rmse")[0]
    assert loss == pytest.approx((rmse / sd) ** 2, rel=1e-4)


@pytest.mark.run
def test_low_precisions_do_not_round_targets(fit: Run, tmp_path: Path) -> None:
    train = prices(tmp_path / "prices.csv", 1e6, 1.0)

    def check(precision: str) -> None:
        words = ("--data.test", train, "--trainer.precision", precision)
        folder = fit(*FAST, *words, train=train, epochs=12, name=precision)
        assert json.loads((folder / "test_metrics.json").read_text())["test/r2"] > 0.7

    each(["bf16-true", "bf16-mixed", "bf16-master"], check)


@pytest.mark.run
def test_an_error_as_large_as_the_spread_is_said(
    fit: Run, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    train = prices(tmp_path / "prices.csv", 0.0, 1000.0)
    said = "is no smaller than the spread of the targets"
    folder = fit("--model.lr", "1e-7", "--data.kind", "regression", train=train, epochs=1)
    shown = " ".join(capsys.readouterr().out.split())
    assert (metric(folder, "val/r2")[-1] <= 0) == (said in shown)
    other = prices(tmp_path / "other.csv", -1e6, 1.0)
    assert main(["test", str(folder), "--data.test", other]) == 0
    assert said in " ".join(capsys.readouterr().out.split())


def test_targets_that_are_all_equal_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture, bert: str
) -> None:
    train = write_csv(tmp_path / "same.csv", [(text, "2.5") for text, _ in toy_rows(40)])
    words = ["--model", "TextClassification", "--model.backbone", bert, "--data.train", train]
    assert main(["fit", *words, "--run", "run"]) == 2
    assert (
        f"{train}: column label holds a single number (2.5); there is nothing to learn"
        in capsys.readouterr().err
    )
    assert not Path("run").exists()


def test_the_head_starts_at_the_mean(bert: str) -> None:
    task = TextClassification(bert, kind="regression")
    task._fit_scale([97e3, 903e3])
    batch = {"input_ids": torch.tensor([[2, 7, 3]]), "attention_mask": torch.ones(1, 3).long()}
    with torch.no_grad():
        value = task.eval()(batch).item()
    assert abs(value - 5e5) < 403e3 * 1.5
    assert value != 5e5
