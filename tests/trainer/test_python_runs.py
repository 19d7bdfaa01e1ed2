"""A run made in Python is one of the command line: config, load, predict, export, resume."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import yaml
from conftest import Run, each, toy_rows, write_csv
from lightning.pytorch.callbacks import LearningRateMonitor
from torch.utils.data import DataLoader

import ftlight
from ftlight import Predictor, TextClassification, TextData, Trainer, UserError
from ftlight.__main__ import main
from ftlight.trainer import recorded

pytestmark = pytest.mark.run
MINE = """
from ftlight import TextClassification

class Closed(TextClassification):
    def __init__(self, backbone, labels, kind="single"):  # hands no other option on
        super().__init__(backbone, labels=labels, kind=kind, unfreeze="head")

class Mine(TextClassification):
    def __init__(self, backbone, *, names=None, **base):
        super().__init__(backbone, **base)
"""


def made(
    backbone: str, train: str = "toy.csv", cls: type = TextClassification, **model: Any
) -> tuple[TextClassification, TextData]:
    write_csv(Path("toy.csv"), toy_rows(60))
    data = TextData(train, tokenizer=backbone, batch_size=8)
    return cls(backbone, labels=data.labels, kind=data.kind, **model), data


def trained(run: str, task: Any, data: Any, **options: Any) -> str:
    quiet = {"accelerator": "cpu", "enable_progress_bar": False, "max_epochs": 1}
    Trainer(run=run, **quiet, **options).fit(task, datamodule=data)
    return run


def config(run: str | Path) -> dict[str, Any]:
    return yaml.safe_load((Path(run) / "config.yaml").read_text())


def test_the_config_is_the_one_of_the_same_command(fit: Run, bert: str) -> None:
    by_command = config(fit("--model.unfreeze", "lp_ft", "--model.warmup", "0.2", "--seed", "3"))
    L.seed_everything(3)
    task, data = made(bert, unfreeze="lp_ft", warmup=0.2)
    run = "python"
    Trainer(run=run, max_epochs=1, accelerator="cpu", report=False).fit(task, datamodule=data)
    assert config(run) == by_command
    assert Path(run, "checkpoints/best.ckpt").is_file()


def test_a_run_made_in_python_is_used_in_another_process(bert: str) -> None:
    task, data = made(bert)
    trained("run", task, data)
    here = ftlight.load("run").predict(["a good card"])
    code = "import ftlight, json; print(json.dumps(ftlight.load('run').predict(['a good card'])))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == here
    assert main(["predict", "run", "toy.csv"]) == 0
    assert main(["export", "run", "--out", "stock"]) == 0
    assert main(["fit", "--resume", "run", "--trainer.max_epochs", "2"]) == 0
    assert main(["fit", "-c", "run/config.yaml", "--run", "again"]) == 0


def test_a_run_of_the_command_line_resumes_in_python_with_its_schedule(fit: Run, bert: str) -> None:
    fit("--model.unfreeze", "lp_ft", "--data.batch_size", "8")
    before = config("run")
    task, data = made(bert)
    quiet = {"accelerator": "cpu", "enable_progress_bar": False}
    Trainer(run="run", resume=True, max_epochs=2, **quiet).fit(task, datamodule=data)
    assert config("run")["model"] == before["model"]


def test_what_yaml_cannot_hold_is_named_and_the_run_trains(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "closure_task.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    from closure_task import Mine

    task, data = made(bert, cls=Mine, names=lambda: None)
    trained("run", task, data, callbacks=[LearningRateMonitor()])
    said = capsys.readouterr().out
    assert "lacks trainer.callbacks, which no later verb needs: a value of type Learning" in said
    assert "lacks model.names, which later verbs need: a value of type function is not" in said
    with pytest.raises(UserError, match=r"config.yaml lacks model.names: .*; make task and data"):
        ftlight.load("run")
    assert main(["predict", "run", "toy.csv"]) == 2
    assert main(["fit", "--resume", "run"]) == 2
    assert main(["fit", "-c", "run/config.yaml", "--run", "other"]) == 2
    assert main(["predict", "run", "toy.csv", "--model.names", "[a]"]) == 0
    # the way out that the error names
    task, data = made(bert, cls=Mine, names=lambda: None)
    task.load_weights("run/checkpoints/best.ckpt")
    assert len(Predictor(task, data).predict(["a good card"])) == 1


def test_a_class_beside_the_script_is_found_again(
    bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "elsewhere"
    home.mkdir()
    (home / "own_task.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(home))
    from own_task import Closed, Mine

    trained("closed", *made(bert, cls=Closed))
    assert config("closed")["model"]["init_args"] == {"backbone": bert}
    trained("run", *made(bert, cls=Mine, names=("a", np.int64(3))))
    assert config("run")["model"]["class_path"] == "own_task.Mine"
    assert config("run")["model"]["init_args"]["names"] == ["a", 3]
    code = "import ftlight; print(ftlight.load('run').predict(['a'])[0]['prediction'])"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_number_of_batches_stays_whole_beside_libraries_that_say_float_first(bert: str) -> None:
    trained("run", *made(bert))
    code = """
import sklearn.metrics
from ftlight.__main__ import main
words = ["fit", "-c", "run/config.yaml", "--run", "again", "--trainer.limit_train_batches", "1"]
assert main(words) == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert repr(config("again")["trainer"]["limit_train_batches"]) == "1"


def test_a_class_of_a_notebook_or_loaders_of_ones_own_cannot_be_loaded_again(bert: str) -> None:
    class Local(TextClassification):
        pass

    trained("local", *made(bert, cls=Local))
    with pytest.raises(UserError, match=r"lacks model: Local is defined in a notebook, a script"):
        ftlight.load("local")
    task, data = made(bert)
    data.setup("fit")
    split = data.sets["train"]
    loader = DataLoader(range(8), 4, collate_fn=lambda rows: data.collate(split[rows], rows))
    options = {"accelerator": "cpu", "max_epochs": 1, "enable_progress_bar": False}
    Trainer(run="loaders", **options).fit(task, loader)
    with pytest.raises(UserError, match=r"lacks data: loaders"):
        ftlight.load("loaders")


def test_another_tokenizer_than_the_backbones_is_named(bert: str, plain_bert: str) -> None:
    task, _ = made(bert)
    config_, lacks = recorded.config_of(task, TextData("toy.csv", tokenizer=plain_bert))
    assert list(lacks) == ["data.tokenizer"]
    assert "tokenizer" not in config_["data"]["init_args"]


def test_a_saved_model_is_a_run(fit: Run, bert: str) -> None:
    fit()
    loaded = ftlight.load("run")
    for name in ("predictions", "onnx"):
        (Path("run") / name).mkdir()
    task, data = made(bert)
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, datamodule=data)
    in_python = Predictor(task, data)

    def check(model: Predictor, folder: str) -> None:
        answers = model.predict(["a good card"])
        model.save(folder)
        again = ftlight.load(folder)
        assert again.predict(["a good card"]) == answers
        assert repr(again).endswith(f"from {folder}; labels: bad, good, late>")
        assert f"TextClassification on {bert}" in repr(again)
        assert main(["predict", folder, "toy.csv"]) == 0
        assert main(["export", folder, "--out", f"{folder}-stock"]) == 0
        again.export(f"{folder}-too")
        assert again.predict(["a good card"])[0]["score"] == pytest.approx(answers[0]["score"])
        with pytest.raises(UserError, match=r"already and not empty"):
            model.save(folder)

    each([(loaded, "copied"), (in_python, "made")], check)
    assert not Path("copied/predictions/none").exists()
    assert not Path("copied/onnx").exists()
    assert [p.name for p in Path("copied/checkpoints").iterdir()] == ["best.ckpt"]
    with pytest.raises(UserError, match=r"only a run can be exported"):
        in_python.export("stock")


def test_the_public_names_are_all_that_is_listed() -> None:
    import ftlight.cli.parser

    assert dir(ftlight) == sorted(ftlight.__all__)
    assert all(getattr(ftlight, name) is not None for name in dir(ftlight))
