"""LoRA and its kin on every head, with schedules; weights between pre-trained and fine-tuned."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from conftest import Run, each, make_bert, same, still_bert
from lightning.pytorch.callbacks import EMAWeightAveraging
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from ftlight import TextClassification, TextData, Trainer, load
from ftlight.__main__ import main
from ftlight.freezing import callback
from ftlight.models import adapters
from ftlight.trainer import wise
from ftlight.utils.errors import UserError

EIGHT = {"r": 8, "lora_alpha": 16}


@pytest.fixture(scope="session")
def deep(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BERT of four layers."""
    return str(
        make_bert(tmp_path_factory.mktemp("deep"), num_hidden_layers=4, sentence_encoder=False)
    )


@pytest.mark.run
def test_adapters_train_and_nothing_below_them(deep: str, toy: str, tmp_path: Path) -> None:
    def check(pooling: str, option: Any) -> None:
        L.seed_everything(0, verbose=False)
        data = TextData(train=toy, tokenizer=deep, batch_size=8)
        task = TextClassification(deep, labels=data.labels, peft=option, pooling=pooling)
        before = {n: v.clone() for n, v in task.state_dict().items()}
        options = {
            "max_epochs": 2,
            "accelerator": "cpu",
            "precision": "32-true",
            "enable_progress_bar": False,
        }
        folder = tmp_path / f"{pooling} {option}"
        trainer = Trainer(run=str(folder), **options)
        trainer.fit(task, datamodule=data)
        moved = {n for n, v in task.state_dict().items() if not torch.equal(v, before[n])}
        assert moved
        assert not moved & task.fixed
        schedule = callback.of(trainer)
        heads = {
            n
            for n in moved
            if n.startswith(("model.classifier", "model.head", "model.bert.pooler"))
        }
        assert heads
        within = [n for n in moved - heads if ".layer." in n]
        assert {f"layer {i}" for i in range(4)} <= schedule.trainable_layers[0]
        assert len(within) == len(moved - heads)  # every adapter belongs to the layer it sits in
        saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        assert not set(saved["state_dict"]) & task.fixed
        assert moved <= set(saved["state_dict"])
        size = sum(v.numel() for v in saved["state_dict"].values())
        assert size < 0.5 * sum(v.numel() for v in task.state_dict().values())

    targets = {**EIGHT, "target_modules": ["query", "value"], "use_dora": True}
    each(itertools.product(["native", "mean"], [*adapters.WORDS, EIGHT, targets]), check)


@pytest.mark.run
def test_stages_train_adapters_of_their_layers(deep: str, toy: str, tmp_path: Path) -> None:
    seen: dict[int, set[str]] = {}

    class Moving(L.Callback):
        def on_before_optimizer_step(self, trainer: Any, task: Any, optimizer: Any) -> None:
            seen.setdefault(callback.of(trainer).stage, set()).update(
                n for n, p in task.named_parameters() if p.grad is not None
            )

    data = TextData(train=toy, tokenizer=deep, batch_size=8)
    stages = [{"train": "head", "epochs": 1}, {"train": "last:2", "epochs": 2}, {"train": "all"}]
    task = TextClassification(deep, labels=data.labels, peft="lora", unfreeze=stages)
    trainer = Trainer(
        max_epochs=4,
        accelerator="cpu",
        run=str(tmp_path / "r"),
        callbacks=[Moving()],
        enable_progress_bar=False,
    )
    trainer.fit(task, datamodule=data)
    layers = {
        stage: {n.split(".layer.")[1][0] for n in names if ".layer." in n}
        for stage, names in seen.items()
    }
    assert layers == {0: set(), 1: {"2", "3"}, 2: {"0", "1", "2", "3"}}
    assert all("lora_" in n for n in seen[2] if ".layer." in n)


@pytest.mark.run
def test_from_training_to_an_export_without_adapters(fit: Run, tmp_path: Path, capsys: Any) -> None:
    def check(sentence_encoder: bool) -> None:
        base = tmp_path / f"base {sentence_encoder}"
        backbone = str(make_bert(base, sentence_encoder=sentence_encoder))
        words = ["--model.peft", json.dumps(EIGHT), "--data.test", "toy.csv"]
        folder = fit(*words, backbone=backbone, epochs=4, name=f"run {sentence_encoder}")
        texts = ["where is my late parcel", "a good film", "bad"]
        answers = load(str(folder)).predict(texts)
        said = json.loads((folder / "test_metrics.json").read_text())
        assert main(["test", str(folder)]) == 0
        assert json.loads((folder / "test_metrics.json").read_text()) == said
        assert main(["export", str(folder)]) == 0
        labels = json.loads((folder / "labels.json").read_text())["labels"]
        if sentence_encoder:
            from sentence_transformers import SentenceTransformer

            assert not any(
                "lora" in n
                for n in AutoModel.from_pretrained(folder / "export" / "0_Transformer").state_dict()
            )
            logits = torch.tensor(
                SentenceTransformer(str(folder / "export"), device="cpu").encode(texts)
            )
        else:
            model = AutoModelForSequenceClassification.from_pretrained(folder / "export").eval()
            tokenizer = AutoTokenizer.from_pretrained(folder / "export")
            with torch.no_grad():
                logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
        for row, answer in zip(logits.softmax(-1), answers, strict=True):
            assert row.tolist() == pytest.approx(
                [answer["probabilities"][n] for n in labels], abs=1e-4
            )

    each([True, False], check)


@pytest.mark.run
def test_going_on_from_a_checkpoint_of_adapters(toy: str, tmp_path: Path) -> None:
    backbone = still_bert(tmp_path / "still")

    def run(name: str, epochs: int, ckpt: Path | None = None) -> TextClassification:
        L.seed_everything(0, verbose=False)
        data = TextData(train=toy, tokenizer=backbone, batch_size=8)
        task = TextClassification(
            backbone, labels=data.labels, peft="lora", lr_schedule="constant", warmup=0.0
        )
        Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            run=str(tmp_path / name),
            enable_progress_bar=False,
        ).fit(task, datamodule=data, ckpt_path=ckpt)
        return task

    whole = run("whole", 3)
    run("part", 1)
    rest = run("rest", 3, tmp_path / "part" / "checkpoints" / "last.ckpt")
    same(whole, rest)


@pytest.mark.run
def test_an_average_of_adapters_goes_on(toy: str, tmp_path: Path) -> None:
    backbone = still_bert(tmp_path / "still")

    class Save(L.Callback):
        def on_train_epoch_end(self, trainer: Any, task: Any) -> None:
            trainer.save_checkpoint(tmp_path / f"{trainer.current_epoch}.ckpt")

    def run(name: str, ckpt: Path | None = None) -> TextClassification:
        L.seed_everything(0, verbose=False)
        data = TextData(train=toy, tokenizer=backbone, batch_size=8)
        task = TextClassification(backbone, labels=data.labels, peft="lora")
        average = EMAWeightAveraging(decay=0.9)
        trainer = Trainer(
            max_epochs=2,
            accelerator="cpu",
            run=str(tmp_path / name),
            callbacks=[average, Save()],
            enable_progress_bar=False,
        )
        trainer.fit(task, datamodule=data, ckpt_path=ckpt)
        return task

    whole = run("whole")
    saved = torch.load(tmp_path / "0.ckpt", weights_only=True)
    assert not set(saved["current_model_state"]) & whole.fixed
    rest = run("rest", tmp_path / "0.ckpt")
    same(whole, rest)


@pytest.mark.run
def test_adapters_of_other_weights_are_refused(fit: Run, tmp_path: Path, capsys: Any) -> None:
    backbone = make_bert(tmp_path / "base")
    folder = fit("--model.peft", "lora", backbone=str(backbone))
    model = AutoModel.from_pretrained(backbone)
    with torch.no_grad():
        model.encoder.layer[0].output.dense.weight[0, 0] += 1
    model.save_pretrained(backbone)
    with pytest.raises(UserError, match="belong to other weights"):
        load(str(folder))


def test_faults_are_one_line(deep: str) -> None:
    def check(option: Any, words: str) -> None:
        with pytest.raises(UserError, match=words) as fault:
            TextClassification(deep, labels=["a", "b"], peft=option)
        assert "\n" not in str(fault.value)
        assert str(fault.value).startswith("model.peft")

    each(
        [
            ("lra", 'no method lra; did you mean "lora"'),
            ({"rank": 8}, r'LORA has no rank; did you mean "r"\? \(options: r, lora_alpha, '),
            ({"targets": "x"}, 'LORA has no targets; did you mean "target_modules"'),
            ({"peft_type": "LRA"}, 'peft has no LRA; did you mean "LORA"'),
            ({"target_modules": ["nothing"]}, "not found in the base model"),
            ({"r": 0}, "model.peft.r: 0 is out of range; it must be at least 1"),
            ({"modules_to_save": ["LayerNorm"]}, "model.unfreeze says what trains whole"),
            ({"peft_type": "PROMPT_TUNING"}, "PROMPT_TUNING does not go into the layers"),
            (3, "expected one of"),
        ],
        check,
    )


def test_adapters_that_no_stage_trains_are_said(fit: Run, capsys: Any) -> None:
    def check(unfreeze: str, is_said: bool) -> None:
        fit("--model.peft", "lora", "--model.unfreeze", unfreeze, name=unfreeze)
        told = " ".join(capsys.readouterr().out.split())
        assert ("no stage trains an adapter of model.peft" in told) == is_said

    each([("head", True), ("all", False)], check)


def test_a_missing_package_is_one_line(deep: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "peft.mapping", None)
    with pytest.raises(UserError, match=r"pip install ftlight\[lora\]"):
        TextClassification(deep, labels=["a", "b"], peft="lora")


# Weights between


@pytest.mark.run
def test_shares_of_pre_trained_and_fine_tuned(
    fit: Run, bert: str, tmp_path: Path, capsys: Any
) -> None:
    def check(peft: list[str]) -> None:
        home = tmp_path / f"peft {bool(peft)}"
        folder = fit("--data.test", "toy.csv", *peft, epochs=3, name=home.name)
        plain = json.loads((folder / "test_metrics.json").read_text())
        assert main(["test", str(folder), "--wise", "1"]) == 0
        all_of_it = json.loads((folder / "test-wise_metrics.json").read_text())
        assert all_of_it.pop("wise") == {"share": 1.0, "checkpoint": "best"}
        assert all_of_it.pop("classes").keys() == plain.pop("classes").keys()
        counts = [sum(cell[2] for cell in found.pop("confusion")) for found in (all_of_it, plain)]
        assert counts == [60, 60]
        assert all_of_it == pytest.approx(
            plain, abs=5e-3 if peft else 1e-6
        )  # merged, some close scores change places
        assert main(["export", str(folder), "--wise", "0", "--out", str(home / "none")]) == 0
        start, none = (
            AutoModel.from_pretrained(bert),
            AutoModel.from_pretrained(home / "none" / "0_Transformer"),
        )
        for (name, a), b in zip(
            start.state_dict().items(), none.state_dict().values(), strict=True
        ):
            assert "pooler" in name or torch.equal(a, b), name
        assert main(["export", str(folder), "--wise", "0.5", "--out", str(home / "half")]) == 0
        assert main(["export", str(folder), "--out", str(home / "full")]) == 0
        card = (home / "half" / "README.md").read_text()
        assert "0.5 fine-tuned and 0.5 pre-trained" in card
        assert "Not tested." in card  # what was tested is another mix
        assert main(["export", str(folder), "--wise", "1", "--out", str(home / "one")]) == 0
        assert "Measured on the test data" in (home / "one" / "README.md").read_text()
        half, full = (
            AutoModel.from_pretrained(home / n / "0_Transformer").state_dict()
            for n in ("half", "full")
        )
        for name, value in start.state_dict().items():
            if "pooler" not in name:  # not used, so not kept
                assert torch.allclose(half[name], (value + full[name]) / 2, atol=1e-6), name
        heads = [
            (home / n / "2_Dense" / "model.safetensors").read_bytes() for n in ("half", "full")
        ]
        assert heads[0] == heads[1]

    each([[], ["--model.peft", "lora"]], check)


@pytest.mark.run
def test_the_share_is_chosen_on_validation(fit: Run, capsys: Any) -> None:
    folder = fit("--data.test", "toy.csv", epochs=3)
    before = (folder / "test_metrics.json").read_text()
    assert main(["test", str(folder), "--wise", "auto"]) == 0
    made = json.loads((folder / "test-wise_metrics.json").read_text())["wise"]
    assert list(made["validation"]) == [str(i / 10) for i in range(11)]
    best = max(made["validation"].values())
    assert made["share"] == max(float(k) for k, v in made["validation"].items() if v == best)
    assert (folder / "test_metrics.json").read_text() == before
    assert f"{made['share']:g} fine-tuned" in capsys.readouterr().out


@pytest.mark.run
def test_a_share_that_is_none_is_one_line(fit: Run, capsys: Any) -> None:
    folder = fit()

    def check(value: str) -> None:
        assert main(["test", str(folder), "--wise", value, "--data.test", "toy.csv"]) == 2
        assert f"--wise {value}: expected auto, or the share" in capsys.readouterr().err

    each(["2", "-0.1", "some"], check)


@pytest.mark.run
def test_without_pre_trained_weights_there_is_nothing_between(fit: Run, capsys: Any) -> None:
    folder = fit("--model.pretrained", "false", "--data.test", "toy.csv")
    assert main(["test", str(folder), "--wise", "0.5"]) == 2
    assert "did not start from pre-trained weights" in capsys.readouterr().err


def test_mix_is_linear() -> None:
    start, end = (
        {"a": torch.zeros(3), "n": torch.tensor([1.0])},
        {"a": torch.ones(3), "n": torch.tensor([3.0]), "h": torch.ones(1)},
    )
    for part in wise.GRID:
        made = wise.mix(start, end, part)
        assert torch.allclose(made["a"], torch.full((3,), part))
        assert float(made["n"]) == pytest.approx(1 + 2 * part)
        assert float(made["h"]) == 1
