"""Training tiny models: modes, kinds, batches, precision, processes, what a run leaves behind."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from conftest import Run, each, same, still_bert, toy_rows, write_csv

import ftlight
from ftlight import TextClassification, TextData, Trainer, load
from ftlight.__main__ import main
from ftlight.run import ending
from ftlight.utils.errors import UserError


def build(backbone: str, train: str, **model: Any) -> tuple[TextClassification, TextData]:
    data = TextData(train=train, tokenizer=backbone, batch_size=8)
    return TextClassification(backbone, labels=data.labels, kind=data.kind, **model), data


pytestmark = pytest.mark.run


class Modes(L.Callback):
    """Notes the modes of dropout layers in training and evaluation."""

    def __init__(self) -> None:
        self.train: set[bool] = set()
        self.evaluate: set[bool] = set()

    @staticmethod
    def modes(module: torch.nn.Module) -> set[bool]:
        return {m.training for m in module.modules() if isinstance(m, torch.nn.Dropout)}

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        self.train |= self.modes(pl_module)

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        self.evaluate |= self.modes(pl_module)


@pytest.mark.parametrize("trainer_class", [Trainer, L.Trainer])
def test_dropout_is_on_in_training_and_off_in_evaluation(
    bert: str, toy: str, trainer_class: type, tmp_path: Path
) -> None:
    task, data = build(bert, toy, unfreeze="all")
    modes = Modes()
    options = (
        {"run": str(tmp_path / "r")}
        if trainer_class is Trainer
        else {"logger": False, "enable_checkpointing": False}
    )
    trainer_class(
        max_epochs=2, accelerator="cpu", callbacks=[modes], enable_progress_bar=False, **options
    ).fit(task, datamodule=data)
    assert modes.train == {True}
    assert modes.evaluate == {False}
    inputs = {
        "input_ids": torch.tensor([[2, 30, 31, 3]]),
        "attention_mask": torch.ones(1, 4, dtype=torch.long),
    }
    task.train()
    assert not torch.equal(task(inputs), task(inputs))


def test_weights_are_fp32_whatever_the_file_holds(bert: str, tmp_path: Path, toy: str) -> None:
    from transformers import AutoModel, AutoTokenizer

    AutoModel.from_pretrained(bert).bfloat16().save_pretrained(tmp_path / "bf16")
    AutoTokenizer.from_pretrained(bert).save_pretrained(tmp_path / "bf16")
    task, _ = build(str(tmp_path / "bf16"), toy)
    assert {p.dtype for p in task.parameters()} == {torch.float32}


def test_learns_and_keeps_the_best(fit: Run) -> None:
    folder = fit("--model.lr", "3e-3", "--trainer.patience", "0", epochs=12)
    values = [
        row for row in csv.DictReader((folder / "metrics.csv").open()) if row["name"] == "val/f1"
    ]
    best = max(float(r["value"]) for r in values)
    facts = json.loads((folder / "run.json").read_text())
    assert len(values) == 12
    assert facts["best"]["val/f1"] == pytest.approx(best)
    assert best > 0.8
    assert main(["validate", str(folder)]) == 0


@pytest.mark.parametrize(
    ("labels", "kind", "names"),
    [
        (["a", "b", "c"], "single", {"accuracy", "f1", "mcc", "auroc", "calibration_error"}),
        (["a|b", "b", "c", "a|c"], "multi", {"accuracy", "f1", "f1_micro", "auroc"}),
        (["0.5", "1.25", "3.0", "4.75"], "regression", {"pearson", "spearman", "mae", "rmse"}),
    ],
)
@pytest.mark.parametrize("model", ["bert", "plain_bert", "llama"])
def test_kinds_with_heads(
    labels: list[str],
    kind: str,
    names: set[str],
    model: str,
    fit: Run,
    request: Any,
    tmp_path: Path,
) -> None:
    rows = [(text, labels[i % len(labels)]) for i, (text, _) in enumerate(toy_rows(48))]
    file = write_csv(tmp_path / "kinds.csv", rows)
    folder = fit("--data.test", file, train=file, backbone=request.getfixturevalue(model))
    scores = json.loads((folder / "test_metrics.json").read_text())
    assert {f"test/{n}" for n in names} <= set(scores)
    assert json.loads((folder / "labels.json").read_text())["kind"] == kind
    predictions = list(csv.DictReader((folder / "test_predictions.csv").open()))
    assert len(predictions) == 48
    if kind == "single":
        right = np.mean([r["label"] == r["prediction"] for r in predictions])
        assert right == pytest.approx(scores["test/accuracy"])
    if kind == "regression":
        mae = np.mean([abs(float(r["label"]) - float(r["prediction"])) for r in predictions])
        assert mae == pytest.approx(scores["test/mae"], abs=1e-4)


def test_regression_starts_from_the_mean_and_learns(fit: Run, tmp_path: Path) -> None:
    rows = [(text, f"{100 + 10 * (i % 3)}.5") for i, (text, _) in enumerate(toy_rows(60))]
    folder = fit(
        "--model.lr",
        "3e-3",
        "--trainer.patience",
        "0",
        train=write_csv(tmp_path / "r.csv", rows),
        epochs=8,
    )
    values = [
        float(r["value"])
        for r in csv.DictReader((folder / "metrics.csv").open())
        if r["name"] == "val/mae"
    ]
    assert values[0] < 20
    assert values[-1] < 6


def test_pairs_and_joined_columns(fit: Run, tmp_path: Path) -> None:
    rows = [
        (a, b, label) for (a, label), (b, _) in zip(toy_rows(40), toy_rows(40)[::-1], strict=True)
    ]
    file = write_csv(tmp_path / "two.csv", rows, ("question", "answer", "label"))
    pairs = fit("--data.text", "question", "--data.text_pair", "answer", train=file, name="pairs")
    joined = fit("--data.text", "[question, answer]", train=file, name="joined")
    batch = next(
        iter(_batches(pairs, [{"question": "where is my parcel", "answer": "it was late"}]))
    )
    assert batch["inputs"]["token_type_ids"].tolist()[0] == [0] * 6 + [1] * 4
    assert load(str(joined)).predict([{"question": "where", "answer": "late"}])[0][
        "prediction"
    ] in ("good", "bad", "late")
    with pytest.raises(UserError, match=r"no column answer.*columns: question"):
        load(str(pairs)).predict([{"question": "where"}])


def _batches(folder: Path, rows: list[dict[str, str]]) -> Any:
    predictor = load(str(folder))
    predictor.data.set_predict(rows)
    return predictor.data.predict_dataloader()


def test_padding_does_not_change_scores(fit: Run, llama: str) -> None:
    for backbone in (None, llama):
        folder = fit(name=f"pad{backbone is None}", **({"backbone": backbone} if backbone else {}))
        predictor = load(str(folder))
        texts = [
            "late",
            "good movie and a very happy film for you and the parcel was not late and it was great",
            "bad",
        ]
        together, alone = predictor.predict(texts), [predictor.predict([t])[0] for t in texts]
        for a, b in zip(together, alone, strict=True):
            assert a["prediction"] == b["prediction"]
            assert a["score"] == pytest.approx(b["score"], abs=1e-5)


def test_class_weights_balance(bert: str, tmp_path: Path) -> None:
    rows = [(f"good {i}", "much") for i in range(30)] + [(f"bad {i}", "little") for i in range(10)]
    task, data = build(bert, write_csv(tmp_path / "w.csv", rows), class_weight="balanced")
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", run=str(tmp_path / "r"), enable_progress_bar=False
    )
    trainer.fit(task, datamodule=data)
    assert data.labels == ["little", "much"]
    assert task.weights is not None
    assert task.weights.tolist() == pytest.approx([36 / (2 * 9), 36 / (2 * 27)])
    state = torch.load(tmp_path / "r" / "checkpoints" / "best.ckpt", weights_only=True)[
        "state_dict"
    ]
    assert all(name.startswith("model.") for name in state)


def test_rates_follow_the_formula(bert: str, toy: str, tmp_path: Path) -> None:
    from ftlight.freezing.rates import lr_factor

    seen: list[dict[str, float]] = []

    class Rates(L.Callback):
        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            seen.append({g["name"]: g["lr"] for g in optimizer.param_groups})

    task, data = build(bert, toy, lr=1e-3, layer_decay=0.5, warmup=0.25, unfreeze="all")
    Trainer(
        max_epochs=2,
        accelerator="cpu",
        run=str(tmp_path / "r"),
        callbacks=[Rates()],
        enable_progress_bar=False,
    ).fit(task, datamodule=data)
    total = len(seen)
    assert total == 2 * 7
    for step, rates in enumerate(seen):
        factor = lr_factor(step, total, 0.25, "linear")
        for depth, layer in enumerate(["head", "layer 1", "layer 0", "embeddings"]):
            assert rates[layer] == pytest.approx(1e-3 * 0.5**depth * factor)


def test_gradients_are_clipped_under_bf16(bert: str, toy: str, tmp_path: Path) -> None:
    norms: list[float] = []

    class Norms(L.Callback):
        def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            grads = [p.grad.norm() for p in pl_module.parameters() if p.grad is not None]
            if grads:
                norms.append(float(torch.stack(grads).norm()))

    task, data = build(bert, toy)
    options = {
        "max_epochs": 1,
        "accelerator": "cpu",
        "run": str(tmp_path / "r"),
        "enable_progress_bar": False,
    }
    Trainer(precision="bf16-mixed", gradient_clip_val=0.01, callbacks=[Norms()], **options).fit(
        task, datamodule=data
    )
    assert norms
    assert max(norms) <= 0.0101


def test_epochs_are_chosen_when_none_are_given(
    bert: str, toy: str, tmp_path: Path, capsys: Any
) -> None:
    command = [
        "fit",
        "--model",
        "TextClassification",
        "--model.backbone",
        bert,
        "--data.train",
        toy,
        "--run",
        str(tmp_path / "r"),
    ]
    assert main([*command, "--trainer.accelerator", "cpu", "--trainer.patience", "1"]) == 0
    assert "30 epochs of 2 steps (about 1,000 steps" in " ".join(capsys.readouterr().out.split())


def test_a_run_leaves_its_record(fit: Run, tmp_path: Path) -> None:
    import hashlib

    test = write_csv(tmp_path / "test.csv", toy_rows(15))
    folder = fit("--data.test", test, "--seed", "3")
    facts = json.loads((folder / "run.json").read_text())
    assert facts["status"] == "done"
    assert facts["seed"] == 3
    assert facts["data_sha256"]["test"] == hashlib.sha256(Path(test).read_bytes()).hexdigest()
    assert (
        facts["versions"]["torch"] == torch.__version__.split("+")[0]
        or facts["versions"]["torch"] == torch.__version__
    )
    assert set(facts["git"]) == {"commit", "dirty"}
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    scores = json.loads((folder / "test_metrics.json").read_text())
    assert set(scores.pop("classes")) == {"bad", "good", "late"}
    assert sum(cell[2] for cell in scores.pop("confusion")) == 15
    assert all(v is None or isinstance(v, (int, float)) for v in scores.values())
    assert scores["test/rows"] == 15
    assert (
        scores["test/accuracy_low"]
        < scores["test/accuracy"] + 1e-9
        <= scores["test/accuracy_high"] + 1e-9
    )
    assert scores["test/f1_low"] <= scores["test/f1"] <= scores["test/f1_high"]
    head, epoch = (folder / "epochs.csv").read_text().splitlines()
    assert head == "epoch,step,rows,seconds,validation_seconds,rows_per_second"
    number, _, rows, *times = map(float, epoch.split(","))
    assert (number, rows) == (1, 54)  # a tenth of 60 rows is held out
    assert min(times) > 0


def test_other_verbs_leave_the_record_alone(fit: Run, tmp_path: Path) -> None:
    folder = fit("--data.test", write_csv(tmp_path / "test.csv", toy_rows(15)))
    kept = {
        n: (folder / n).read_bytes()
        for n in ("config.yaml", "run.json", "metrics.csv", "test_metrics.json", "labels.json")
    }
    (tmp_path / "toy.csv").rename(tmp_path / "gone.csv")  # needed by none of the verbs
    other = write_csv(tmp_path / "other.csv", toy_rows(9))
    assert main(["test", str(folder)]) == 0
    assert main(["test", str(folder), "--data.test", other, "--ckpt_path", "last"]) == 0
    assert main(["predict", str(folder), other]) == 0
    assert main(["export", str(folder)]) == 0
    assert {n: (folder / n).read_bytes() for n in kept} == kept
    assert json.loads((folder / "test-other.csv-last_metrics.json").read_text())["test/rows"] == 9


def test_last_checkpoint_goes_on(fit: Run, tmp_path: Path) -> None:
    folder = fit(epochs=1)
    more = fit("--ckpt_path", str(folder / "checkpoints" / "last.ckpt"), epochs=3, name="more")
    epochs = [
        r["epoch"] for r in csv.DictReader((more / "metrics.csv").open()) if r["name"] == "val/f1"
    ]
    assert epochs == ["1", "2"]


@pytest.mark.parametrize("at", [0, 9])
def test_ctrl_c_saves_and_says_how_to_go_on(
    at: int, tmp_path: Path, toy: str, capsys: Any, bert: str
) -> None:
    class StopAt(L.Callback):
        def on_train_batch_start(self, trainer: Any, *rest: Any) -> None:
            if trainer.global_step == at:
                os.kill(os.getpid(), signal.SIGINT)

    task, data = build(bert, toy)
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        run="stopped",
        callbacks=[StopAt()],
        enable_progress_bar=False,
    )
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as ended:
        trainer.fit(task, datamodule=data)
    assert ended.value.code == 130
    assert signal.getsignal(signal.SIGINT) is handler
    assert (
        f"stopped by SIGINT at step {at}; to resume: python -m ftlight fit --resume stopped"
        in capsys.readouterr().out
    )
    assert json.loads((tmp_path / "stopped" / "run.json").read_text())["status"] == "stopped"
    said = f"stopped was stopped in epoch {2 if at else 1} of 2"
    assert ending.unfinished(tmp_path / "stopped") == said


def test_going_on_after_an_epoch_keeps_the_order_and_the_best(tmp_path: Path, toy: str) -> None:
    backbone = still_bert(tmp_path / "still")

    def run(name: str, epochs: int, ckpt_path: Path | None = None) -> TextClassification:
        L.seed_everything(0, verbose=False)
        rates = {"lr": 1e-3, "lr_schedule": "constant", "warmup": 0.0}
        task, data = build(backbone, toy, **rates, unfreeze="all")
        trainer = Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            run=str(tmp_path / name),
            enable_progress_bar=False,
        )
        trainer.fit(task, datamodule=data, ckpt_path=ckpt_path)
        return task

    whole = run("whole", 3)
    run("first", 1)
    rest = run("rest", 3, tmp_path / "first" / "checkpoints" / "last.ckpt")
    same(whole, rest)
    done = run("nothing left", 3, tmp_path / "rest" / "checkpoints" / "last.ckpt")
    best = [
        json.loads((tmp_path / n / "run.json").read_text())["best"]
        for n in ("whole", "rest", "nothing left")
    ]
    assert best[0] == best[1] == best[2]
    assert torch.equal(next(done.parameters()), next(rest.parameters()))
    assert (tmp_path / "nothing left" / "checkpoints" / "best.ckpt").is_file()


@pytest.mark.parametrize(
    "limit",
    [
        ["--trainer.max_steps", "3"],
        ["--trainer.max_steps", "9"],
        ["--trainer.max_time", "00:00:00:03"],
    ],
)
def test_runs_that_end_by_steps_or_time(
    limit: list[str], bert: str, toy: str, tmp_path: Path, capsys: Any
) -> None:
    words = [
        "--model",
        "TextClassification",
        "--model.backbone",
        bert,
        "--data.train",
        toy,
        "--data.test",
        toy,
        "--data.batch_size",
        "8",
    ]
    assert main(["fit", *words, "--trainer.accelerator", "cpu", "--run", "r", *limit]) == 0
    facts = json.loads((tmp_path / "r" / "run.json").read_text())
    assert facts["steps"] == int(limit[1]) if "max_steps" in limit[0] else facts["steps"] > 0
    assert facts["best"]
    assert (tmp_path / "r" / "test_metrics.json").is_file()
    assert "/-1" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        [
            "--trainer.limit_val_batches",
            "1",
            "--trainer.limit_test_batches",
            "1",
            "--trainer.limit_train_batches",
            "2",
        ],
        ["--trainer.limit_val_batches", "0"],
        ["--data.validation_split", "0"],
        ["--trainer.accumulate_grad_batches", "3"],
        ["--trainer.val_check_interval", "0.5"],
        ["--data.tokens_per_batch", "40"],
        ["--data.workers", "2"],
        ["--trainer.log_every_n_steps", "0"],
        ["--trainer.enable_checkpointing", "false"],
    ],
    ids=lambda words: words[0],
)
def test_options_that_change_the_course(words: list[str], fit: Run, tmp_path: Path) -> None:
    folder = fit("--data.test", write_csv(tmp_path / "test.csv", toy_rows(20)), *words, epochs=2)
    scores = json.loads((folder / "test_metrics.json").read_text())
    rows = (folder / "test_predictions.csv").read_text().count("\n") - 1
    assert rows == scores["test/rows"] == (8 if "--trainer.limit_test_batches" in words else 20)
    assert (folder / "checkpoints" / "best.ckpt").is_file() != (
        "--trainer.enable_checkpointing" in words
    )


def test_labels_with_brackets_and_emoji(fit: Run, tmp_path: Path, capsys: Any) -> None:
    names = ["[/NEG]", "[red]", "😀"]
    rows = [(text, names[i % 3]) for i, (text, _) in enumerate(toy_rows(45))]
    file = write_csv(tmp_path / "odd.csv", rows)
    folder = fit("--data.test", file, train=file)
    assert main(["test", str(folder)]) == 0
    assert main(["predict", str(folder), "--text", "#late null"]) == 0
    assert any(name in capsys.readouterr().out for name in names)


@pytest.mark.parametrize("labels", [["a", "b"], ["0.5", "2.5"]])
def test_test_says_what_fit_said(labels: list[str], fit: Run, tmp_path: Path) -> None:
    rows = [(text, labels[i % 2]) for i, (text, _) in enumerate(toy_rows(40))]
    file = write_csv(tmp_path / "t.csv", rows)
    options = (
        ["--model.class_weight", "balanced", "--model.label_smoothing", "0.1"]
        if labels[0] == "a"
        else []
    )
    folder = fit("--data.test", file, *options, train=file)
    before = (folder / "test_metrics.json").read_bytes()
    assert main(["test", str(folder)]) == 0
    assert (folder / "test_metrics.json").read_bytes() == before


def test_a_share_of_train_that_was_changed_is_not_measured(fit: Run, toy: str, capsys: Any) -> None:
    folder = fit("--data.test_split", "0.2")
    assert json.loads((folder / "test_metrics.json").read_text())["test/rows"] == 12
    assert main(["test", str(folder)]) == 0
    write_csv(Path(toy), toy_rows(63))
    assert main(["test", str(folder)]) == 2
    assert "toy.csv was changed since the run" in capsys.readouterr().err


@pytest.mark.processes
def test_two_processes_measure_as_one(bert: str, tmp_path: Path) -> None:
    """Global batches, and the rows of an evaluation, are the same; so are the metrics."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    train, test = (
        write_csv(tmp_path / "train.csv", toy_rows(64)),
        write_csv(tmp_path / "test.csv", toy_rows(41)),
    )
    still = tmp_path / "still"  # without dropout, which differs between processes
    config = AutoConfig.from_pretrained(
        bert, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    AutoModel.from_pretrained(bert, config=config).save_pretrained(still)
    AutoTokenizer.from_pretrained(bert).save_pretrained(still)
    common = [
        "--data.train",
        train,
        "--data.validation",
        test,
        "--data.test",
        test,
        "--trainer.max_epochs",
        "2",
    ]
    common += [
        "--model",
        "TextClassification",
        "--model.backbone",
        str(still),
        "--model.pooling",
        "native",
    ]
    common += [
        "--trainer.accelerator",
        "cpu",
        "--trainer.precision",
        "32-true",
        "--model.lr",
        "1e-3",
    ]
    clean = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("MASTER_", "PL_", "LOCAL_", "NODE_", "WORLD_"))
    }
    scores, texts = [], []
    for processes, size in ((1, 8), (2, 4)):
        folder = tmp_path / f"p{processes}"
        strategy = [
            "--trainer.devices",
            str(processes),
            "--trainer.strategy",
            "ddp" if processes > 1 else "auto",
        ]
        fit = [
            sys.executable,
            "-m",
            "ftlight",
            "fit",
            *common,
            *strategy,
            "--run",
            str(folder),
            "--data.batch_size",
            str(size),
        ]
        done = subprocess.run(
            fit, capture_output=True, text=True, timeout=240, env=clean, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("test accuracy") == 1
        scores.append(json.loads((folder / "test_metrics.json").read_text()))
        texts.append((folder / "test_predictions.csv").read_text().count("\n"))
    assert scores[0]["test/rows"] == scores[1]["test/rows"] == 41
    assert texts == [42, 42]
    classes = [found.pop("classes") for found in scores]
    assert scores[0].pop("confusion") == scores[1].pop("confusion")
    for label, values in classes[0].items():
        assert classes[1][label] == pytest.approx(values, abs=2e-4), label
    for name, value in scores[0].items():
        assert scores[1][name] == pytest.approx(value, abs=2e-4), name


@pytest.mark.run
def test_overfit_batches_trains_on_the_same_ones(bert: str, toy: str, tmp_path: Path) -> None:
    seen: list[list[int]] = []

    class Seen(L.Callback):
        def on_train_batch_start(self, trainer: Any, task: Any, batch: Any, number: int) -> None:
            seen.append(batch["index"])

    data = TextData(train=toy, tokenizer=bert, batch_size=4)
    task = TextClassification(bert, labels=data.labels)
    Trainer(run=str(tmp_path / "run"), overfit_batches=2, max_epochs=3, callbacks=[Seen()]).fit(
        task, datamodule=data
    )
    assert len(seen) == 6
    assert seen[:2] == seen[2:4] == seen[4:]
    assert seen[0] != seen[1]


def test_training_needs_training_data(bert: str, toy: str, tmp_path: Path) -> None:
    pairs = write_csv(tmp_path / "pairs.csv", [("a", "b"), ("c", "d")], ("source", "target"))

    def check(kind: Any, file: str, options: dict[str, Any]) -> None:
        data = kind(validation=file, tokenizer=bert, **options)
        with pytest.raises(UserError, match=r"^no train data: give data\.train: FILE$"):
            data.setup("fit")

    cases = [
        (ftlight.Seq2SeqData, pairs, {}),
        (ftlight.RetrievalData, pairs, {"query": "source", "positive": "target"}),
        (ftlight.MaskedData, toy, {}),
    ]
    each(cases, check)
