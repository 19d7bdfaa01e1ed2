"""What a run says its probabilities are worth: temperature, calibration error, and who is told."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Run, each, write_csv
from tiny import image_classification
from torch.nn import functional as F

import ftlight
from ftlight.__main__ import main
from ftlight.metrics import sureness
from ftlight.metrics.calibration import (
    HeldOut,
    calibration_error,
    fit_temperature,
    held_out,
)
from ftlight.models.scale import fold_temperature
from ftlight.task import EvaluationResult
from ftlight.trainer import calibrating

LABELS = ("good", "bad", "late")
SURE = ["--model.lr", "0.02", "--trainer.patience", "0", "--model.lr_schedule", "constant"]
SURE += ["--model.unfreeze", "all"]


def noisy_rows(count: int, seed: int = 0, wrong: float = 0.45) -> list[tuple[str, str]]:
    """Texts that hold the word of a label, which for a share of them is another one's."""
    draw, rows = random.Random(seed), []
    for i in range(count):
        label = draw.choice(LABELS)
        seen = draw.choice(LABELS) if draw.random() < wrong else label
        rows.append((f"{seen} {draw.choice('abcdefgh')}{i} {draw.choice('uvwxyz')}", label))
    return rows


@pytest.fixture
def noisy(fit: Run, tmp_path: Path) -> Path:
    """A run that is too sure: it learned 40 rows by heart."""
    return noisy_run(fit, tmp_path, 150)


def noisy_run(
    fit: Run, folder: Path, validation: int, epochs: int = 8, name: str = "run", **more: Any
) -> Path:
    files = {
        name: write_csv(folder / f"{name}.csv", noisy_rows(rows, seed))
        for seed, (name, rows) in enumerate(
            {"train": 40, "validation": validation, "test": 120}.items()
        )
    }
    options = ["--data.validation", files["validation"], "--data.test", files["test"]]
    options += [*SURE, "--model.warmup", "0"]
    return fit(*options, train=files["train"], epochs=epochs, name=name, **more)


def line(text: str, name: str) -> str:
    return next(found for found in text.splitlines() if found.split("  ")[0] == name)


@pytest.mark.run
def test_a_temperature_is_fitted_and_kept_with_the_weights(
    fit: Run, tmp_path: Path, capsys: Any
) -> None:
    noisy = noisy_run(fit, tmp_path, 150)
    out = " ".join(capsys.readouterr().out.split())
    kept = json.loads((noisy / "calibration.json").read_text())
    state = torch.load(noisy / "checkpoints" / "best.ckpt", weights_only=True)["calibration"]
    assert kept["temperature"] == state["temperature"] != 1.0
    assert kept["rows"] == len(state["confidence"]) == 150
    assert kept["apart"] is False
    assert kept["error"] < kept["error_before"]
    assert f"temperature {kept['temperature']:.3g} fitted on the 150 rows that chose the epoch" in (
        out
    )
    last = torch.load(noisy / "checkpoints" / "last.ckpt", weights_only=True)
    assert "calibration" not in last  # it may hold other weights


@pytest.mark.run
def test_the_test_and_all_predictions_are_of_calibrated_probabilities(
    noisy: Path, tmp_path: Path
) -> None:
    metrics = json.loads((noisy / "test_metrics.json").read_text())
    rows = noisy_rows(120, seed=2)
    model = ftlight.load(str(noisy))
    answers = model.predict([text for text, _ in rows])
    scores = torch.tensor([answer["score"] for answer in answers])
    right = torch.tensor(
        [answer["prediction"] == label for answer, (_, label) in zip(answers, rows, strict=True)]
    )
    assert metrics["test/calibration_error"] == pytest.approx(
        calibration_error(scores, right), abs=1e-5
    )
    assert metrics["test/calibration_floor"] > 0
    assert model.task.calibration is not None
    temperature, model.task.calibration = model.task.calibration.temperature, None
    plain = torch.tensor(
        [list(a["probabilities"].values()) for a in model.predict([text for text, _ in rows])]
    )
    softer = (plain.log() / temperature).softmax(1).amax(1)
    torch.testing.assert_close(scores, softer, rtol=1e-4, atol=1e-5)
    file = write_csv(tmp_path / "new.csv", [(text,) for text, _ in rows], ("text",))
    assert main(["predict", str(noisy), file, "--out", "p.jsonl"]) == 0
    found = [json.loads(text)["score"] for text in Path("p.jsonl").read_text().splitlines()]
    assert found == pytest.approx(scores.tolist(), abs=1e-5)


@pytest.mark.run
def test_validation_rows_that_are_in_train_bear_no_promise(
    fit: Run, tmp_path: Path, capsys: Any
) -> None:
    train, own = noisy_rows(60, 0), noisy_rows(150, 1)
    files = [write_csv(tmp_path / f"{i}.csv", rows) for i, rows in enumerate((train, own))]
    write_csv(tmp_path / "1.csv", [*own, *train[:30]])
    folder = fit("--data.validation", files[1], *SURE, train=files[0])
    kept = json.loads((folder / "calibration.json").read_text())
    assert (kept["rows"], kept["in_train"]) == (150, 30)
    assert "150 validation rows, without 30 that are in train" in " ".join(
        capsys.readouterr().out.split()
    )
    assert main(["predict", str(folder), files[0], "--at_least", "0.9999"]) == 2
    assert "with 150 validation rows (30 more are in train);" in capsys.readouterr().err


@pytest.mark.run
def test_other_weights_have_no_temperature(noisy: Path, capsys: Any) -> None:
    """A mix, and last.ckpt; but a validation shows plain probabilities."""
    assert main(["test", str(noisy), "--wise", "0.5"]) == 0
    assert "no: a mix of weights has no temperature" in line(capsys.readouterr().out, "calibrated")
    assert main(["test", str(noisy), "--ckpt_path", "last"]) == 0
    assert "calibrated" not in capsys.readouterr().out


@pytest.mark.run
def test_from_1000_rows_on_half_of_them_choose_and_half_calibrate(
    fit: Run, tmp_path: Path, capsys: Any
) -> None:
    folder = noisy_run(fit, tmp_path, 1000)
    kept = json.loads((folder / "calibration.json").read_text())
    assert (kept["rows"], kept["apart"]) == (500, True)
    out = " ".join(capsys.readouterr().out.split())
    assert "fitted on 500 validation rows" in out
    assert " on the half that chooses)" in out
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
    held = set(calibrating.held_out(1000).rows.tolist())
    outcomes = state["Best"]["outcomes"]["scores"]
    choosing = [i for i in range(1000) if i not in held]
    assert state["Best"]["chosen"] != state["Best"]["score"]
    assert outcomes[choosing].mean() == pytest.approx(state["Best"]["chosen"], abs=0.1)


@pytest.mark.processes
def test_two_processes_fit_what_the_rows_of_both_say(bert: str, tmp_path: Path) -> None:
    options = ["--model", "TextClassification", "--model.backbone", bert, "--model.lr", "0.01"]
    for seed, (name, rows) in enumerate({"train": 120, "validation": 1001}.items()):
        file = write_csv(tmp_path / f"{name}.csv", noisy_rows(rows, seed))
        options += [f"--data.{name}", file]
    options += ["--trainer.max_epochs", "3", "--trainer.accelerator", "cpu", "--data.check", "off"]
    command = [sys.executable, "-m", "ftlight", "fit", *options, "--trainer.devices", "2"]
    command += ["--run", "run", "--trainer.precision", "32-true"]  # as predictions are
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    kept = json.loads(Path("run/calibration.json").read_text())
    assert (kept["rows"], kept["apart"]) == (500, True)
    model = ftlight.load("run")
    model.task.calibration = None
    held = [noisy_rows(1001, 1)[i] for i in held_out(1001).rows.tolist()]
    answers = model.predict([text for text, _ in held])
    plain = torch.tensor([[a["probabilities"][n] for n in sorted(LABELS)] for a in answers])
    targets = torch.tensor([sorted(LABELS).index(label) for _, label in held])
    assert kept["temperature"] != 1.0
    assert kept["temperature"] == pytest.approx(fit_temperature(plain.log(), targets), rel=1e-3)


@pytest.mark.run
def test_a_run_that_resumes_ends_with_the_same_calibration(fit: Run, tmp_path: Path) -> None:
    whole = noisy_run(fit, tmp_path, 120, 4, "whole")
    rest = noisy_run(fit, tmp_path, 120, 2, "rest")
    assert main(["fit", "--resume", str(rest), "--trainer.max_epochs", "4"]) == 0
    found = [(folder / "calibration.json").read_text() for folder in (whole, rest)]
    assert found[0] == found[1]
    metrics = [(folder / "test_metrics.json").read_text() for folder in (whole, rest)]
    assert metrics[0] == metrics[1]


@pytest.mark.run
def test_few_rows_fit_no_temperature(fit: Run, tmp_path: Path, capsys: Any) -> None:
    folder = noisy_run(fit, tmp_path, 40)
    kept = json.loads((folder / "calibration.json").read_text())
    assert kept["temperature"] == 1.0
    said = " ".join(line(capsys.readouterr().out, "calibrated").split())
    assert "temperature 1: 40 validation rows are too few to fit it" in said
    assert kept["error"] == kept["error_before"]


def exported_scores(folder: Path, texts: list[str], is_native: bool) -> torch.Tensor:
    """Probabilities ``[rows, labels]`` by a stock library."""
    if is_native:
        from transformers import pipeline

        found = pipeline("text-classification", str(folder), top_k=None)(texts)
        by_label = [{item["label"]: item["score"] for item in row} for row in found]
        return torch.tensor([[row[label] for label in sorted(LABELS)] for row in by_label])
    from sentence_transformers import SentenceTransformer

    logits = SentenceTransformer(str(folder), device="cpu").encode(texts)
    return torch.from_numpy(logits).softmax(1)


@pytest.mark.run
@pytest.mark.parametrize("kind", ["pooled", "native", "decoder"])
def test_an_export_has_the_temperature_in_its_weights(
    kind: str, fit: Run, tmp_path: Path, bert: str, plain_bert: str, llama: str
) -> None:
    backbone = {"pooled": bert, "native": plain_bert, "decoder": llama}[kind]
    folder = noisy_run(fit, tmp_path, 120, backbone=backbone)
    texts = [text for text, _ in noisy_rows(20, seed=5)]
    model = ftlight.load(str(folder))
    answers = model.predict(texts)
    assert model.task.calibration is not None
    assert model.task.calibration.temperature != 1.0
    wanted = torch.tensor([[a["probabilities"][n] for n in sorted(LABELS)] for a in answers])
    assert main(["export", str(folder)]) == 0
    found = exported_scores(folder / "export", texts, kind != "pooled")
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    card = (folder / "export" / "README.md").read_text()
    assert f"a temperature {model.task.calibration.temperature:.4g}, fitted on 120" in card
    out = tmp_path / "again"
    out.mkdir()
    model.task.export(out, model.data)
    assert model.predict(texts)[0]["score"] == pytest.approx(answers[0]["score"], abs=1e-6)
    assert main(["export", str(folder), "--wise", "0.5", "--out", "mix"]) == 0
    assert "scores of a mix are not calibrated" in Path("mix/README.md").read_text()


def plant(folder: Path, temperature: float) -> None:
    """Gives the best weights of a run a calibration."""
    file, none = folder / "checkpoints" / "best.ckpt", torch.zeros(0)
    checkpoint = torch.load(file, weights_only=True)
    errors = 0.2, 0.1, 0.05
    found = sureness.Calibration(temperature, 120, False, *errors, none, none, none)
    torch.save({**checkpoint, "calibration": found._asdict()}, file)


@pytest.mark.run
def test_an_export_of_images_has_the_temperature_in_its_weights(tmp_path: Path) -> None:
    from transformers import pipeline

    words = ["--run", "run", "--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"]
    fit = image_classification.fit(tmp_path)
    assert main(["fit", "--model", "ImageClassification", *fit, *words]) == 0
    image = tmp_path / "square.jpg"
    image.write_bytes(image_classification.square(3)[1])
    before = ftlight.load("run").predict([str(image)])[0]
    plant(Path("run"), 3.0)
    after = ftlight.load("run").predict([str(image)])[0]
    assert after["prediction"] == before["prediction"]
    assert after["score"] < before["score"]
    assert main(["export", "run"]) == 0
    found = pipeline("image-classification", "run/export")(str(image))
    assert found[0]["score"] == pytest.approx(after["score"], abs=1e-5)


@pytest.mark.run
def test_several_labels_have_one_temperature(fit: Run, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    rows = [
        (f"{a} {b} {i}", f"{a}|{b}") for i, (a, b) in enumerate(itertools.product(LABELS, LABELS))
    ]
    file = write_csv(tmp_path / "m.csv", rows * 8)
    folder = fit("--data.check", "off", train=file, epochs=2)
    kept = json.loads((folder / "calibration.json").read_text())
    assert "at_least" in kept
    assert "coverage" not in kept
    texts = [text for text, _ in rows]
    before = ftlight.load(str(folder)).predict(texts)
    plant(folder, 3.0)
    after = ftlight.load(str(folder)).predict(texts)
    assert [a["prediction"] for a in after] == [a["prediction"] for a in before]
    assert all(a["score"] <= b["score"] for a, b in zip(after, before, strict=True))
    assert main(["export", str(folder)]) == 0
    logits = SentenceTransformer(str(folder / "export"), device="cpu").encode(texts)
    wanted = torch.tensor([list(a["probabilities"].values()) for a in after])
    torch.testing.assert_close(torch.from_numpy(logits).sigmoid(), wanted, rtol=0, atol=1e-5)


def test_a_head_that_does_more_takes_no_temperature() -> None:
    class Bounded(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> SimpleNamespace:
            return SimpleNamespace(logits=self.head(x).tanh())

    model = Bounded()
    before = [p.clone() for p in model.parameters()]
    assert not fold_temperature(model, 2.0, 3, {"x": torch.ones(1, 4)})
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


# Pure


def test_probabilities_give_back_the_temperature_of_their_logits() -> None:
    logits = 3 * torch.randn(400, 5, generator=torch.manual_seed(0))
    targets = torch.multinomial((logits / 2).softmax(1), 1).squeeze(1)
    members = (torch.rand(logits.shape) < (logits / 2).sigmoid()).float()

    def check(several: bool) -> None:
        probabilities = logits.sigmoid() if several else logits.softmax(1)
        truth = members if several else targets
        fitted = sureness.temperature_of(probabilities, truth)
        assert fitted == pytest.approx(fit_temperature(logits, truth), rel=1e-3)
        scaled = (logits / fitted).sigmoid() if several else (logits / fitted).softmax(1)
        softer = sureness.at_temperature(probabilities, fitted, several)
        torch.testing.assert_close(softer, scaled, rtol=1e-4, atol=1e-5)

    each([(False,), (True,)], check)


def test_a_row_of_several_labels_is_right_if_all_are() -> None:
    probabilities = torch.tensor([[0.9, 0.2], [0.6, 0.7]])
    found = sureness.of_labels(probabilities, torch.tensor([[1, 0], [1, 0]]))
    assert found.confidence.tolist() == pytest.approx([0.8, 0.6])
    assert found.right.tolist() == [True, False]
    assert len(found.parts[0]) == 4
    assert len(found.misfits) == 0


def test_a_test_in_which_nothing_is_found_is_said_to_have_no_answers() -> None:
    sure, right = torch.full((200,), 0.99), torch.ones(200, dtype=torch.bool)
    found = sureness.Calibration(
        1.2, 200, True, 0.2, 0.1, 0.1, sure, right, torch.zeros(0), "spans"
    )
    words = sureness.Sureness(parts=(sure, right), unit="spans")
    assert "; 0 % of spans answered at 98 %" in found.line(words)
    assert "; 100 % of spans answered at 98 %" in found.line()


def test_weights_that_are_not_finite_have_no_calibration() -> None:
    class Broken(ftlight.TextClassification):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.kind, self.datamodule, self.calibration = "single", object(), None

    task, rows = Broken(), torch.arange(3)
    outputs = torch.full((3, 2), float("nan"))
    result = EvaluationResult({}, 3, outputs=outputs, targets=rows % 2, numbers=rows)
    task.evidence = {"val": result}
    assert calibrating.fit(task, HeldOut(rows, False)) is None
    good = F.one_hot(rows % 2, 2) * 0.8 + 0.1
    task.evidence = {"val": result._replace(outputs=good)}
    found = calibrating.fit(task, HeldOut(rows, False))
    assert found is not None
    assert found.temperature == 1.0
