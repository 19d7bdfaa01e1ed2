"""Whether a freezing schedule ends with the right weights, in ftlight and in two other callbacks.

    pip install finetuning-scheduler
    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python scripts/bench/schedule_correctness.py

Tiny models, toy data, no dropout and a fixed order of rows: nothing but the schedule can make a
difference. Six epochs in three stages of two, from the head down; BackboneFinetuning has two
stages. A cell is the largest absolute difference of a weight at the end from what it should be, and
of how many runs it is not 0.0.

resume: a new model of other weights and a new trainer go on from the checkpoint of each epoch's
end, and should end as the whole run did. Warm-up and one cycle: the same with a rate that changes
at every step, in ftlight by ``warmup`` with ``lr_schedule`` linear or cosine, elsewhere by
LambdaLR, as the schedules of transformers are, or OneCycleLR; below the table is LinearLR, which
warms up and then stays (``lr_schedule`` constant). DDP: two processes here should end alike.
finetuning-scheduler goes on by ``trainer.ckpt_path = …``, as its documentation says, and in a row
of its own by ``fit(ckpt_path=…)``, as LightningCLI.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib.util
import io
import logging
import os
import re
import subprocess
import sys
import tempfile
import uuid
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.callbacks import BackboneFinetuning, ModelCheckpoint
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

import ftlight
from ftlight.run import console as screen

EPOCHS, BATCH, ROWS, LR, RISE = 6, 8, 48, 1e-2, 0.1
STEPS = EPOCHS * ROWS // BATCH
FTS = "finetuning-scheduler"
LAST = f"{FTS}, fit(ckpt_path)"
SHAPES = {
    "flat": ("constant", 0.0),
    "linear": ("linear", RISE),
    "cycle": ("cosine", 0.3),
    "rise": ("constant", RISE),
}  # in ftlight's words
COLUMNS = {"resume": "flat", "linear warm-up": "linear", "one cycle": "cycle"}


class Run(NamedTuple):
    """One training."""

    folder: Path  # of data and model, and of checkpoints
    shape: str = "flat"  # of the learning rate, of SHAPES
    ckpt: Path | None = None  # checkpoint to go on from; without one, one of each epoch is kept
    devices: int = 1  # processes
    batch: int = BATCH  # rows of a batch of each process
    precision: str = "32-true"

    def options(self, saver: type[ModelCheckpoint], *callbacks: L.Callback) -> dict[str, Any]:
        """What all trainers are given alike."""
        where = self.folder / "kept" / self.shape
        keep = saver(
            where,
            "{epoch}",
            save_top_k=0 if self.ckpt else -1,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        devices = {
            "accelerator": "cpu",
            "devices": self.devices,
            "strategy": "ddp" if self.devices > 1 else "auto",
        }
        shared = {
            "max_epochs": EPOCHS,
            "precision": self.precision,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        }
        return {"callbacks": [*callbacks, keep], **devices, **shared}


def with_ftlight(run: Run) -> L.LightningModule:
    stages = [{"train": "head", "epochs": 2}, {"train": "last:1", "epochs": 2}, {"train": "all"}]
    bert, rows, (form, warmup) = f"{run.folder}/bert", f"{run.folder}/toy.csv", SHAPES[run.shape]
    data = ftlight.TextData(
        rows, validation=rows, check="off", tokenizer=bert, batch_size=run.batch
    )
    task = ftlight.TextClassification(
        bert, labels=data.labels, unfreeze=stages, lr=LR, lr_schedule=form, warmup=warmup
    )
    trainer = ftlight.Trainer(
        run=f"{run.folder}/{uuid.uuid4()}", patience=0, **run.options(ModelCheckpoint)
    )
    trainer.fit(task, datamodule=data, ckpt_path=run.ckpt)
    return task


SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "flat": lambda _: None,
    "linear": lambda o: lr_scheduler.LambdaLR(
        o, lambda step: min((step + 1) / (RISE * STEPS), (STEPS - step) / ((1 - RISE) * STEPS))
    ),
    "cycle": lambda o: lr_scheduler.OneCycleLR(o, max_lr=LR, total_steps=STEPS),
    "rise": lambda o: lr_scheduler.LinearLR(o, start_factor=0.1, total_iters=round(RISE * STEPS)),
}


class Plain(L.LightningModule):
    """A backbone of three layers and a head, with the schedulers that users have."""

    def __init__(self, shape: str) -> None:
        super().__init__()
        self.shape = shape
        self.backbone = nn.Sequential(
            *(nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(3))
        )
        self.head = nn.Linear(8, 2)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Loss of a batch."""
        return nn.functional.cross_entropy(self.head(self.backbone(batch[0])), batch[1])

    def configure_optimizers(self) -> Any:
        """AdamW over what is not frozen, as both documentations have it."""
        optimizer = torch.optim.AdamW((p for p in self.parameters() if p.requires_grad), lr=LR)
        made = SCHEDULERS[self.shape](optimizer)
        return {
            "optimizer": optimizer,
            **({"lr_scheduler": {"scheduler": made, "interval": "step"}} if made else {}),
        }


def fit_plain(run: Run, trainer: L.Trainer, ckpt_path: Path | None) -> L.LightningModule:
    numbers, model = torch.Generator().manual_seed(0), Plain(run.shape)
    rows = TensorDataset(
        torch.randn(ROWS, 8, generator=numbers), torch.randint(0, 2, (ROWS,), generator=numbers)
    )
    trainer.fit(model, DataLoader(rows, batch_size=run.batch), ckpt_path=ckpt_path)
    return model


def with_backbone_finetuning(run: Run) -> L.LightningModule:
    options = run.options(ModelCheckpoint, BackboneFinetuning(unfreeze_backbone_at_epoch=2))
    return fit_plain(run, L.Trainer(logger=False, **options), run.ckpt)


def with_finetuning_scheduler(run: Run, documented: bool) -> L.LightningModule:
    from finetuning_scheduler import FinetuningScheduler, FTSCheckpoint

    thawed = [["head.*"], ["backbone.2.*"], ["backbone.[01].*"]]
    phases = {
        i: {"params": names, "max_transition_epoch": 2 * (i + 1), **({"lr": LR} if i else {})}
        for i, names in enumerate(thawed)
    }
    # not restore_best: what is best of a run that goes on differs; OneCycleLR is not in the list of
    # what is tested
    options = {
        "epoch_transitions_only": True,
        "restore_best": False,
        "apply_lambdas_new_pgs": True,
        "logging_level": logging.ERROR,
    }
    schedule = FinetuningScheduler(
        phases, allow_untested=run.shape == "cycle", log_dir=str(run.folder), **options
    )
    trainer = L.Trainer(logger=False, **run.options(FTSCheckpoint, schedule))
    trainer.ckpt_path = run.ckpt if documented else None
    return fit_plain(run, trainer, None if documented else run.ckpt)


TOOLS: dict[str, Callable[[Run], L.LightningModule]] = {
    "ftlight": with_ftlight,
    "BackboneFinetuning": with_backbone_finetuning,
    f"{FTS}, trainer.ckpt_path": partial(with_finetuning_scheduler, documented=True),
    LAST: partial(with_finetuning_scheduler, documented=False),
}


def train(tool: str, run: Run) -> L.LightningModule:
    warnings.simplefilter("ignore")
    L.seed_everything(0, verbose=False)  # also of the order of ftlight's rows
    torch.manual_seed(0 if run.ckpt is None else 1)
    with contextlib.redirect_stdout(io.StringIO()):
        return TOOLS[tool](run)


def apart(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    return max((a[name].double() - b[name].double()).abs().max().item() for name in a)


def attempt(check: Callable[[], str]) -> str:
    """What a check says, or how it crashed."""
    try:
        return check()
    except Exception as error:
        names = re.findall(
            "[A-Za-z]+(?:Error|Exception)", str(getattr(error, "stderr", ""))
        )  # of another process
        return f"crashes: {[*names, type(error).__name__][0]}"


def resumed(tool: str, folder: Path, shape: str) -> str:
    """Compares the whole run with those resumed at the end of each epoch but the last."""
    whole = train(tool, Run(folder, shape))
    differences = list[float]()
    crashes = list[str]()
    stuck = False
    for epoch in range(EPOCHS - 1):
        try:
            again = train(tool, Run(folder, shape, folder / "kept" / shape / f"epoch={epoch}.ckpt"))
        except Exception as error:
            crashes.append(type(error).__name__)
            continue
        differences.append(apart(whole.state_dict(), again.state_dict()))
        stuck |= sum(p.requires_grad for p in again.parameters()) < sum(
            p.requires_grad for p in whole.parameters()
        )
    wrong = sum(d != 0 for d in differences)
    said = (
        [f"crashes: {', '.join(sorted({*crashes}))} ({len(crashes)} of {EPOCHS - 1})"]
        if crashes
        else []
    )
    said += (
        [f"{max(differences):.2} ({wrong} of {EPOCHS - 1}{', stays frozen' * stuck})"]
        if wrong
        else []
    )
    return "; ".join(said) or "0.0"


def two(tool: str, folder: Path, precision: str = "32-true", one: bool = False) -> str:
    """Two processes against each other, or against one with batches of twice the size."""
    command = [
        sys.executable,
        __file__,
        "--process",
        tool,
        "--folder",
        str(folder),
        "--precision",
        precision,
    ]
    subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    ranks = [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    if not one:
        return f"{apart(*ranks):.2}"
    alone = train(tool, Run(folder, batch=2 * BATCH, precision=precision)).state_dict()
    return f"{max(apart(alone, rank) for rank in ranks):.2}"


def make_data(folder: Path) -> None:
    """Writes toy rows and a tiny BERT of two layers without dropout, with its tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = "[PAD] [UNK] good bad late the order was my and not it parcel very new where".split()
    with (folder / "toy.csv").open("w", newline="") as file:
        rows = [(" ".join(words[2 + i % 3 : 5 + i % 11]), words[2 + i % 3]) for i in range(ROWS)]
        csv.writer(file).writerows([("text", "label"), *rows])
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=32, pad_token="[PAD]", unk_token="[UNK]"
    )
    tokenizer.save_pretrained(folder / "bert")
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    torch.manual_seed(0)
    BertModel(
        BertConfig(vocab_size=len(words), max_position_embeddings=32, **sizes, **still)
    ).save_pretrained(folder / "bert")


def compare(folder: Path, absent: bool) -> None:
    """Prints the table, a row as soon as it is known."""
    print(f"{'':40}" + "".join(f"{column:33}" for column in (*COLUMNS, "DDP, 2 processes")))
    tools = [tool for tool in TOOLS if not (absent and FTS in tool)]
    for tool in TOOLS:
        checks = [partial(resumed, tool, folder, shape) for shape in COLUMNS.values()]
        checks.append(
            partial(two, tool, folder) if tool != LAST else lambda: "(as above)"
        )  # differs in how it goes on
        cells = [attempt(check) if tool in tools else "not installed" for check in checks]
        print(f"{tool:40}" + "".join(f"{cell:33}" for cell in cells).rstrip(), flush=True)
    rises = [f"{tool}: {attempt(partial(resumed, tool, folder, 'rise'))}" for tool in tools]
    print("\nresume with LinearLR, a warm-up alone\n  " + "\n  ".join(rises))
    far = attempt(partial(two, "ftlight", folder, "64-true", one=True))
    print(
        "ftlight with DDP against one process with batches of twice the size, "
        f"in double precision: {far}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("process", "folder", "precision"):  # of one of two processes
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.process:
        model = train(
            options.process, Run(Path(options.folder), devices=2, precision=options.precision)
        )
        torch.save(model.state_dict(), Path(options.folder) / f"rank{model.global_rank}.pt")
        return
    absent = importlib.util.find_spec("finetuning_scheduler") is None
    print(
        ", ".join(
            f"{p} {version(p)}"
            for p in ("ftlight", "torch", "lightning", "transformers", *([] if absent else [FTS]))
        )
    )
    print(f"{FTS} is not installed: pip install {FTS}" if absent else "")
    with tempfile.TemporaryDirectory() as name:
        os.environ.update(
            HF_DATASETS_CACHE=f"{name}/datasets", FTLIGHT_CACHE=f"{name}/cache", HF_HUB_OFFLINE="1"
        )
        screen.silence_libraries()
        make_data(Path(name))
        compare(Path(name), absent)


if __name__ == "__main__":
    main()
