"""FSDP2: two real processes with divided weights train as DDP does."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import toy_rows, write_csv
from lightning.pytorch.strategies import ModelParallelStrategy
from together import together

from ftlight import TextClassification, TextData, Trainer
from ftlight.__main__ import main
from ftlight.training import checkpoint
from ftlight.utils.errors import UserError

pytestmark = [pytest.mark.run, pytest.mark.processes]

THAW = [{"train": "head", "steps": 4}, {"train": "last:1", "steps": 3}, {"train": "all"}]


def losses(folder: Path) -> list[float]:
    """Training losses of the epochs."""
    with (folder / "metrics.csv").open() as file:
        return [float(row["value"]) for row in csv.DictReader(file) if row["name"] == "train/loss"]


def scores(folder: Path) -> dict[str, float]:
    found = dict(json.loads((folder / "test_metrics.json").read_text()))
    del found["classes"], found["confusion"]  # no numbers
    return found


def difference(*folders: Path) -> float:
    """The largest of all weights and optimizer states, whose names are the same."""
    one, other = (checkpoint.load(folder / "checkpoints" / "last.ckpt") for folder in folders)
    states = [run["optimizer_states"][0] for run in (one, other)]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    assert states[0]["state"].keys() == states[1]["state"].keys()
    pairs = [
        (one["state_dict"], other["state_dict"]),
        *((state, states[1]["state"][i]) for i, state in states[0]["state"].items()),
    ]
    assert all(a.keys() == b.keys() for a, b in pairs)
    return max(float((a[n].float() - b[n].float()).abs().max()) for a, b in pairs for n in a)


@pytest.fixture(scope="module")
def trained(still: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trainings by ddp and fsdp2 under torchrun, and runs resumed from their first epoch."""
    home = tmp_path_factory.mktemp("sharded")
    test = write_csv(home / "test.csv", toy_rows(41))
    rows = {"train": write_csv(home / "train.csv", toy_rows(48)), "validation": test, "test": test}
    model = {"pooling": "native", "lr": 3e-3, "l2_sp": 10.0}
    plain = {"model": model, "data": {"batch_size": 4}}
    jobs: list[dict[str, Any]] = []
    for strategy in ("ddp", "fsdp2"):
        trainer = {"devices": 2, "strategy": strategy}
        stages = {**plain["model"], "unfreeze": THAW, "cache": True}
        jobs.append({"folder": home / strategy, "how": {**plain, "trainer": trainer}})
        jobs.append(
            {
                "folder": home / f"{strategy} stages",
                "how": {**plain, "model": stages, "trainer": trainer},
            }
        )
        jobs.append(
            {
                "folder": home / f"{strategy} half",
                "how": {**plain, "trainer": trainer},
                "stop": ("on_train_epoch_end", 6, [0, 1]),
            }
        )
    for start, end in (("fsdp2", "fsdp2"), ("ddp", "fsdp2"), ("fsdp2", "ddp")):
        how = {**plain, "trainer": {"devices": 2, "strategy": end}}
        jobs.append(
            {
                "folder": home / f"{start} {end}",
                "how": how,
                "ckpt": home / f"{start} half" / "checkpoints" / "last.ckpt",
            }
        )
    together(home, still, rows, jobs, torchrun=True)
    return home


@pytest.mark.parametrize(
    ("stages", "close"), [("", 1e-4), (" stages", 1e-3)]
)  # there DDP reads kept activations
def test_fsdp2_trains_as_ddp(stages: str, close: float, trained: Path) -> None:
    ddp, fsdp2 = (trained / f"{strategy}{stages}" for strategy in ("ddp", "fsdp2"))
    assert losses(ddp) == pytest.approx(losses(fsdp2), abs=1e-4)
    assert len(losses(ddp)) == 2
    assert difference(ddp, fsdp2) < close
    assert scores(fsdp2) == pytest.approx(scores(ddp), abs=1e-4)


@pytest.mark.parametrize(("start", "end"), [("fsdp2", "fsdp2"), ("ddp", "fsdp2"), ("fsdp2", "ddp")])
def test_either_goes_on_from_either(start: str, end: str, trained: Path) -> None:
    gap = difference(trained / f"{start} {end}", trained / end)
    assert gap == 0 if start == end else gap < 1e-4
    assert losses(trained / f"{start} {end}")[-1] == pytest.approx(
        losses(trained / end)[-1], abs=0 if start == end else 1e-4
    )


def test_one_process_measures_the_same(still: str, trained: Path) -> None:
    rows = {name: str(trained / f"{name}.csv") for name in ("train", "test")}
    data = TextData(**rows, tokenizer=still)
    task = TextClassification(still, labels=data.labels, pooling="native")
    task.load_weights(trained / "fsdp2" / "checkpoints" / "best.ckpt")
    trainer = Trainer(accelerator="cpu", devices=1, precision="32-true")
    (found,) = trainer.test(task, datamodule=data, verbose=False)
    wanted = scores(trained / "fsdp2")
    assert {k: found[k] for k in ("test/loss", "test/f1")} == pytest.approx(
        {k: wanted[k] for k in ("test/loss", "test/f1")}, abs=1e-6
    )


REFUSED = {
    "fsdp": "The strategy `fsdp` requires a GPU accelerator",
    "nonsense": "invalid strategy name: `strategy='nonsense'`",
    "fsdp2 --trainer.precision 64-true": "does not support",
    "fsdp2 --model.peft ia3": "fsdp2 takes no adapters",
    "fsdp2 --trainer.callbacks EMAWeightAveraging": "fsdp2 keeps no average of the weights",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_does_not_work_is_said_in_one_line(
    words: str, plain_bert: str, toy: str, tmp_path: Path, capsys: Any
) -> None:
    if "peft" in words:
        pytest.importorskip("peft")
    strategy, *more = words.split()
    common = [
        "--model",
        "TextClassification",
        "--model.backbone",
        plain_bert,
        "--data.train",
        toy,
        "--run",
        str(tmp_path / "r"),
    ]
    assert (
        main(
            ["fit", *common, "--trainer.accelerator", "cpu", "--trainer.strategy", strategy, *more]
        )
        == 2
    )
    said = capsys.readouterr().err
    assert REFUSED[words] in said
    assert said.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_other_divisions_are_refused(plain_bert: str, toy: str, tmp_path: Path) -> None:
    data = TextData(train=toy, tokenizer=plain_bert)
    task = TextClassification(plain_bert, labels=data.labels)
    trainer = Trainer(
        strategy=ModelParallelStrategy(), accelerator="cpu", devices=1, run=str(tmp_path / "r")
    )
    with pytest.raises(UserError, match="divides its layers for fsdp2 only"):
        trainer.fit(task, datamodule=data)


def test_torchrun_and_devices_agree(
    plain_bert: str, toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = TextData(train=toy, tokenizer=plain_bert)
    trainer = Trainer(accelerator="cpu", devices=1, run=str(tmp_path / "r"))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"torchrun started 2 processes; add --trainer.devices 2"):
        trainer.fit(TextClassification(plain_bert, labels=data.labels), datamodule=data)
