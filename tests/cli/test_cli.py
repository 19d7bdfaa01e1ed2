"""The command line as a user meets it: verbs, configs, errors in one line."""

from __future__ import annotations

import csv
import importlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import ROOT, Run, each, make_bert, toy_rows, write_csv

import ftlight
from ftlight.__main__ import main
from ftlight.cli.classes import describe, task_names
from ftlight.cli.help import rows
from ftlight.utils.errors import UserError

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def fails(capsys: Any, *words: str) -> str:
    """Runs a command that must fail with status 2 and a line per fault. Returns the lines."""
    assert main(list(words)) == 2
    out, err = capsys.readouterr()
    assert all(line.startswith("ftlight: error: ") for line in err.splitlines())
    assert "Traceback" not in err + out
    return err.replace("ftlight: error: ", "").strip()


def fit_words(bert: str, train: str) -> list[str]:
    return [
        "fit",
        "--model",
        "TextClassification",
        "--model.backbone",
        bert,
        "--data.train",
        train,
        "--trainer.accelerator",
        "cpu",
    ]


def test_there_are_configs() -> None:
    assert "quickstart" in {p.stem for p in CONFIGS}


def tiny(task: str) -> Any:
    """The module of tests/tiny with a model and data for a task, named as in a config."""
    stems = {p.stem.replace("_", ""): p.stem for p in (ROOT / "tests" / "tiny").glob("*.py")}
    return importlib.import_module(f"tiny.{stems[task.partition('.')[0].lower().replace('_', '')]}")


def test_every_task_has_a_config_and_a_tiny_model() -> None:
    tasks = {yaml.safe_load(p.read_text())["model"]["task"] for p in CONFIGS}
    assert set(task_names()) <= tasks
    for task in tasks:
        assert tiny(task).fit


@pytest.mark.run
@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: p.stem)
def test_every_config_runs(config: Path, tmp_path: Path) -> None:
    """With a tiny model, few batches: fit, test, predict (both also in bfloat16), export."""
    assert 3 <= len(config.read_text().splitlines()) <= 12
    given = yaml.safe_load(config.read_text())
    made = tiny(given["model"]["task"])
    words = made.fit(tmp_path)
    if (config.parent / given["data"]["train"]).exists():  # shipped with its data
        words = words[words.index("--model.backbone") :][:2]
    run = str(tmp_path / "run")
    small = [
        "--trainer.max_epochs",
        "1",
        "--trainer.limit_train_batches",
        "2",
        "--trainer.accelerator",
        "cpu",
    ]
    assert main(["fit", "-c", str(config), *small, *words, "--run", run]) == 0
    assert main(["test", run]) == 0
    assert (tmp_path / "run" / "test_metrics.json").is_file()
    assert (tmp_path / "run" / "test_predictions.csv").is_file()
    assert main(["predict", run, *made.predict(tmp_path)]) == 0
    assert main(["predict", run, *made.predict(tmp_path), "--trainer.precision", "bf16-true"]) == 0
    assert (
        main(["fit", "-c", str(config), *small, *words, "--trainer.precision", "bf16-master"]) == 0
    )
    exports = "." not in given["model"]["task"]
    assert main(["export", run]) == (0 if exports else 2)
    assert (tmp_path / "run" / "export" / "README.md").is_file() == exports


def test_a_fault_in_a_schedule_names_its_line(
    bert: str, toy: str, tmp_path: Path, capsys: Any
) -> None:
    def check(line: str, words: str) -> None:
        (tmp_path / "x.yaml").write_text(
            f"model:\n{line}\n  task: TextClassification\n  backbone: {bert}\n"
            f"data: {{train: toy.csv}}\n"
        )
        assert (
            f"x.yaml:{words}"
            in fails(
                capsys, "fit", "-c", "x.yaml", "--trainer.max_epochs", "3", "--run", "r"
            ).splitlines()[0]
        )

    each(
        [
            (
                "  unfreeze: lastt:2",
                '2: model.unfreeze: no schedule lastt:2; did you mean "last:N"?',
            ),
            (
                "  unfreeze: last:9",
                "2: model.unfreeze: last:9 matches nothing; the model has 2 layers (layer:0 to "
                "layer:1)",
            ),
            (
                "  unfreeze:\n  - {train: hed, epochs: 1}\n  - {train: all}",
                '3: model.unfreeze.0.train: no selector hed; did you mean "head"?',
            ),
            (
                "  unfreeze:\n  - {train: head, epochs: 1}\n  - {train: layer:7}",
                "4: model.unfreeze.1.train: layer:7 matches nothing",
            ),
            (
                "  unfreeze:\n  - {train: head, epoch: 1}\n  - {train: all}",
                '3: model.unfreeze.0.epoch: a stage has no epoch; did you mean "epochs"?',
            ),
            ("  layer_decay: 2.0", "2: model.layer_decay: 2.0 is out of range"),
            ("  peft: {rank: 8}", "2: model.peft.rank: LORA has no rank"),
        ],
        check,
    )


def test_a_fault_on_the_command_line_has_no_line(
    bert: str, toy: str, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "x.yaml").write_text(
        f"model: {{task: TextClassification, backbone: {bert}, unfreeze: all}}\n"
        f"data: {{train: toy.csv}}\n"
    )
    assert fails(capsys, "fit", "-c", "x.yaml", "--model.unfreeze", "hed").startswith(
        "model.unfreeze: no schedule hed"
    )


@pytest.mark.run
def test_the_yaml_of_the_readme(bert: str, tmp_path: Path) -> None:
    (tmp_path / "tickets").mkdir()
    for split, count in (("train", 40), ("test", 9)):
        write_csv(tmp_path / "tickets" / f"{split}.csv", toy_rows(count), ("message", "intent"))
    (tmp_path / "mine.yaml").write_text(
        f"model: {{task: TextClassification, backbone: {bert}}}\n"
        "data: {train: tickets/train.csv, test: tickets/test.csv, text: message, label: intent}\n"
        "trainer: {max_epochs: 1}\n"
    )
    assert main(["fit", "-c", "mine.yaml"]) == 0
    latest = tmp_path / "runs" / "mine" / "latest"
    assert latest.is_symlink()
    assert main(["fit", "-c", "mine.yaml", "--test", "false"]) == 0
    assert len([p for p in (tmp_path / "runs" / "mine").iterdir() if not p.is_symlink()]) == 2
    assert not (latest / "test_metrics.json").exists()
    saved = yaml.safe_load((latest / "config.yaml").read_text())
    assert saved["model"]["class_path"] == "ftlight.TextClassification"
    assert saved["data"]["class_path"] == "ftlight.TextData"
    assert saved["data"]["init_args"]["train"] == str(tmp_path / "tickets" / "train.csv")
    assert (
        saved["trainer"]["use_distributed_sampler"] is False
    )  # the trainer never uses Lightning's


@pytest.mark.run
def test_the_saved_config_trains_again(fit: Run, tmp_path: Path) -> None:
    folder = fit()
    assert main(["fit", "-c", str(folder / "config.yaml"), "--run", str(tmp_path / "again")]) == 0
    first, second = ((p / "config.yaml").read_text() for p in (folder, tmp_path / "again"))
    assert first == second
    with (folder / "metrics.csv").open() as a, (tmp_path / "again" / "metrics.csv").open() as b:
        assert a.read() == b.read()


@pytest.mark.run
def test_several_configs_merge_in_order(bert: str, toy: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        f"model: {{task: TextClassification, backbone: {bert}, lr: 0.1}}\n"
        f"data: {{train: toy.csv}}\n"
    )
    (tmp_path / "b.yaml").write_text("model: {lr: 0.002, warmup: 0.2}\ntrainer: {max_epochs: 1}\n")
    assert (
        main(["fit", "-c", "a.yaml", "--config=b.yaml", "--model.warmup", "0.3", "--run", "r"]) == 0
    )
    saved = yaml.safe_load((tmp_path / "r" / "config.yaml").read_text())["model"]["init_args"]
    assert (saved["lr"], saved["warmup"]) == (0.002, 0.3)


@pytest.mark.run
@pytest.mark.processes
def test_a_task_of_ones_own_beside_the_yaml(bert: str, toy: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "my_own_task.py").write_text(
        "from ftlight import TextClassification\n"
        "class Mine(TextClassification):\n"
        "    '''Doubles the loss.\n\n    Args:\n        times: factor on the loss.\n"
        "        base: the others.\n    '''\n"
        "    def __init__(self, backbone: str, times: float = 2.0, **base):\n"
        "        super().__init__(backbone, **base)\n"
        "        self.times = times\n"
        "    def loss(self, logits, targets):\n"
        "        return self.times * super().loss(logits, targets)\n"
    )
    (home / "mine.yaml").write_text(
        f"model: {{task: my_own_task.Mine, backbone: {bert}, times: 3}}\ndata: {{train: {toy}}}\n"
    )
    assert (
        main(["fit", "-c", str(home / "mine.yaml"), "--trainer.max_epochs", "1", "--run", "r"]) == 0
    )
    command = [sys.executable, "-m", "ftlight", "predict", "r", "--text", "late"]
    assert subprocess.run(command, check=False, timeout=120).returncode == 0


@pytest.mark.run
def test_predict_files_standard_input_and_text(
    fit: Run, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    folder = fit("--model.lr", "3e-3", epochs=2)
    rows = [("it was late", "x,1"), ("NA", ""), ("good", "y")]
    write_csv(tmp_path / "new.csv", rows, ("text", "note"))
    assert main(["predict", str(folder), "new.csv", "--probabilities"]) == 0
    written = list(csv.DictReader((folder / "predictions" / "new.csv").open()))
    assert [(r["text"], r["note"]) for r in written] == rows
    for row in written:
        shares = [float(v) for k, v in row.items() if k.startswith("p(")]
        assert sum(shares) == pytest.approx(1, abs=1e-4)
        assert float(row["score"]) == pytest.approx(max(shares), abs=1e-5)
        assert row["prediction"] in ("bad", "good", "late")
    assert main(["predict", str(folder), "new.csv", "--out", "out.jsonl"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["prediction"] for line in lines] == [r["prediction"] for r in written]
    capsys.readouterr()
    monkeypatch.setattr(sys, "stdin", io.StringIO("it was late\n\ngood\n"))
    assert main(["predict", str(folder), "-"]) == 0
    said = capsys.readouterr().out
    assert written[0]["prediction"] in said
    assert said.count("\n  ") == 3  # a blank line keeps its place
    assert "(no text)\n" in said
    assert "input: 1 of 3 rows has no text (line 2): no more than a guess" in said
    assert main(["predict", str(folder), "--text", "[red] it was late"]) == 0
    assert "[red] it was late" in capsys.readouterr().out


@pytest.mark.run
def test_a_column_named_prediction_is_kept(fit: Run, tmp_path: Path) -> None:
    folder = fit()
    write_csv(tmp_path / "p.csv", [("good", "mine")], ("text", "prediction"))
    assert main(["predict", str(folder), "p.csv"]) == 0
    row = next(csv.DictReader((folder / "predictions" / "p.csv").open()))
    assert row["prediction"] == "mine"
    assert row["prediction_"] in ("bad", "good", "late")


@pytest.mark.run
def test_load_in_python_agrees_with_the_command_line(fit: Run, tmp_path: Path) -> None:
    folder = fit()
    texts = [t for t, _ in toy_rows(20)]
    write_csv(tmp_path / "t.csv", [(t,) for t in texts], ("text",))
    assert main(["predict", str(folder), "t.csv", "--trainer.precision", "32-true"]) == 0
    answers = ftlight.load(str(folder)).predict(texts)
    written = list(csv.DictReader((folder / "predictions" / "t.csv").open()))
    assert [a["prediction"] for a in answers] == [r["prediction"] for r in written]
    assert [a["score"] for a in answers] == pytest.approx(
        [float(r["score"]) for r in written], abs=1e-4
    )
    assert ftlight.load(str(folder)).predict([]) == []


@pytest.mark.run
def test_prediction_in_bfloat16_is_for_the_asking(fit: Run, tmp_path: Path) -> None:
    folder = fit()
    texts = [t for t, _ in toy_rows(20)]
    write_csv(tmp_path / "t.csv", [(t,) for t in texts], ("text",))
    exact, half = ftlight.load(str(folder)), ftlight.load(str(folder), precision="bf16-true")
    assert {p.dtype for p in half.task.parameters()} == {torch.bfloat16}
    found = half.predict(texts)
    scores = [[a["score"] for a in answers] for answers in (found, exact.predict(texts))]
    assert scores[0] != scores[1]
    assert scores[0] == pytest.approx(scores[1], abs=0.02)
    assert torch.get_default_dtype() == torch.float32
    assert main(["predict", str(folder), "t.csv", "--trainer.precision", "bf16-true"]) == 0
    written = list(csv.DictReader((folder / "predictions" / "t.csv").open()))
    assert [float(r["score"]) for r in written] == pytest.approx(scores[0], abs=1e-5)
    with pytest.raises(UserError, match="Precision 'half' is invalid"):
        ftlight.load(str(folder), precision="half")


@pytest.mark.run
def test_a_run_can_be_moved_without_its_backbone(tmp_path: Path, fit: Run) -> None:
    backbone = make_bert(tmp_path / "backbone")
    folder = fit(backbone=str(backbone))
    before = ftlight.load(str(folder)).predict(["late good bad"])
    shutil.rmtree(backbone)
    shutil.move(folder, tmp_path / "elsewhere")
    assert ftlight.load(str(tmp_path / "elsewhere")).predict(["late good bad"]) == before


def test_validate_measures_a_model_as_it_starts(bert: str, toy: str, capsys: Any) -> None:
    words = ["--model", "TextClassification", "--model.backbone", bert, "--data.train", toy]
    assert main(["validate", *words]) == 0
    assert "val accuracy" in capsys.readouterr().out
    assert not Path("runs").exists()


def test_help_and_version(capsys: Any) -> None:
    assert main([]) == 0
    assert main(["--help"]) == 0
    overview = capsys.readouterr().out
    assert all(
        verb in overview for verb in ("init", "fit", "validate", "test", "predict", "export")
    )
    assert len(overview.splitlines()) < 50
    assert main(["fit", "--help"]) == 0
    short = capsys.readouterr().out
    assert "--model.lr X|auto" in short
    assert "--data.text_pair" in short
    sentence = {o.name: o.help for o in describe("TextClassification").options}["warmup"]
    assert " ".join(sentence.split()) in " ".join(short.split())
    assert "--trainer.overfit_batches" not in short
    assert main(["fit", "--help", "all"]) == 0
    assert "--trainer.overfit_batches" in capsys.readouterr().out
    for verb in ("init", "validate", "test", "predict", "export"):
        assert main([verb, "--help"]) == 0
        assert f"python -m ftlight {verb}" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert f"ftlight {ftlight.__version__}" in capsys.readouterr().out


def test_every_option_has_its_sentence(capsys: Any) -> None:
    def check(section: str) -> None:
        path = {
            "model": "TextClassification",
            "data": "TextData",
            "trainer": "ftlight.trainer.trainer.Trainer",
        }[section]
        for name, sentence in rows(describe(path).options, section):
            assert len(sentence.split(" (default")[0].split()) >= 3, name

    each(["model", "data", "trainer"], check)


def test_a_wrong_command(capsys: Any) -> None:
    def check(words: list[str], said: str) -> None:
        import re

        assert re.search(said, fails(capsys, *words))

    each(
        [
            (["fti"], r'no verb fti; did you mean "fit"\?'),
            (["fit"], r"fit needs a config: python -m ftlight fit -c X.yaml"),
            (["fit", "-c", "none.yaml"], r"none.yaml: no such file"),
            (
                ["fit", "--model", "TextClasification"],
                r'no class TextClasification; did you mean "TextClassification"\?',
            ),
            (
                ["fit", "--resum", "x"],
                r'--resum is not an option of fit; did you mean "--resume"\?',
            ),
            (["fit", "X.yaml"], r"X.yaml: unexpected; a config is given with -c"),
            (
                ["fit", "my data.csv"],
                r"my data.csv is data, no config: python -m ftlight init 'my data.csv' > 'my ",
            ),
            (["fit", "-c", "a.csv.gz"], r"init a.csv.gz > a.yaml writes one; then fit -c a.yaml"),
            (["check", "a.xlsx"], r"init a.xlsx > a.yaml writes one; then check -c a.yaml"),
            (["fit", "-c", "."], r". is data, no config: python -m ftlight init . > my.yaml"),
            (["test"], r"test needs a run"),
            (["test", "nowhere"], r"nowhere is not a run: it has no config.yaml"),
            (["init"], r"init needs one data file"),
            (["init", "none.csv"], r"none.csv: no such file"),
        ],
        check,
    )


def test_a_wrong_option(bert: str, toy: str, capsys: Any) -> None:
    def check(option: list[str], said: str) -> None:
        assert said in fails(capsys, *fit_words(bert, toy), *option)
        assert not Path("runs").exists()

    each(
        [
            (
                ["--model.learning_rate", "1"],
                "--model.learning_rate is not an option of fit; ftlight calls it --model.lr",
            ),
            (["--model.lerning_rate", "1"], "is not an option of fit; ftlight calls it --model.lr"),
            (["--epoch", "1"], "is not an option of fit; ftlight calls it --trainer.max_epochs"),
            (
                ["--model.warmpu", "1"],
                '--model.warmpu is not an option of fit; did you mean "--model.warmup"?',
            ),
            (["--trainer.max_epoch", "1"], 'did you mean "--trainer.max_epochs"?'),
            (["--data.trai", "1"], 'did you mean "--data.train"?'),
            (["--modle.lr", "1"], 'did you mean "--model.lr"?'),
            (["--epochs", "1"], "ftlight calls it --trainer.max_epochs"),
            (["--lr", "1"], '--lr is not an option of fit; did you mean "--model.lr"?'),
            (["--model.lr", "fast"], "model.lr: expected a number or auto, got fast"),
            (["--model.lr_schedule", "step"], "model.lr_schedule: expected one of"),
            (
                ["--trainer.max_epochs", "2.5"],
                "trainer.max_epochs: expected a whole number, got 2.5",
            ),
            (["--model.lr", "-1"], "model.lr: -1 is out of range; it must be above 0"),
            (["--model.warmup", "7"], "model.warmup: 7 is out of range; it must be from 0 to 1"),
            (
                ["--trainer.unsaved", "stopp"],
                'trainer.unsaved: expected one of warn, stop, got stopp; did you mean "stop"?',
            ),
            (
                [
                    "--trainer.logger",
                    '{"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": '
                    '{"save_dirr": "x"}}',
                ],
                'trainer.logger: CSVLogger has no option save_dirr; did you mean "save_dir"?',
            ),
            (
                ["--trainer.logger", '{"class_path": "lightning.pytorch.loggers.CSVLoger"}'],
                "CSVLoger: module 'lightning.pytorch.loggers' has",
            ),
            (
                ["--data.batch_size", "0"],
                "data.batch_size: 0 is out of range; it must be at least 1",
            ),
            (
                ["--data.max_length", "100"],
                "data.max_length: 100 is not between 3 and the backbone's 64 tokens",
            ),
            (
                ["--data.validation_split", "1.5"],
                "data.validation_split: 1.5 is out of range; it must be from 0 to below 1",
            ),
            (["--model.backbone", "./none"], "model.backbone: no folder ./none"),
            (["--model.backbone", "a b"], "model.backbone: a b is no folder and no hub id"),
            (["--model.backbone=-1e-300"], "model.backbone: -1e-300 is no folder and no hub id"),
            (
                ["--model.backbone", "sentence-transformers/all-MiniLM-L6-v3"],
                'did you mean "sentence-transformers/all-MiniLM-L6-v2"?',
            ),
            (
                ["--data.train", "toi.csv"],
                'data.train: toi.csv: no such file; did you mean "toy.csv"?',
            ),
            (["--data.test", "none.csv"], "data.test: none.csv: no such file"),
            (["--data.text", "txt"], 'no column txt; did you mean "text"? (columns: text, label)'),
            (["--data.label", "intent"], "no column intent (columns: text, label)"),
            (
                ["--data.kind", "regression"],
                "label 'good' is not a number; for classes set data.kind: single",
            ),
            (["--ckpt_path"], "--ckpt_path needs a value"),
            (["--ckpt_path", "none.ckpt"], "none.ckpt: no such checkpoint (there are: none)"),
            (["--run", "toy.csv"], "toy.csv already exists; nothing is overwritten"),
            (["--run", "toy.csv/x"], "cannot be created (Not a directory)"),
        ],
        check,
    )


def test_a_wrong_yaml(toy: str, tmp_path: Path, capsys: Any) -> None:
    def check(text: str, said: str) -> None:
        (tmp_path / "X.yaml").write_text(text)
        assert said in fails(capsys, "fit", "-c", "X.yaml")

    each(
        [
            ("model: {task: TextClassification\n", "X.yaml:2: not valid YAML"),
            (
                "model: {task: TextClassification, lr: 1}\nmodel: {}\n",
                "X.yaml:2: model is given twice (first in line 1)",
            ),
            ("modle: {}\n", 'X.yaml:1: unknown key modle; did you mean "model"?'),
            (
                "output_dir: x\n",
                "X.yaml:1: unknown key output_dir; ftlight calls it trainer.run (--run DIR)",
            ),
            (
                "model: {task: TextClassification}\ndata:\n  trian: x\n",
                'X.yaml:3: data.trian is not an option of TextData; did you mean "train"?',
            ),
            (
                "model:\n  task: TextClassification\n  batch_size: 3\n",
                "X.yaml:3: model.batch_size is not an option of TextClassification; it belongs",
            ),
            (
                "model:\n  task: TextClassification\n  lr: fast\n",
                "X.yaml:3: model.lr: expected a number or auto, got fast",
            ),
            (
                "model:\n  task: TextClassification\ntrainer:\n  max_epochs: many\n",
                "X.yaml:4: trainer.max_epochs: expected a whole number, got many",
            ),
            ("data: {train: toy.csv}\n", "no task: write model: {task: …}"),
            ("- a\n", "X.yaml: expected keys such as model: and data:, got list"),
        ],
        check,
    )


def test_options_of_another_class_are_not_dropped_silently(
    bert: str, toy: str, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "another.py").write_text(
        "from ftlight import Task\nclass Other(Task):\n    data_module = 'ftlight.TextData'\n"
    )
    (tmp_path / "X.yaml").write_text(
        f"model: {{task: TextClassification, backbone: {bert}, label_smoothing: 0.1}}\n"
        f"data: {{train: {toy}}}\n"
    )
    assert "X.yaml:1: model.label_smoothing is not an option of Other" in fails(
        capsys, "fit", "-c", "X.yaml", "--model", "another.Other"
    )


@pytest.mark.run
def test_an_existing_run_is_refused(fit: Run, bert: str, toy: str, capsys: Any) -> None:
    folder = fit()
    before = sorted(p.stat().st_mtime_ns for p in folder.rglob("*"))
    assert "already exists; nothing is overwritten" in fails(
        capsys, *fit_words(bert, toy), "--run", str(folder)
    )
    assert sorted(p.stat().st_mtime_ns for p in folder.rglob("*")) == before


@pytest.mark.run
def test_a_missing_checkpoint(fit: Run, capsys: Any) -> None:
    folder = fit()
    (folder / "checkpoints" / "best.ckpt").unlink()
    assert "best.ckpt: no such checkpoint (there are: last.ckpt)" in fails(
        capsys, "test", str(folder)
    )


@pytest.mark.run
def test_words_that_others_take_for_missing_stay(fit: Run, tmp_path: Path) -> None:
    words = ["NA", "null", "None", "nan"]
    file = write_csv(tmp_path / "na.csv", [(words[i % 4], words[i % 4]) for i in range(40)])
    folder = fit("--data.test", file, train=file)
    assert json.loads((folder / "labels.json").read_text())["labels"] == sorted(words)
    assert {r["text"] for r in csv.DictReader((folder / "test_predictions.csv").open())} == set(
        words
    )


@pytest.mark.run
def test_labels_that_look_alike_are_kept_apart(fit: Run, tmp_path: Path, capsys: Any) -> None:
    file = write_csv(
        tmp_path / "alike.csv", [(f"text {i}", ["01", "1", "2"][i % 3]) for i in range(60)]
    )
    folder = fit(train=file)
    assert json.loads((folder / "labels.json").read_text())["labels"] == ["01", "1", "2"]
    assert "labels '01', '1' look alike and are kept apart" in capsys.readouterr().out


@pytest.mark.run
def test_long_texts_are_counted(fit: Run, tmp_path: Path, capsys: Any) -> None:
    rows = [*toy_rows(40), *((f"good {'late ' * 100}", "good") for _ in range(4))]
    fit("--data.validation_split", "0", train=write_csv(tmp_path / "long.csv", rows))
    assert "train: 4 of 44 rows are longer than 64 tokens, read whole in up to" in " ".join(
        capsys.readouterr().out.split()
    )


def test_weights_that_do_not_fit_the_architecture(tmp_path: Path, toy: str, capsys: Any) -> None:
    from safetensors.torch import load_file, save_file

    folder = make_bert(tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {f"wrong.{k}": v for k, v in tensors.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    said = fails(capsys, *fit_words(str(folder), toy))
    assert "do not match BertModel" in said
    assert "would start from random numbers" in said


@pytest.mark.run
def test_a_missing_pooler_is_new_and_belongs_to_the_head(
    tmp_path: Path, toy: str, capsys: Any
) -> None:
    from safetensors.torch import load_file, save_file

    folder = make_bert(tmp_path / "m", sentence_encoder=False)
    tensors = {
        k: v
        for k, v in load_file(folder / "model.safetensors").items()
        if not k.startswith("pooler")
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert main([*fit_words(str(folder), toy), "--trainer.max_epochs", "1", "--run", "r"]) == 0
    assert "no pooler" in " ".join(capsys.readouterr().out.split())


@pytest.mark.run
@pytest.mark.processes
def test_nothing_else_is_printed(bert: str, toy: str, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "ftlight",
        *fit_words(bert, toy),
        "--model.unfreeze",
        "all",
        "--trainer.max_epochs",
        "1",
        "--run",
        "r",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
    first = [line.split()[0] for line in done.stdout.splitlines() if not line.startswith(" ")]
    found = [name for name in ("chance", "confused", "worst") if name in first]
    table = ["layer", "head", "layer", "embeddings", "█"]
    assert first == [
        "data",
        "model",
        "rates",
        "run",
        *table,
        "epoch",
        "val",
        "also",
        *found,
        "calibrated",
        "kept",
        "test",
        "run",
        "next",
        "verdict",
        "report",
    ]


@pytest.mark.run
def test_three_commands_from_a_csv_to_predictions(
    tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    """From an empty folder with the data in it: init, fit, predict; no line written by hand."""
    from ftlight.cli import draft

    monkeypatch.setattr(draft, "SENTENCE_ENCODER", str(make_bert(tmp_path / "backbone")))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    write_csv(
        work / "mails.csv",
        [(str(i), t, name) for i, (t, name) in enumerate(toy_rows(60))],
        ("id", "body", "topic"),
    )
    write_csv(work / "new.csv", [("it was late",)], ("body",))
    assert main(["init", "mails.csv"]) == 0
    (work / "mails.yaml").write_text(capsys.readouterr().out)
    assert main(["fit", "-c", "mails.yaml", "--trainer.max_epochs", "1"]) == 0
    assert main(["predict", "runs/mails/latest", "new.csv"]) == 0
    row = next(csv.DictReader((work / "runs/mails/latest/predictions/new.csv").open()))
    assert row["body"] == "it was late"
    assert row["prediction"] in ("good", "bad", "late")


@pytest.mark.run
def test_jsonl_and_parquet(fit: Run, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"text": t, "label": [label, "any"] if i % 2 else ["any"]}
        for i, (t, label) in enumerate(toy_rows(40))
    ]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    folders = [fit(train=str(tmp_path / name), name=name[2:]) for name in ("d.jsonl", "d.parquet")]
    kinds = [json.loads((f / "labels.json").read_text()) for f in folders]
    assert kinds[0] == kinds[1]
    assert kinds[0]["kind"] == "multi"
    assert kinds[0]["labels"] == ["any", "bad", "good", "late"]
    assert kinds[0]["form"]["separator"] == "|"
    assert (folders[0] / "metrics.csv").read_text() == (folders[1] / "metrics.csv").read_text()
    assert main(["predict", str(folders[0]), "d.parquet"]) == 0
    assert (folders[0] / "predictions" / "d.csv").read_text().count("\n") == 41


@pytest.mark.run
def test_hub_data(bert: str, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """Offline the hub's own loader fails, in one line; with it, class labels become their names."""
    import datasets

    assert "hf:nobody/nothing: cannot be loaded from the hub" in fails(
        capsys, *fit_words(bert, "hf:nobody/nothing")
    )
    texts, names = zip(*toy_rows(40), strict=True)
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["late", "bad", "good"]),
        }
    )
    made = datasets.Dataset.from_dict({"text": texts, "label": list(names)}, features=features)
    asked: list[tuple[Any, ...]] = []

    def load_dataset(*words: Any, **options: Any) -> Any:
        asked.append((*words, options))
        return datasets.DatasetDict(train=made, test=made)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    hub = "hf:some/data:small@v1"
    words = [*fit_words(bert, hub), "--data.test", hub, "--trainer.max_epochs", "1", "--run", "r"]
    assert main(words) == 0
    assert set(map(str, asked)) == {str(("some/data", "small", {"revision": "v1"}))}
    assert json.loads((tmp_path / "r" / "labels.json").read_text())["labels"] == [
        "bad",
        "good",
        "late",
    ]
    assert "has no split validation (splits: train, test)" in fails(
        capsys, *fit_words(bert, hub), "--data.validation", hub
    )
