"""What goes to Weights & Biases, read back from its offline files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from conftest import Run, toy_rows, write_csv
from lightning.pytorch.loggers import Logger
from wandb_files import read, records, table, written

from ftlight.__main__ import main

pytestmark = pytest.mark.run
MARKER = "xylophone"


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")


@pytest.mark.parametrize("log_text", [False, True])
def test_offline(fit: Run, tmp_path: Path, log_text: bool) -> None:
    test = write_csv(tmp_path / "test.csv", [(f"{MARKER} {t}", label) for t, label in toy_rows(12)])
    own = ["--data.test", test, "--data.log_text", str(log_text).lower()]
    own += ["--trainer.report", "true"]
    folder = fit(*own, "--wandb", "my-project", "--trainer.log_every_n_steps", "2", epochs=2)
    sent = read(folder)
    assert sent.config["labels"] == ["bad", "good", "late"]
    assert sent.config["model"]["class_path"].endswith("TextClassification")
    assert sent.config["model"]["init_args"]["weight_decay"] == 0.01
    facts = json.loads((folder / "run.json").read_text())
    assert sent.config["run"]["data_sha256"] == facts["data_sha256"]
    assert len(sent.curves["val/f1"]) == 2
    assert len(sent.curves["test/accuracy"]) == 1
    assert {value for _, value in sent.curves["train/stage"]} == {1, 2, 3}
    assert {name for name in sent.curves if name.startswith("lr/")} == {
        *("lr/head", "lr/layer 1", "lr/layer 0", "lr/embeddings")
    }
    assert sent.curves["lr/embeddings"][0][1] == 0 < sent.curves["lr/embeddings"][-1][1]
    assert (MARKER.encode() in sent.raw) == log_text
    assert facts["wandb"] == {"project": "my-project", "id": sent.runs[0].run_id}

    # the end: nothing that the files of the run do not say
    tested = json.loads((folder / "test_metrics.json").read_text())
    (monitor, best), (low, high) = *facts["best"].items(), facts["intervals"]["val/f1"]
    assert sent.summary[monitor] == sent.summary[f"best/{monitor}"] == best
    assert (sent.summary["best/val/f1_low"], sent.summary["best/val/f1_high"]) == (low, high)
    assert low <= best <= high
    assert sent.summary["test/f1_low"] == tested["test/f1_low"]
    verdict = json.loads((folder / "verdict.json").read_text())
    assert sent.summary["verdict"] == verdict["sentence"]
    assert sum(row[2] for row in table(folder, "test/confusion_table")["data"]) == 12
    assert {row[0]: row[1:] for row in table(folder, "test/classes")["data"]} == {
        name: list(row.values()) for name, row in tested["classes"].items()
    }
    columns = table(folder, "test/wrong")["columns"]
    assert columns[:1] == ["why"]
    assert ("text" in columns, {"label", "prediction", "score"} <= {*columns}) == (log_text, True)
    assert ("message" in table(folder, "findings")["columns"]) == log_text
    (page,) = folder.rglob("wandb/offline-run-*/files/media/html/report_*.html")
    assert "<h1" in page.read_text()
    model = sent.artifacts[-1]
    assert (model.type, sorted(model.aliases)) == ("model", ["best", "latest"])
    assert json.loads(model.metadata)["data_sha256"] == facts["data_sha256"]
    kept = {file.path: file.ref for file in model.manifest.contents}
    assert kept["best.ckpt"] == (folder / "checkpoints" / "best.ckpt").as_uri()  # not a copy


def test_a_run_that_is_stopped_is_marked_and_goes_on_under_its_name(
    fit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stopper.py").write_text(
        "import os, signal\nimport lightning as L\n\n"
        "class Stop(L.Callback):\n"
        "    def on_train_batch_start(self, trainer, *rest):\n"
        "        if trainer.global_step == 3 and trainer.run.ckpt_path is None:\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    stop = [
        "--trainer.callbacks",
        json.dumps([{"class_path": "stopper.Stop"}]),
        "--wandb",
        "my-project",
    ]
    with pytest.raises(SystemExit) as ended:
        fit(*stop)
    assert ended.value.code == 75
    assert main(["fit", "--resume", "run"]) == 0
    found = [list(records(file)) for file in written(tmp_path / "run")]
    kinds = [[record.WhichOneof("record_type") for record in each] for each in found]
    assert "preempting" in kinds[0]
    assert "preempting" not in kinds[1]
    sent = read(tmp_path / "run")
    assert sent.exits == [75, 0]
    known = json.loads((tmp_path / "run" / "run.json").read_text())["wandb"]["id"]
    assert [run.run_id for run in sent.runs] == [known, known]


def test_disabled(fit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    folder = fit("--wandb", "my-project")
    assert not list(folder.rglob("*.wandb"))
    assert (folder / "metrics.csv").is_file()


def test_a_label_steers_no_terminal_and_no_secret_is_sent(
    fit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_KEY", "a-secret-that-is-long")
    labels = ("go\u202eod", "bad a-secret-that-is-long", "late")
    train = write_csv(tmp_path / "odd.csv", toy_rows(60, labels))
    test = write_csv(tmp_path / "test.csv", toy_rows(9, labels))
    sent = read(fit("--data.test", test, "--wandb", "p", train=train))
    assert "go\ufffdod" in sent.config["labels"]
    for hidden in ("\u202e", "\\u202e", "a-secret-that-is-long"):
        assert hidden.encode() not in sent.raw


class Other(Logger):
    """A logger such as Lightning's for TensorBoard or MLflow."""

    name = version = "other"

    def __init__(self) -> None:
        super().__init__()
        self.got: list[dict[str, Any]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Keeps them."""
        self.got.append(metrics)

    def log_hyperparams(self, *rest: Any, **more: Any) -> None:
        """Must not be asked for anything but options."""


def test_another_logger_gets_the_scalars_and_nothing_else(
    bert: str, rows: dict[str, str], tmp_path: Path
) -> None:
    from ftlight import TextClassification, TextData, Trainer

    L.seed_everything(0, verbose=False)
    other, data = Other(), TextData(**rows, tokenizer=bert, batch_size=8)
    options: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False}
    trainer = Trainer(
        run=str(tmp_path / "r"), max_epochs=1, logger=other, log_every_n_steps=1, **options
    )
    trainer.fit(TextClassification(bert, labels=data.labels), datamodule=data)
    assert all(isinstance(value, int | float) for row in other.got for value in row.values())
    names = {name for row in other.got for name in row} - {"epoch"}
    lines = (tmp_path / "r" / "metrics.csv").read_text().splitlines()[1:]
    assert names == {line.split(",")[2] for line in lines}
    assert {"train/loss_step", "lr/head", "train/stage", "val/f1", "test/f1"} <= names
