"""Freezing schedules while they train: what moves, resuming, several processes, patience."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from conftest import each, make_bert, same, toy_rows, write_csv
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging
from lightning.pytorch.strategies import (
    FSDPStrategy,
    ModelParallelStrategy,
    SingleDeviceStrategy,
    Strategy,
)
from torch import Tensor

from ftlight import MaskedLM, TextClassification, TextData, TokenClassification, Trainer
from ftlight.__main__ import main
from ftlight.freezing import callback as freezing
from ftlight.freezing.rates import lr_at
from ftlight.models.layers import layer_groups, layer_of, module_layers
from ftlight.trainer.options import settle_unfreeze
from ftlight.utils.errors import UserError

THAW = [
    {"train": "head", "epochs": 1, "lr": 1e-2},
    {"train": "last:2", "steps": 10},
    {"train": "all", "layer_decay": 0.9},
]
BACK = [{"train": "last:2", "epochs": 1}, {"train": "first:2", "epochs": 1}, {"train": "head"}]
SCHEDULES: dict[str, Any] = {
    "thaw": THAW,
    "back": BACK,
    "gradual": "gradual",
    "lp_ft": "lp_ft",
    "last": "last:1",
    "bias": "bias",
    "norm": "norm",
}


@pytest.fixture(scope="session")
def deep(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sentence encoder of four layers with dropout."""
    return str(make_bert(tmp_path_factory.mktemp("deep"), num_hidden_layers=4))


class Snapshots(L.Callback):
    """Weights before every step, by global step, and which of them train in it."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, dict[str, Tensor], set[str]]] = []

    def on_before_optimizer_step(self, trainer: Any, task: Any, optimizer: Any) -> None:
        trains = {n for n, p in task.model.named_parameters() if p.requires_grad}
        with_grad = {n for n, p in task.model.named_parameters() if p.grad is not None}
        assert with_grad <= trains
        state = {n: v.detach().clone() for n, v in task.model.state_dict().items()}
        self.steps.append((freezing.of(trainer).stage, state, trains))


def run(
    backbone: str,
    train: str,
    folder: Path,
    *callbacks: L.Callback,
    ckpt: Path | None = None,
    epochs: int = 4,
    trainer: Any = None,
    **model: Any,
) -> tuple[TextClassification, Any]:
    L.seed_everything(0, verbose=False)
    data = TextData(train=train, tokenizer=backbone, batch_size=8, validation_split=0.2)
    how = {"lr": 1e-3, "head_fit": "step", **model}
    task = TextClassification(backbone, labels=data.labels, kind=data.kind, **how)
    options = {
        "max_epochs": epochs,
        "accelerator": "cpu",
        "precision": "32-true",
        "callbacks": list(callbacks),
        "patience": 0,
        **(trainer or {}),
    }
    made = Trainer(run=str(folder), enable_progress_bar=False, **options)
    made.fit(task, datamodule=data, ckpt_path=ckpt)
    return task, made


@pytest.mark.run
def test_frozen_weights_never_move_and_the_others_do(deep: str, toy: str, tmp_path: Path) -> None:
    def check(name: str, how: dict[str, Any]) -> None:
        folder = tmp_path / f"{name} {how}"
        how = dict(how)
        model = {"cache": how.pop("cache")} if "cache" in how else {}
        extra: list[L.Callback] = [EMAWeightAveraging(decay=0.9)] if how.pop("ema", False) else []
        seen = Snapshots()
        _, trainer = run(
            deep,
            toy,
            folder,
            seen,
            *extra,
            epochs=6,
            unfreeze=SCHEDULES[name],
            weight_decay=0.1,
            trainer=how,
            **model,
        )
        schedule = freezing.of(trainer)
        assert len({stage for stage, _, _ in seen.steps}) == len(schedule.progress.stages)
        for (stage, before, trains), (_, after, _) in zip(seen.steps, seen.steps[1:], strict=False):
            assert trains == schedule.trainable_params[stage]
            for key, value in before.items():
                if key not in trains:
                    assert torch.equal(value, after[key]), (stage, key)
        for stage in range(len(schedule.progress.stages)):
            steps = [
                (b, a)
                for (s, b, _), (_, a, _) in zip(seen.steps, seen.steps[1:], strict=False)
                if s == stage
            ]
            moved = {
                k
                for before, after in steps
                for k in schedule.trainable_params[stage]
                if not torch.equal(before[k], after[k])
            }
            still_ones = {
                k
                for k in schedule.trainable_params[stage] - moved
                if "position_embeddings" not in k and "key.bias" not in k
            }
            assert not still_ones or not steps, (stage, still_ones)

    ways = [{}, {"accumulate_grad_batches": 2}, {"ema": True}, {"cache": False}]
    each(itertools.product(SCHEDULES, ways), check)


@pytest.mark.run
def test_groups_stay_and_only_what_trained_has_a_state(deep: str, toy: str, tmp_path: Path) -> None:
    def check(name: str, optimizer: str) -> None:
        seen: list[list[tuple[str, int, list[int]]]] = []

        class Groups(L.Callback):
            def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
                groups = trainer.optimizers[0].param_groups
                seen.append([(g["name"], g["depth"], [id(p) for p in g["params"]]) for g in groups])

        class Momentum(TextClassification):
            def configure_optimizers(self) -> Any:
                made = super().configure_optimizers()
                return (
                    made
                    if optimizer == "adamw"
                    else torch.optim.SGD(made.param_groups, lr=0.1, momentum=0.9)
                )

        data = TextData(train=toy, tokenizer=deep, batch_size=8)
        task = Momentum(deep, labels=data.labels, unfreeze=SCHEDULES[name], lr=1e-3)
        trainer = Trainer(
            max_epochs=4,
            accelerator="cpu",
            run=str(tmp_path / f"{name} {optimizer}"),
            callbacks=[Groups()],
            enable_progress_bar=False,
        )
        trainer.fit(task, datamodule=data)
        assert all(groups == seen[0] for groups in seen)
        ids = [i for _, _, group in seen[0] for i in group]
        assert len(ids) == len(set(ids))
        assert set(ids) == {id(p) for p in task.model.parameters()}
        trained = set().union(*freezing.of(trainer).trainable_params)
        with_state = {
            n for n, p in task.model.named_parameters() if trainer.optimizers[0].state.get(p)
        }
        assert with_state == trained

    each(itertools.product(["thaw", "back", "last"], ["adamw", "sgd"]), check)


SHAPES = [
    {"lr_schedule": "constant", "warmup": 0.0},
    {"lr_schedule": "linear", "warmup": 0.2},
    {"lr_schedule": "cosine", "warmup": 0.3},
]


class SaveEach(L.Callback):
    """A checkpoint before every batch, and at the end of every epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_start(self, trainer: Any, *rest: Any) -> None:
        trainer.save_checkpoint(self.folder / f"step-{trainer.global_step}.ckpt")

    def on_train_epoch_end(self, trainer: Any, *rest: Any) -> None:
        trainer.save_checkpoint(self.folder / f"epoch-{trainer.current_epoch}.ckpt")


@pytest.mark.run
def test_resume_at_every_epoch_and_in_the_middle_is_bit_equal(
    still: str, toy: str, tmp_path: Path
) -> None:
    def check(form: dict[str, Any], name: str) -> None:
        folder = tmp_path / f"{name} {form['lr_schedule']}"
        folder.mkdir()
        options = {"unfreeze": SCHEDULES[name], "pooling": "native", **form}
        whole, _ = run(still, toy, folder / "whole", SaveEach(folder), **options)
        points = [f"epoch-{e}" for e in range(3)] + [f"step-{s}" for s in (3, 6, 7, 16, 17)]
        for point in points:
            again, trainer = run(
                still, toy, folder / f"from {point}", ckpt=folder / f"{point}.ckpt", **options
            )
            same(whole, again)
            assert freezing.of(trainer).stage == len(freezing.of(trainer).progress.stages) - 1

    each(itertools.product(SHAPES, ["thaw", "back", "gradual"]), check)


@pytest.mark.run
def test_resume_through_the_command_line(still: str, toy: str, tmp_path: Path) -> None:
    command = [
        "fit",
        "--model",
        "TextClassification",
        "--model.backbone",
        still,
        "--data.train",
        toy,
        "--data.batch_size",
        "8",
    ]
    command += [
        "--model.unfreeze",
        json.dumps(THAW),
        "--trainer.accelerator",
        "cpu",
        "--trainer.max_epochs",
    ]
    assert main([*command, "4", "--run", "whole"]) == 0
    assert main([*command, "5", "--run", "more", "--ckpt_path", "whole/checkpoints/last.ckpt"]) == 0
    state = torch.load("more/checkpoints/last.ckpt", weights_only=True)["callbacks"]["Freezing"]
    assert state["stage"] == 2
    assert state["begins"] == [0, 7, 17]


@pytest.mark.run
def test_a_checkpoint_of_another_schedule_is_refused(deep: str, toy: str, tmp_path: Path) -> None:
    run(deep, toy, tmp_path / "a", unfreeze=THAW)
    with pytest.raises(UserError) as refused:
        run(
            deep,
            toy,
            tmp_path / "b",
            ckpt=tmp_path / "a" / "checkpoints" / "last.ckpt",
            unfreeze="last:2",
        )
    message = str(refused.value)
    assert "model.unfreeze: the run began with {train: head, " in message
    assert ", this is last:2;" in message
    assert "\n" not in message


@pytest.mark.run
def test_modes_after_validation(deep: str, toy: str, tmp_path: Path) -> None:
    seen: set[tuple[int, str, bool]] = set()

    class Modes(L.Callback):
        def on_before_backward(self, trainer: Any, task: Any, loss: Any) -> None:
            found = module_layers(task.model)
            drops = [
                (n, m) for n, m in task.model.named_modules() if isinstance(m, torch.nn.Dropout)
            ]
            seen.update(
                (freezing.of(trainer).stage, layer_of(n, found), m.training) for n, m in drops
            )

    run(deep, toy, tmp_path / "r", Modes(), unfreeze=THAW, trainer={"val_check_interval": 2})
    layers = [*(f"layer {i}" for i in range(4)), "embeddings"]
    assert seen == {
        *((0, layer, False) for layer in layers),
        *((1, layer, layer in ("layer 2", "layer 3")) for layer in layers),
        *((2, layer, True) for layer in layers),
        *((stage, "head", True) for stage in range(3)),
    }


def test_batch_norm_keeps_its_statistics_while_frozen() -> None:
    from transformers import AutoConfig, AutoModelForImageClassification

    config = AutoConfig.for_model(
        "resnet",
        embedding_size=8,
        hidden_sizes=[8, 16],
        depths=[1, 1],
        layer_type="basic",
        num_labels=3,
    )
    model = AutoModelForImageClassification.from_config(config).train()

    class Holder(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.monitor, self.mode, self.weight_decay = (
                model,
                "val/accuracy",
                "max",
                0.0,
            )

    for option, moving in (
        ("head", set()),
        ("last:1", {"layer 1"}),
        ("bias", {"embeddings", "layer 0", "layer 1"}),
        ("all", None),
    ):
        schedule = freezing.Freezing(option, lr=1e-3, lr_given=True, defaults={})
        schedule.task, schedule.fitting = Holder(), True
        schedule.eligible = {n for n, _ in model.named_parameters()}
        schedule.resolve(schedule.task)
        schedule._apply()
        before = {n: b.clone() for n, b in model.named_buffers() if "running" in n}
        model(pixel_values=torch.randn(4, 3, 32, 32))
        found = module_layers(model)
        moved = {
            layer_of(n, found)
            for n, b in model.named_buffers()
            if "running" in n and not torch.equal(b, before[n])
        }
        assert moved == (moving if moving is not None else {"embeddings", "layer 0", "layer 1"}), (
            option
        )


@pytest.mark.run
def test_all_is_plain_fine_tuning_to_the_bit(still: str, toy: str, tmp_path: Path) -> None:
    """Against a loop written by hand: same batches, AdamW, warm-up and fall."""
    task, trainer = run(
        still,
        toy,
        tmp_path / "r",
        epochs=2,
        pooling="native",
        unfreeze="all",
        trainer={"gradient_clip_val": 1.0},
    )
    L.seed_everything(0, verbose=False)
    data = TextData(train=toy, tokenizer=still, batch_size=8, validation_split=0.2)
    other = TextClassification(
        still, labels=data.labels, kind=data.kind, lr=1e-3, pooling="native"
    ).train()
    data.setup("fit")
    decayed = [p for n, p in other.model.named_parameters() if p.ndim >= 2]
    rest = [p for n, p in other.model.named_parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}],
        fused=True,
    )
    from ftlight.data.sampling import train_batches

    table = data.sets["train"]
    import numpy as np

    plans = [train_batches(np.asarray(table["length"]), 8, seed=0, epoch=e) for e in range(2)]
    total, step = sum(map(len, plans)), 0
    for plan in plans:
        for rows in plan:
            warm = -(-total // 10)
            factor = (step + 1) / warm if step < warm else (total - step) / (total - warm)
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * factor
            loss = other.step(data.collate(table[rows.tolist()], rows.tolist())).loss
            assert loss is not None
            optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.get_total_norm(
                [p.grad for p in other.parameters() if p.grad is not None]
            )
            optimizer.grad_scale = norm.clamp(min=1.0)
            optimizer.step()
            step += 1
    assert step == trainer.global_step
    same(task, other)


@pytest.mark.run
def test_rates_follow_the_table(deep: str, toy: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int, dict[str, float]]] = []

    class Rates(L.Callback):
        def on_before_optimizer_step(self, trainer: Any, task: Any, optimizer: Any) -> None:
            seen.append(
                (
                    trainer.global_step,
                    freezing.of(trainer).stage,
                    {g["name"]: g["lr"] for g in optimizer.param_groups},
                )
            )

    stages = [
        {"train": "head", "steps": 5, "lr": 0.01, "warmup": 0.5},
        {"train": "last:2", "epochs": 1, "layer_decay": 0.5, "lr_schedule": "cosine"},
        {"train": "all", "lr": 1e-4},
    ]
    _, trainer = run(deep, toy, tmp_path / "r", Rates(), unfreeze=stages, warmup=0.2)
    schedule = freezing.of(trainer)
    starts, lengths = [0, 5, 11], [5, 6, 24 - 11]
    assert [stage.lr_over for stage in schedule.progress.stages] == ["stage", "stage", "run"]
    assert schedule.progress.stage_starts == starts
    depth = {"head": 0, "layer 3": 1, "layer 2": 2, "layer 1": 3, "layer 0": 4, "embeddings": 5}
    for step, stage, rates in seen:
        assert stage == sum(step >= b for b in schedule.progress.stage_starts) - 1
        for name, value in rates.items():
            layer = name.removesuffix(", no decay")
            wanted = lr_at(
                schedule.progress.stages[stage], depth[layer], step - starts[stage], lengths[stage]
            )
            if stage == 2:  # all falls over the run; below last:2 it rises for three steps
                thaws = min(1, (step - 10) / 3) if depth[layer] > 2 else 1
                wanted = 1e-4 * (24 - step) / (24 - 5) * thaws
            trains = layer in schedule.trainable_layers[stage]
            assert value == pytest.approx(wanted if trains else 0.0, rel=1e-12), (step, name)
    assert [r["head"] for _, _, r in seen[:5]] == pytest.approx(
        [0.01 / 3, 0.02 / 3, 0.01, 0.01, 0.005]
    )


@pytest.mark.run
def test_patience_ends_a_stage_and_early_stopping_waits_for_the_last(
    deep: str, toy: str, tmp_path: Path
) -> None:
    def check(patience: int) -> None:
        class Same(TextClassification):
            def _report(self, stage: str) -> None:
                super()._report(stage)
                self.log("val/made", torch.tensor(1.0))  # never better than at first

        L.seed_everything(0, verbose=False)
        data = TextData(train=toy, tokenizer=deep, batch_size=8)
        stages = [
            {"train": "head", "patience": patience, "monitor": "val/made", "epochs": 9},
            {"train": "last:1", "epochs": 2},
            {"train": "all"},
        ]
        task = Same(deep, labels=data.labels, unfreeze=stages, lr=1e-3)
        stop = EarlyStopping("val/made", patience=2, mode="max")
        trainer = Trainer(
            max_epochs=30,
            accelerator="cpu",
            run=str(tmp_path / str(patience)),
            callbacks=[stop],
            enable_progress_bar=False,
        )
        trainer.fit(task, datamodule=data)
        assert freezing.of(trainer).progress.stage_starts == [
            0,
            7 * (1 + patience),
            7 * (3 + patience),
        ]
        # Early stopping has counted two validations, both in the last stage.
        assert trainer.current_epoch == 3 + patience + 2

    each([1, 2], check)


@pytest.mark.run
def test_patience_counts_up_to_its_epochs_and_survives_a_resume(
    still: str, toy: str, tmp_path: Path
) -> None:
    stages = [
        {"train": "head", "patience": 2, "monitor": "val/loss", "epochs": 3, "lr": 1e-3},
        {"train": "all"},
    ]
    options = {"unfreeze": stages, "epochs": 5, "pooling": "native"}
    whole, trainer = run(still, toy, tmp_path / "whole", SaveEach(tmp_path), **options)
    assert freezing.of(trainer).progress.stage_starts == [0, 18]  # the loss of a head falls on
    again, _ = run(still, toy, tmp_path / "again", ckpt=tmp_path / "epoch-1.ckpt", **options)
    same(whole, again)


@pytest.mark.run
def test_an_undefined_value_neither_ends_a_stage_nor_is_the_best(
    deep: str, toy: str, tmp_path: Path
) -> None:
    class Rising(TextClassification):
        def _report(self, stage: str) -> None:
            super()._report(stage)
            epoch = self.trainer.current_epoch
            self.log("val/made", torch.tensor(float("nan") if epoch == 0 else float(epoch)))

    data = TextData(train=toy, tokenizer=deep, batch_size=8)
    stages = [
        {"train": "head", "patience": 2, "monitor": "val/made", "epochs": 5},
        {"train": "all"},
    ]
    task = Rising(deep, labels=data.labels, unfreeze=stages, lr=1e-3)
    trainer = Trainer(
        max_epochs=6, accelerator="cpu", run=str(tmp_path / "r"), enable_progress_bar=False
    )
    trainer.fit(task, datamodule=data)
    assert freezing.of(trainer).progress.stage_starts == [0, 35]


@pytest.mark.run
def test_patience_without_validation_is_refused(deep: str, toy: str, tmp_path: Path) -> None:
    data = TextData(train=toy, tokenizer=deep, batch_size=8, validation_split=0.0)
    task = TextClassification(
        deep, labels=data.labels, unfreeze=[{"train": "head", "patience": 2}, {"train": "all"}]
    )
    trainer = Trainer(
        max_epochs=6, accelerator="cpu", run=str(tmp_path / "r"), enable_progress_bar=False
    )
    with pytest.raises(UserError, match="there is no validation data; give epochs instead"):
        trainer.fit(task, datamodule=data)


@pytest.mark.run
def test_a_checkpoint_saved_after_other_verbs_goes_on(still: str, toy: str, tmp_path: Path) -> None:
    options = {"unfreeze": THAW, "pooling": "native"}
    task, trainer = run(still, toy, tmp_path / "a", **options)
    trainer.validate(task, datamodule=trainer.datamodule, verbose=False)
    trainer.save_checkpoint(tmp_path / "mine.ckpt")
    again, _ = run(still, toy, tmp_path / "b", ckpt=tmp_path / "mine.ckpt", **options)
    same(task, again)


@pytest.mark.run
def test_a_second_fit_begins_anew(still: str, toy: str, tmp_path: Path) -> None:
    task, trainer = run(still, toy, tmp_path / "a", unfreeze="lp_ft")
    trainer.fit_loop.max_epochs = 8
    trainer.fit(task, datamodule=trainer.datamodule)
    assert freezing.of(trainer).progress.stage_starts == [24, 24 + int(0.4 * 24)]


@pytest.mark.run
def test_a_rate_monitor_sees_the_rates_of_its_step(deep: str, toy: str, tmp_path: Path) -> None:
    from lightning.pytorch.callbacks import LearningRateMonitor

    seen: list[float] = []

    class Rates(L.Callback):
        def on_before_optimizer_step(self, trainer: Any, task: Any, optimizer: Any) -> None:
            seen.append(optimizer.param_groups[-1]["lr"])

    monitor = LearningRateMonitor(logging_interval="step")
    run(
        deep, toy, tmp_path / "r", Rates(), monitor, unfreeze=THAW, trainer={"log_every_n_steps": 1}
    )
    import csv

    logged = [
        float(r["value"])
        for r in csv.DictReader((tmp_path / "r" / "metrics.csv").open())
        if r["name"] == "lr-AdamW/head"
    ]
    assert logged == pytest.approx([seen[i] for i in range(len(logged))])
    assert len(logged) == len(seen)


def test_a_head_in_a_stage_of_its_own_has_its_own_rate(deep: str, toy: str) -> None:
    data = TextData(train=toy, tokenizer=deep)

    def rates(option: Any, lr: float | None) -> list[float]:
        schedule = TextClassification(deep, labels=data.labels, unfreeze=option, lr=lr).freezing()
        task = TextClassification(deep, labels=data.labels)
        schedule.check(task)
        return [stage.lr for stage in schedule.progress.stages]

    stages = [{"train": "head", "epochs": 1}, {"train": "all"}]
    assert rates(stages, 2e-5) == rates("lp_ft", 2e-5) == [0.01, 2e-5]
    assert rates("head", 2e-5) == [2e-5]
    assert rates("head", None) == [0.01]
    assert rates("bias", None)[0] == pytest.approx(10 * rates("all", None)[0])


@pytest.mark.run
def test_callbacks_without_the_schedule_are_refused(deep: str, toy: str, tmp_path: Path) -> None:
    class Alone(TextClassification):
        def configure_callbacks(self) -> list[L.Callback]:
            return []

    data = TextData(train=toy, tokenizer=deep, batch_size=8)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    with pytest.raises(UserError, match=r"super\(\).configure_callbacks"):
        L.Trainer(max_epochs=1, accelerator="cpu", **quiet).fit(
            Alone(deep, labels=data.labels), datamodule=data
        )


@pytest.mark.run
def test_a_monitor_that_is_not_logged_names_the_nearest(
    deep: str, toy: str, tmp_path: Path
) -> None:
    stages = [{"train": "head", "patience": 2, "monitor": "val/lss"}, {"train": "all"}]
    with pytest.raises(UserError, match=r'no value val/lss; did you mean "val/loss"'):
        run(deep, toy, tmp_path / "r", unfreeze=stages)


@pytest.mark.run
def test_a_run_too_short_for_its_stages_is_refused(deep: str, toy: str, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="the first 1 stages take 24 of the run's 24 optimizer steps"
    ):
        run(deep, toy, tmp_path / "r", unfreeze=[{"train": "head", "epochs": 4}, {"train": "all"}])


@pytest.mark.run
def test_fractions_of_a_short_run_are_skipped(deep: str, toy: str, tmp_path: Path) -> None:
    _, trainer = run(deep, toy, tmp_path / "r", unfreeze="gradual", trainer={"max_steps": 3})
    assert freezing.of(trainer).progress.stage_starts == [0, 0, 0, 0] or len(
        freezing.of(trainer).progress.stage_starts
    ) == len(freezing.of(trainer).progress.stages)


def test_a_tied_head_is_refused(llama: str) -> None:
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig.from_pretrained(llama, tie_word_embeddings=True)
    layers = layer_groups(AutoModelForCausalLM.from_config(config))
    assert "head" not in layers
    schedule = freezing.Freezing("head", lr=1e-3, lr_given=True, defaults={})
    schedule.eligible = {n for names in layers.values() for n in names}

    class Holder:
        model = AutoModelForCausalLM.from_config(config)
        monitor = "val/loss"

    for option in ("head", "lp_ft"):
        schedule.option = option
        with pytest.raises(
            UserError,
            match=rf"{option}: .* \(it is tied to the embeddings\); use last:1",
        ):
            schedule.resolve(Holder())
    schedule.option = "gradual"
    schedule.resolve(Holder())
    assert schedule.progress.stages[0].train == ("last:1",)
    assert "embeddings" not in schedule.trainable_layers[0]


@pytest.mark.run
def test_gradient_checkpointing_changes_nothing(still: str, toy: str, tmp_path: Path) -> None:
    def check(checkpointing: bool) -> None:
        class Sparing(TextClassification):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                if checkpointing:
                    self.model.gradient_checkpointing_enable({"use_reentrant": False})

        states = []
        for cls in (Sparing, TextClassification):
            L.seed_everything(0, verbose=False)
            data = TextData(train=toy, tokenizer=still, batch_size=8)
            task = cls(
                still, labels=data.labels, unfreeze=THAW, lr=1e-3, pooling="native", cache=False
            )
            Trainer(
                max_epochs=4,
                accelerator="cpu",
                run=str(tmp_path / f"{cls.__name__} {checkpointing}"),
                enable_progress_bar=False,
            ).fit(task, datamodule=data)
            states.append(task)
        same(*states)

    each([True, False], check)


@pytest.mark.run
def test_an_average_of_the_weights_resumes_exactly(still: str, toy: str, tmp_path: Path) -> None:
    """Lightning's own callback; with all its state in the checkpoint."""
    options = {"unfreeze": THAW, "pooling": "native"}
    whole, _ = run(
        still, toy, tmp_path / "whole", EMAWeightAveraging(decay=0.9), SaveEach(tmp_path), **options
    )
    plain, _ = run(still, toy, tmp_path / "plain", **options)
    assert not all(
        torch.equal(a, b) for a, b in zip(whole.parameters(), plain.parameters(), strict=True)
    )
    for point in ("epoch-0", "epoch-1", "epoch-2", "step-9"):
        again, _ = run(
            still,
            toy,
            tmp_path / point,
            EMAWeightAveraging(decay=0.9),
            ckpt=tmp_path / f"{point}.ckpt",
            **options,
        )
        same(whole, again)


@pytest.mark.run
def test_works_under_a_plain_trainer(deep: str, toy: str, tmp_path: Path) -> None:
    data = TextData(train=toy, tokenizer=deep, batch_size=8)
    task = TextClassification(deep, labels=data.labels, unfreeze=THAW, lr=1e-3)
    seen = Snapshots()
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = L.Trainer(max_epochs=4, accelerator="cpu", callbacks=[seen], **quiet)
    trainer.fit(task, datamodule=data)
    assert {stage for stage, _, _ in seen.steps} == {0, 1, 2}
    assert all(p.requires_grad for p in task.parameters())  # left as it was
    trainer.fit_loop.max_epochs = 5
    assert not any("forward" in vars(m) for m in task.modules())


TWO = """
import sys, torch, lightning as L
from ftlight import TextClassification, TextData, Trainer
from ftlight.freezing import callback as freezing
class Check(L.Callback):
    def on_train_batch_end(self, trainer, task, *rest):
        mine = torch.cat([p.detach().flatten() for p in task.parameters()])
        everyone = task.all_gather(mine)
        spread = float((everyone - everyone[0]).abs().max()) if everyone.ndim > 1 else 0.0
        assert spread == 0.0, (freezing.of(trainer).stage, spread)
if __name__ == "__main__":
    backbone, train, folder, processes, option = sys.argv[1:6]
    import json
    L.seed_everything(0, verbose=False)
    n = int(processes)
    data = TextData(train=train, tokenizer=backbone, batch_size=16 // n)
    options = {"labels": data.labels, "unfreeze": json.loads(option), "pooling": "native"}
    task = TextClassification(backbone, lr=1e-3, **options)
    trainer = Trainer(
        max_epochs=5, accelerator="cpu", devices=n, strategy="ddp" if n > 1 else "auto",
        precision="32-true", run=folder, callbacks=[Check()], enable_progress_bar=False,
    )
    trainer.fit(task, datamodule=data)
    if trainer.is_global_zero:
        torch.save(task.state_dict(), folder + "/weights.pt")
"""


@pytest.mark.processes
def test_two_processes_stay_equal_and_equal_one(still: str, tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", toy_rows(80))
    (tmp_path / "two.py").write_text(TWO)
    clean = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("MASTER_", "PL_", "LOCAL_", "NODE_", "WORLD_"))
    }
    option = [*THAW[:1], {"train": "last:2", "steps": 4}, *BACK[1:2], {"train": "all"}]
    outputs = []
    for processes in (1, 2):
        folder = tmp_path / f"p{processes}"
        command = [
            sys.executable,
            "two.py",
            still,
            train,
            str(folder),
            str(processes),
            json.dumps(option),
        ]
        # a cache of its own: two processes must fill it themselves
        env = {**clean, "FTLIGHT_CACHE": str(tmp_path / f"cache{processes}")}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=240, env=env, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        outputs.append(torch.load(folder / "weights.pt", weights_only=True))
        assert "stage 4 of 4" in done.stdout
    for name, value in outputs[0].items():
        assert torch.allclose(value, outputs[1][name], atol=3e-4), (
            name,
            float((value - outputs[1][name]).abs().max()),
        )


def test_sharded_strategies_take_one_stage(deep: str, toy: str) -> None:
    def check(strategy: type) -> None:
        class Fake:
            global_step = 0

        Fake.strategy = strategy()  # type: ignore[attr-defined]
        data = TextData(train=toy, tokenizer=deep)
        task = TextClassification(deep, labels=data.labels, unfreeze=THAW)
        with pytest.raises(UserError, match=f"{strategy.__name__} takes one stage only, not 3"):
            task.freezing().setup(Fake(), task, "fit")
        task = TextClassification(deep, labels=data.labels, unfreeze="last:2")
        task.freezing().setup(Fake(), task, "fit")

    each([FSDPStrategy, ModelParallelStrategy], check)


def test_a_default_of_several_stages_gives_way_to_a_strategy_that_takes_one(
    deep: str, toy: str
) -> None:
    data = TextData(train=toy, tokenizer=deep)

    def settled(strategy: Strategy, is_limited: bool = True, **options: Any) -> Any:
        task = TextClassification(deep, labels=data.labels, **options)
        settle_unfreeze(strategy, is_limited, task)
        return task.schedule

    assert settled(FSDPStrategy()) == "all"
    assert settled(SingleDeviceStrategy()) == "gradual"
    assert settled(SingleDeviceStrategy(), is_limited=False) == "all"
    assert settled(FSDPStrategy(), unfreeze="lp_ft") == "lp_ft"  # refused, with the way out


def test_the_default_is_gradual_for_a_pre_trained_classifier_alone(deep: str, toy: str) -> None:
    data = TextData(train=toy, tokenizer=deep)
    classifier = {"labels": data.labels, "unfreeze": None}
    assert TextClassification(deep, **classifier).schedule == "gradual"
    assert TextClassification(deep, **classifier, pretrained=False).schedule == "all"
    assert TextClassification(deep, **classifier, peft="lora").schedule == "all"
    assert TokenClassification(deep, labels=["PER"]).schedule == "gradual"
    assert MaskedLM(deep).schedule == "all"


@pytest.mark.run
def test_a_compiled_model_follows_the_schedule(
    still: str, toy: str, tmp_path: Path, capsys: Any
) -> None:
    class Compiled(TextClassification):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.model.compile(backend="eager")

    states = []
    for cls in (Compiled, TextClassification):
        L.seed_everything(0, verbose=False)
        data = TextData(train=toy, tokenizer=still, batch_size=8)
        stages = [{"train": "head", "epochs": 2}, {"train": "all"}]
        task = cls(
            still,
            labels=data.labels,
            unfreeze=stages,
            lr=1e-3,
            pooling="native",
            cache=cls is Compiled,
        )
        Trainer(
            max_epochs=3,
            accelerator="cpu",
            precision="32-true",
            run=str(tmp_path / cls.__name__),
            enable_progress_bar=False,
        ).fit(task, datamodule=data)
        states.append(task.state_dict())
    assert "the model is compiled" in capsys.readouterr().out
    for (name, a), b in zip(states[0].items(), states[1].values(), strict=True):
        assert torch.allclose(a, b, atol=1e-5), name


@pytest.mark.run
def test_the_table_and_the_lines(deep: str, toy: str, tmp_path: Path, capsys: Any) -> None:
    run(deep, toy, tmp_path / "r", unfreeze=THAW, epochs=6)
    out = capsys.readouterr().out
    rows = {
        line.split("  ")[0]: line
        for line in out.splitlines()
        if line.startswith(("head", "layer", "embeddings"))
    }
    assert list(rows) == ["layer", "head", "layer 2 to 3", "layer 0 to 1", "embeddings"]
    bars = {name: "".join(c for c in line if c in "█░▒") for name, line in rows.items()}
    assert set(bars["head"]) == {"█"}
    assert bars["layer 2 to 3"].lstrip("▒░").strip("█") == ""
    assert len(set(map(len, list(bars.values())[1:]))) == 1
    assert "stage 2 of 3 from step 6: last:2;" in out
    assert "stage 3 of 3 from step 16: all;" in out
