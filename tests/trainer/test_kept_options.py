"""Options that are not given again: a run that goes on keeps its own, whatever defaults became."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from conftest import Run, same, toy_rows, write_csv

from ftlight import TextClassification, TextData, Trainer
from ftlight.__main__ import main
from ftlight.freezing import callback as freezing
from ftlight.utils.errors import UserError

pytestmark = pytest.mark.run
LP_FT = ("--model.unfreeze", "lp_ft")
STAGE = ("--model.lr_over", "stage", "--model.head_fit", "step")


def model_of(folder: Path) -> dict[str, Any]:
    """The model's options in the config.yaml of a run."""
    return yaml.safe_load((folder / "config.yaml").read_text())["model"]["init_args"]


def as_0_1_left_it(folder: Path) -> None:
    """Takes what 0.1 did not know out of the config and checkpoints of a run over each stage."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for name in ("lr_over", "head_fit"):
        del config["model"]["init_args"][name]
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    for path in (folder / "checkpoints").glob("*.ckpt"):
        state = torch.load(path, weights_only=True)
        if schedule := state.get("callbacks", {}).get("Freezing"):
            del schedule["options"]
            for stage in schedule["schedule"]:
                del stage["lr_over"], stage["solved"]
            torch.save(state, path)


def rates_of(folder: Path) -> set[str]:
    """Over what the rates of a run's last checkpoint fall."""
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return {stage["lr_over"] for stage in state["callbacks"]["Freezing"]["schedule"]}


def test_a_config_that_leaves_an_option_out_resumes_with_the_recorded_one(
    fit: Run, bert: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--trainer.callbacks", '[{"class_path": "LearningRateMonitor"}]', "--seed", "3"]
    folder = fit(*LP_FT, "--model.lr_schedule", "cosine", "--data.max_length", "40", *more)
    assert "LearningRateMonitor" in (folder / "config.yaml").read_text()
    config = {
        "model": {"task": "TextClassification", "backbone": bert},
        "data": {"train": "toy.csv", "batch_size": 8},
        "trainer": {"run": "run", "resume": True, "accelerator": "cpu", "max_epochs": 2},
    }
    (tmp_path / "X.yaml").write_text(json.dumps(config))
    capsys.readouterr()
    assert main(["fit", "-c", "X.yaml"]) == 0  # asks for it as --run DIR --resume auto would
    said = capsys.readouterr().out
    assert "trainer.max_epochs: 2; it was 1" in said
    assert "it was cosine" not in said
    kept = model_of(folder)
    assert (kept["unfreeze"], kept["lr_schedule"]) == ("lp_ft", "cosine")
    assert "LearningRateMonitor" not in (folder / "config.yaml").read_text()
    words = ["fit", "-c", "X.yaml", "--model.lr_schedule", "linear", "--trainer.max_epochs", "3"]
    assert main(words) == 2
    assert "model.lr_schedule: the run began with cosine, this is linear" in capsys.readouterr().err


def test_a_run_of_0_1_resumes_over_each_stage_however_it_is_resumed(
    fit: Run, toy: str, bert: str, capsys: pytest.CaptureFixture[str]
) -> None:
    endless = ("--trainer.patience", "0")
    old = fit(*LP_FT, *STAGE, *endless, epochs=2, name="old")
    as_0_1_left_it(old)
    words = [
        "--data.train",
        toy,
        "--data.batch_size",
        "8",
        "--model.backbone",
        bert,
        *LP_FT,
        *endless,
    ]
    begin = ["fit", "--model", "TextClassification", *words, "--trainer.accelerator", "cpu"]
    assert main([*begin, "--run", "old", "--resume", "auto", "--trainer.max_epochs", "3"]) == 0
    assert rates_of(old) == {"stage"}
    assert model_of(old)["lr_over"] == "stage"
    as_0_1_left_it(old)
    assert main(["fit", "--resume", "old", "--trainer.max_epochs", "4"]) == 0
    assert rates_of(old) == {"stage"}
    as_0_1_left_it(old)
    from_it = ["--ckpt_path", "old/checkpoints/last.ckpt", "--trainer.max_epochs", "5"]
    assert main([*begin, *from_it, "--run", "new"]) == 0
    assert rates_of(Path("new")) == {"stage"}
    assert model_of(Path("new"))["lr_over"] == "stage"
    assert main(["fit", "--resume", "new", "--trainer.max_epochs", "6"]) == 0
    capsys.readouterr()
    assert main([*begin, *from_it, "--run", "other", "--model.lr_over", "run"]) == 2
    refused = capsys.readouterr().err
    assert "model.lr_over: the run began with stage, this is run" in refused


def test_a_run_of_0_1_that_is_done_stays_done(fit: Run, capsys: pytest.CaptureFixture[str]) -> None:
    as_0_1_left_it(fit(*LP_FT, *STAGE))
    files = [path for path in Path("run").rglob("*") if path.is_file()]
    before = [path.read_bytes() for path in files]
    capsys.readouterr()
    assert main(["fit", "--resume", "run"]) == 0
    assert "run is done; nothing is left to do" in capsys.readouterr().out
    assert [path.read_bytes() for path in files] == before


OWN = """
import os
from ftlight import TextClassification

class Own(TextClassification):
    def __init__(self, backbone: str, labels: list[str] = (), lr_schedule: str = "linear",
                 unfreeze: str = "lp_ft") -> None:
        options = {"head_fit": "step"} if "STEPS" in os.environ else {}  # as 0.1 did
        options = {**options, "lr_schedule": lr_schedule, "unfreeze": unfreeze}
        super().__init__(backbone, labels=labels, **options)
"""


def test_a_run_of_0_1_with_a_task_that_names_all_its_options_goes_on(
    toy: str,
    bert: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("STEPS", "1")
    (tmp_path / "own_options.py").write_text(OWN)
    config = {
        "model": {"task": "own_options.Own", "backbone": bert},
        "data": {"train": toy, "batch_size": 8},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }
    (tmp_path / "X.yaml").write_text(json.dumps(config))
    assert main(["fit", "-c", "X.yaml", "--run", "run"]) == 0
    state = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    schedule = state["callbacks"]["Freezing"]
    schedule.pop("options")
    for stage in schedule["schedule"]:
        assert stage.pop("lr_over") == "run"
        assert not stage.pop("solved")
    torch.save(state, "run/checkpoints/last.ckpt")
    monkeypatch.delenv("STEPS")
    capsys.readouterr()
    assert main(["fit", "--resume", "run", "--trainer.max_epochs", "2"]) == 0
    assert rates_of(Path("run")) == {"stage"}
    assert "it was stage" not in capsys.readouterr().out
    assert "lr_over" not in model_of(Path("run"))


def trained(
    bert: str, toy: str, folder: Path, epochs: int, trainer: Any = None, **model: Any
) -> Any:
    """A run in Python."""
    L.seed_everything(0, verbose=False)
    data = TextData(train=toy, tokenizer=bert, batch_size=8)
    task = TextClassification(bert, labels=data.labels, lr=1e-3, **model)
    quiet = {"accelerator": "cpu", "precision": "32-true", "enable_progress_bar": False}
    made = Trainer(run=str(folder), max_epochs=epochs, resume=True, **quiet)
    made.fit(task, datamodule=data, **(trainer or {}))
    return task, made


def test_in_python_too_a_checkpoint_gives_what_the_user_does_not(
    bert: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = write_csv(tmp_path / "toy.csv", toy_rows(60))
    options = {"unfreeze": "lp_ft", "lr_over": "stage"}
    for name in ("a", "b"):
        trained(bert, toy, tmp_path / name, 2, **options)
    asked, _ = trained(bert, toy, tmp_path / "a", 4, **options)
    capsys.readouterr()
    kept, trainer = trained(bert, toy, tmp_path / "b", 4)
    same(asked, kept)
    said = capsys.readouterr().out
    assert "model.unfreeze: lp_ft, as in the checkpoint" in said
    assert "model.lr_over: stage, as in the checkpoint" in said
    stages = freezing.of(trainer).progress.stages
    assert [stage.lr_over for stage in stages] == ["stage", "stage"]
    with pytest.raises(UserError, match=r"model.lr_over: the run began with stage, this is run"):
        trained(bert, toy, tmp_path / "a", 6, unfreeze="lp_ft", lr_over="run")


def test_a_run_records_the_schedule_that_is_the_default_and_goes_on_with_it(
    fit: Run, bert: str, toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fit()
    trained(bert, toy, tmp_path / "python", 1)
    assert {model_of(path)["unfreeze"] for path in (folder, tmp_path / "python")} == {"gradual"}
    monkeypatch.setattr(TextClassification, "default_unfreeze", "all")  # that of another version
    assert main(["fit", "--resume", str(folder), "--trainer.max_epochs", "2"]) == 0
    _, trainer = trained(bert, toy, tmp_path / "python", 2)
    assert len(freezing.of(trainer).progress.stages) > 1
    assert {model_of(path)["unfreeze"] for path in (folder, tmp_path / "python")} == {"gradual"}
