"""A run that is stopped anywhere and goes on ends as if it had not been stopped."""

from __future__ import annotations

import contextlib
import errno
import json
import signal
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from conftest import each, make_bert, toy_rows, write_csv
from lightning.pytorch.callbacks import ModelCheckpoint
from resuming import SignalAt, differences, everything, run

from ftlight import Trainer
from ftlight.__main__ import main
from ftlight.cli import parser
from ftlight.freezing import store as prefix_cache
from ftlight.run import loggers
from ftlight.tasks.text_classification.data import TextData
from ftlight.tasks.text_classification.task import TextClassification
from ftlight.training import checkpoint
from ftlight.training.signals import EXIT_REQUEUE, RunInterrupted
from ftlight.utils.errors import UserError

pytestmark = pytest.mark.run
THAW = [{"train": "head", "steps": 2}, {"train": "last:1", "steps": 2}, {"train": "all"}]


@pytest.fixture(scope="module")
def drops(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BERT of three layers with dropout and its native head."""
    return str(
        make_bert(tmp_path_factory.mktemp("drops"), sentence_encoder=False, num_hidden_layers=3)
    )


MOST = 30  # places to stop; of more every second or third is taken
HOWS: dict[str, dict[str, Any]] = {
    "plain": {},
    "stages": {"model": {"unfreeze": THAW, "cache": False}},
    "cache": {"model": {"unfreeze": THAW, "cache": True}},
    "workers": {"data": {"workers": 2}},
    "accumulation": {"trainer": {"accumulate_grad_batches": 2}},
    "bf16": {"trainer": {"precision": "bf16-mixed"}},
    "bf16 weights": {
        "trainer": {"precision": "bf16-master"},
        "model": {"unfreeze": THAW, "cache": True},
    },
    "average": {"ema": True},
    "average, cache, validations within": {
        "ema": True,
        "model": {"unfreeze": THAW, "cache": True},
        "trainer": {"val_check_interval": 2},
    },
    "validations within": {"trainer": {"val_check_interval": 2}},
    "validations by steps": {"trainer": {"val_check_interval": 2, "check_val_every_n_epoch": None}},
    "early stopping": {
        "trainer": {"max_epochs": 6, "patience": 1, "val_check_interval": 0.5},
        "model": {"lr": 1e-9},
    },
    "steps": {"trainer": {"max_steps": 5, "max_epochs": None}},
    "epochs of its own": {"trainer": {"max_epochs": None}},
    "accumulation, validations within": {
        "trainer": {"accumulate_grad_batches": 2, "val_check_interval": 1}
    },
    "lora": {"model": {"peft": "lora"}},
    "mixup": {"model": {"mixup": 0.4}},
    "R-Drop": {"model": {"r_drop": 1.0, "unfreeze": THAW, "cache": True}},
    "L2-SP": {"model": {"l2_sp": 30.0, "unfreeze": THAW}},
    "tokens": {"data": {"tokens_per_batch": 64}},
    "no validation": {"data": {"validation": None, "validation_split": 0.0}},
}


@pytest.mark.parametrize("name", HOWS)
def test_every_step_and_every_validation_as_the_place_to_stop(
    name: str, drops: str, rows: dict[str, str], tmp_path: Path
) -> None:
    how, whole = HOWS[name], SignalAt()
    trainer = run(drops, rows, tmp_path / "whole", how, whole)
    wanted = everything(tmp_path / "whole")
    places = [("on_train_batch_start", step) for step in range(trainer.global_step)]
    places += [("on_validation_batch_start", step) for step in dict.fromkeys(whole.validated)]
    for hook, step in places[:: -(-len(places) // MOST)]:
        folder, first, second = tmp_path / f"{hook} {step}", SignalAt(step, hook), SignalAt()
        with pytest.raises(RunInterrupted) as stopped:
            run(drops, rows, folder, how, first)
        assert stopped.value.code == EXIT_REQUEUE
        assert json.loads((folder / "run.json").read_text())["status"] == "stopped"
        run(drops, rows, folder, how, second, resume=True)
        assert differences(wanted, everything(folder)) == [], (hook, step)
        again = (
            len(first.seen) + len(second.seen) - len(whole.seen)
        )  # the last step, where max_steps brought the validation about
        assert again == (
            name == "steps" and (hook, step) == ("on_validation_batch_start", trainer.global_step)
        )
        assert first.seen[: len(first.seen) - again] + second.seen == whole.seen, (hook, step)


FIT = ["fit", "-c", "X.yaml", "--run", "r"]


@pytest.fixture
def begun(drops: str, rows: dict[str, str], tmp_path: Path) -> Path:
    """A run of one epoch by the command line, in the working folder."""
    model = {
        "task": "TextClassification",
        "backbone": drops,
        "unfreeze": "all",
        "lr_schedule": "constant",
        "warmup": 0.0,
    }
    trainer = {
        "max_epochs": 1,
        "accelerator": "cpu",
        "precision": "32-true",
        "enable_progress_bar": False,
    }
    config = {"model": model, "data": {**rows, "batch_size": 8}, "trainer": trainer}
    (tmp_path / "X.yaml").write_text(json.dumps(config))
    assert main([*FIT, "--resume", "auto"]) == 0
    return tmp_path / "r"


def test_a_run_that_is_done_is_left_alone_and_may_be_prolonged(
    begun: Path, tmp_path: Path, capsys: Any
) -> None:
    before = everything(begun)
    assert main(["fit", "--resume", "r"]) == 0
    assert (
        "r is done; nothing is left to do"
        " (for more raise trainer.max_epochs, max_steps, max_time or patience)"
        in capsys.readouterr().out
    )
    assert differences(before, everything(begun)) == []
    assert main(["fit", "--resume", "r", "--trainer.max_epochs", "3"]) == 0
    said = capsys.readouterr().out
    assert "trainer.max_epochs: 3; it was 1" in said
    assert "resuming from step 3" in said
    assert (begun / "config-1.yaml").is_file()
    assert main([*FIT[:3], "--run", "whole", "--trainer.max_epochs", "3"]) == 0
    whole, more = everything(tmp_path / "whole"), everything(begun)
    kept = [[line for line in found["metrics"] if ",test/" not in line] for found in (whole, more)]
    assert kept[0] == kept[1]
    assert differences(whole["last"]["state_dict"], more["last"]["state_dict"]) == []


def test_a_folder_where_a_run_ended_before_its_first_checkpoint_is_used_again(
    begun: Path, capsys: Any
) -> None:
    wanted = everything(begun)
    (begun / "run.json").write_text(
        json.dumps({**json.loads((begun / "run.json").read_text()), "status": "running"})
    )
    for file in (begun / "checkpoints").glob("*.ckpt"):
        file.unlink()
    assert main([*FIT, "--resume", "auto"]) == 0
    assert "resuming" not in capsys.readouterr().out
    assert differences(wanted, everything(begun)) == []


WRONG = [
    (["fit", "--resume", "nothing"], "nothing is not a run: it has no config.yaml"),
    (
        ["fit", "-c", "X.yaml", "--resume", "auto"],
        "--resume auto needs --run DIR: the run to resume, or to start",
    ),
    (
        ["fit", "--resume", "auto"],
        "--resume auto needs --run DIR: the run to resume, or to start",
    ),
    (
        ["fit", "--resume", "r", "--run", "other"],
        "--resume RUN resumes it in its own folder; leave --run out",
    ),
    (["fit", "-c", "X.yaml", "--run", "r"], "already exists; nothing is overwritten"),
    (
        ["fit", "-c", "X.yaml", "--run", "full", "--resume", "auto"],
        "full exists and is not a run; nothing is overwritten",
    ),
    (
        ["fit", "--resume", "r", "--trainer.max_epochs", "2", "--data.batch_size", "4"],
        "data.batch_size: r began with 8, this is 4",
    ),
    (
        ["fit", "--resume", "r", "--trainer.save_every", "often"],
        "trainer.save_every: often is not how often to save; give steps (500)",
    ),
    (
        ["fit", "--resume", "r", "--trainer.save_every", "0"],
        "trainer.save_every: 0 is out of range; it must be at least 1",
    ),
    (
        ["fit", "--resume", "r", "--model.unfreeze", "head", "--trainer.max_epochs", "2"],
        "ftlight: error: model.unfreeze: the run began with all, this is head; give it as it was,"
        " or begin a new run with these weights: fit --from RUN",
    ),
    (
        ["fit", "--resume", "r", "--model.lr", "5e-4", "--trainer.max_epochs", "2"],
        "ftlight: error: model.lr: the run began with",
    ),
    (
        ["fit", "--resume", "r", "--model.peft", "lora", "--trainer.max_epochs", "2"],
        "ftlight: error: model.peft: the checkpoint is of a model without adapters",
    ),
    (
        ["fit", "--resume", "r", "--model.unfreeze", "lp_ft", "--trainer.max_epochs", "2"],
        "ftlight: error: model.unfreeze: the run began with all, this is lp_ft",
    ),
]


def test_what_cannot_be_resumed_is_said_in_a_line(begun: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    before = everything(begun)

    def check(words: list[str], message: str) -> None:
        assert main(words) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1
        assert differences(before, {**everything(begun), "status": "done"}) == []

    each(WRONG, check)


def test_training_rows_that_were_changed_are_refused(
    begun: Path, rows: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    other = write_csv(tmp_path / "other.csv", toy_rows(24)[::-1])
    assert main(["fit", "--resume", "r", "--data.train", other, "--trainer.max_epochs", "2"]) == 2
    assert (
        "data.train was changed since r began; resume with it as it was, or start anew"
        in capsys.readouterr().err
    )


def test_a_signal_while_activations_are_kept(
    drops: str, rows: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {"model": {"unfreeze": THAW, "cache": True}}
    monkeypatch.setenv("FTLIGHT_CACHE", str(tmp_path / "kept"))
    run(drops, rows, tmp_path / "whole", how)
    monkeypatch.setenv("FTLIGHT_CACHE", str(tmp_path / "other"))
    put = prefix_cache.ActivationStore.put

    def signalled(store: Any, *rest: Any) -> None:
        put(store, *rest)
        signal.raise_signal(signal.SIGUSR1)

    monkeypatch.setattr(prefix_cache.ActivationStore, "put", signalled)
    with pytest.raises(RunInterrupted):
        run(drops, rows, tmp_path / "r", how)
    monkeypatch.setattr(prefix_cache.ActivationStore, "put", put)
    run(drops, rows, tmp_path / "r", how, resume=True)
    assert differences(everything(tmp_path / "whole"), everything(tmp_path / "r")) == []


def test_checkpoints_of_others_in_the_working_folder_are_let_alone(
    drops: str, rows: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under SLURM Lightning goes on from any hpc_ckpt_N.ckpt."""
    (tmp_path / "hpc_ckpt_1.ckpt").write_bytes(b"of another run")
    for name, value in {
        "JOB_NAME": "x",
        "NTASKS": "1",
        "NTASKS_PER_NODE": "1",
        "PROCID": "0",
        "LOCALID": "0",
        "NODEID": "0",
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert run(drops, rows, tmp_path / "r", {}).global_step == 6


@pytest.mark.parametrize("when", ["data", "imports"])
def test_ctrl_c_before_training(
    when: str, drops: str, rows: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*rest: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(TextData, "setup", interrupted) if when == "data" else monkeypatch.setattr(
        parser, "run_verb", interrupted
    )
    old = signal.getsignal(signal.SIGINT)
    words = [
        "fit",
        "--model",
        "TextClassification",
        "--model.backbone",
        drops,
        "--data.train",
        rows["train"],
        "--run",
        "r",
    ]
    assert main([*words, "--trainer.accelerator", "cpu"]) == 130
    signal.signal(signal.SIGINT, old)


def test_a_run_begun_from_another_ones_checkpoint_goes_on_from_its_own(
    begun: Path, tmp_path: Path, capsys: Any
) -> None:
    """And from the other one's while it has none."""
    other = str(begun / "checkpoints" / "last.ckpt")
    words = [
        "fit",
        "-c",
        "X.yaml",
        "--run",
        "more",
        "--resume",
        "auto",
        "--ckpt_path",
        other,
        "--trainer.max_epochs",
        "3",
    ]
    assert main([*words, "--trainer.save_every", "2"]) == 0
    wanted = everything(tmp_path / "more")
    facts = json.loads((tmp_path / "more" / "run.json").read_text())
    (tmp_path / "more" / "run.json").write_text(json.dumps({**facts, "status": "stopped"}))
    capsys.readouterr()
    assert main(words) == 0
    assert "nothing is left to train after step 9" in capsys.readouterr().out
    for file in (tmp_path / "more" / "checkpoints").glob("*.ckpt"):
        file.unlink()
    (tmp_path / "more" / "run.json").write_text(json.dumps({**facts, "status": "stopped"}))
    assert main(["fit", "--resume", "more"]) == 0
    assert "resuming from step 3" in capsys.readouterr().out
    assert differences(wanted, everything(tmp_path / "more")) == []


def test_without_validation_the_best_weights_are_the_last_ones_of_a_prolonged_run(
    drops: str, rows: dict[str, str], tmp_path: Path
) -> None:
    how = HOWS["no validation"]
    run(drops, rows, tmp_path / "r", how)
    run(drops, rows, tmp_path / "r", {**how, "trainer": {"max_epochs": 3}}, resume=True)
    last, best = (
        checkpoint.load(tmp_path / "r" / "checkpoints" / f"{name}.ckpt")
        for name in ("last", "best")
    )
    assert best["global_step"] == last["global_step"] == 9
    assert differences(last["state_dict"], best["state_dict"]) == []


def test_a_run_that_is_done_and_prolonged_resumes_from_its_last_checkpoint_alone(
    drops: str, rows: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one before it is removed at the end, and there again after the next save."""
    how = {"trainer": {"save_every": 1}}
    more = {"trainer": {"save_every": 1, "max_epochs": 3}}

    def names(folder: Path) -> set[str]:
        return {p.name for p in (folder / "checkpoints").iterdir()}

    def killed(folder: Path) -> None:
        raise SystemExit

    run(drops, rows, tmp_path / "whole", how)
    run(drops, rows, tmp_path / "whole", more, resume=True)
    wanted = everything(tmp_path / "whole")
    for step in (6, 7, 8):  # 3 steps an epoch
        folder = tmp_path / f"r{step}"
        with monkeypatch.context() as patch:  # a kill after the run is done, before the removal
            patch.setattr(checkpoint, "remove_previous", killed)
            with pytest.raises(SystemExit):
                run(drops, rows, folder, how)
        assert "previous.ckpt" in names(folder)
        run(drops, rows, folder, how, resume=True)
        assert names(folder) == {"best.ckpt", "last.ckpt"}
        with pytest.raises(RunInterrupted):
            run(drops, rows, folder, more, SignalAt(step), resume=True)
        assert "previous.ckpt" in names(folder)
        (folder / "checkpoints" / "last.ckpt").write_bytes(b"cut")
        run(drops, rows, folder, more, resume=True)
        assert differences(wanted, everything(folder)) == []
        assert names(folder) == {"best.ckpt", "last.ckpt"}


def test_what_a_prolonged_run_leaves_out_is_said(
    drops: str, rows: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    run(drops, rows, tmp_path / "r", {"trainer": {"max_steps": 2, "max_epochs": None}})
    run(drops, rows, tmp_path / "r", {"trainer": {"max_steps": 5, "max_epochs": None}}, resume=True)
    assert (
        "the run had ended within an epoch: its other 1 batches are left out"
        in capsys.readouterr().out
    )


def test_more_patience_goes_on(drops: str, rows: dict[str, str], tmp_path: Path) -> None:
    how = {"trainer": {"max_epochs": 8, "patience": 1}, "model": {"lr": 1e-9}}
    short = run(drops, rows, tmp_path / "r", how)
    assert short.global_step < 24
    assert run(drops, rows, tmp_path / "r", how, resume=True).global_step == short.global_step
    more = run(
        drops,
        rows,
        tmp_path / "r",
        {**how, "trainer": {"max_epochs": 8, "patience": 3}},
        resume=True,
    )
    assert more.global_step == short.global_step + 6


@pytest.mark.parametrize("stopped", [False, True])
def test_a_run_that_a_callback_ended_stays_ended(
    stopped: bool, drops: str, rows: dict[str, str], tmp_path: Path
) -> None:
    class Enough(L.Callback):
        def on_validation_end(self, trainer: Any, *rest: Any) -> None:
            trainer.should_stop = True

    stops = [SignalAt(3, "on_test_batch_start")] if stopped else []
    with pytest.raises(RunInterrupted) if stopped else contextlib.nullcontext():
        run(drops, rows, tmp_path / "r", {}, Enough(), *stops)
    assert run(drops, rows, tmp_path / "r", {}, resume=True).global_step == 3
    assert (tmp_path / "r" / "test_metrics.json").is_file()


def test_the_same_trainer_goes_on_after_a_signal(
    drops: str, rows: dict[str, str], tmp_path: Path
) -> None:
    run(drops, rows, tmp_path / "whole", {})
    data = TextData(**rows, tokenizer=drops, batch_size=8)
    L.seed_everything(3, verbose=False)
    task = TextClassification(drops, labels=data.labels, lr=1e-3)
    options = {
        "max_epochs": 2,
        "precision": "32-true",
        "log_every_n_steps": 1,
        "accelerator": "cpu",
        "enable_progress_bar": False,
    }
    trainer = Trainer(run=str(tmp_path / "r"), resume=True, callbacks=[SignalAt(4)], **options)
    with pytest.raises(RunInterrupted):
        trainer.fit(task, datamodule=data)
    trainer.callbacks = [c for c in trainer.callbacks if not isinstance(c, SignalAt)]
    trainer.fit(task, datamodule=data)
    assert (
        differences(*(everything(tmp_path / n)["last"]["state_dict"] for n in ("whole", "r"))) == []
    )


def test_a_checkpoint_between_the_last_batch_and_its_validation_is_refused(
    drops: str, rows: dict[str, str], tmp_path: Path
) -> None:
    saver = ModelCheckpoint(
        dirpath=tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1
    )
    run(drops, rows, tmp_path / "whole", {}, saver)
    for step in (1, 2, 4):
        run(drops, rows, tmp_path / f"from {step}", {}, ckpt=str(tmp_path / f"step={step}.ckpt"))
        found = [everything(tmp_path / n)["last"]["state_dict"] for n in ("whole", f"from {step}")]
        assert differences(*found) == []
    with pytest.raises(UserError, match="between the last batch of an epoch and its validation"):
        run(drops, rows, tmp_path / "from 3", {}, ckpt=str(tmp_path / "step=3.ckpt"))


def test_a_checkpoint_of_a_callback_after_a_validation_goes_on(
    drops: str, rows: dict[str, str], tmp_path: Path
) -> None:
    """And does not count that validation twice."""
    how = {
        "trainer": {"max_epochs": 6, "patience": 2, "val_check_interval": 2},
        "model": {"lr": 1e-9},
    }
    run(
        drops,
        rows,
        tmp_path / "whole",
        how,
        ModelCheckpoint(dirpath=tmp_path, filename="{step}", monitor="val/loss", save_top_k=-1),
    )
    wanted = everything(tmp_path / "whole")
    points = [
        p for p in tmp_path.glob("step=*.ckpt") if p.stem != f"step={wanted['last']['global_step']}"
    ]  # nothing is left there
    assert len(points) > 1
    for point in points:
        run(drops, rows, tmp_path / f"from {point.stem}", how, ckpt=str(point))
        found = everything(tmp_path / f"from {point.stem}")
        assert differences(wanted["last"]["state_dict"], found["last"]["state_dict"]) == []
        assert wanted["last"]["global_step"] == found["last"]["global_step"]
        lines = [
            [line for line in each["metrics"][1:] if ",test/" not in line]
            for each in (wanted, found)
        ]
        assert lines[0][-len(lines[1]) :] == lines[1]


def test_rows_of_another_loader_are_warned_of(
    drops: str, rows: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    data = TextData(**rows, tokenizer=drops, batch_size=8)
    data.setup("fit")
    loader = data.train_dataloader()
    for signals in ([SignalAt(1)], []):
        task = TextClassification(drops, labels=data.labels)
        options = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False}
        trainer = Trainer(run=str(tmp_path / "r"), resume=True, callbacks=list(signals), **options)
        with pytest.raises(RunInterrupted) if signals else contextlib.nullcontext():
            trainer.fit(task, train_dataloaders=loader)
    assert "the data module is not ftlight's and begins the epoch anew" in capsys.readouterr().out


def test_a_checkpoint_of_another_model_is_a_line(begun: Path, bert: str, capsys: Any) -> None:
    before = {p.name: p.read_bytes() for p in begun.glob("*.*")}
    assert (
        main([*FIT, "--resume", "auto", "--model.backbone", bert, "--trainer.max_epochs", "2"]) == 2
    )
    assert "model: the checkpoint is of another model than this one of" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in begun.glob("*.*")} == before


def test_a_full_disk_under_the_metrics_is_a_line(
    begun: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def full(*rest: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "r/metrics.csv")

    monkeypatch.setattr(loggers.MetricsFile, "log_metrics", full)
    assert main(["fit", "--resume", "r", "--trainer.max_epochs", "2"]) == 74
    line = "r/metrics.csv: No space left on device; make room, then go on"
    assert line in capsys.readouterr().err
