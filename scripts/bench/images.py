"""Images per second of training: ftlight beside transformers' Trainer, all else equal.

- ftlight: ftlight.Trainer, ImageClassification and ImageData at their defaults: light augmentation
  (a crop resized, a flip, brightness, contrast and saturation), batch norms with the statistics of
  the pre-training.
- ftlight, norms train: the same with batch_norm: train, which is the work that transformers'
  Trainer does.
- transformers: transformers.Trainer with TrainingArguments at their defaults. Its images go through
  the recipe of transformers' image-classification example (a crop of 8 to 100 % of the area
  resized, a flip) with Pillow, since torchvision is not there, then through the backbone's image
  processor, whose resizing and cropping are off, a batch at a time in the collator.
- transformers, no augmentation: the image processor alone.

Images are a random subset of STEPS x BATCH_SIZE, unpacked into one folder. Each round trains each
side once, in a process of its own, one after the other, for one epoch. The rate is all images over
all time from the end of the third step to the end of the last (sustained): with reading, decoding,
augmentation, collation and the optimizer, without imports and loading; no checkpoints are written.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

SIDES = ("ftlight", "ftlight, norms train", "transformers", "transformers, no augmentation")
PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}
WARM = 3  # steps


def sample(options: argparse.Namespace, folder: Path) -> None:
    """Unpacks the images of the epoch into a folder for each class."""
    with zipfile.ZipFile(options.train) as file:
        names = sorted(
            n
            for n in file.namelist()
            if "train" in n.split("/") and n.lower().endswith((".jpg", ".jpeg", ".png"))
        )
        wanted = options.steps * options.batch_size
        if wanted > len(names):
            raise SystemExit(
                f"{options.train} has {len(names)} images below a folder train, "
                f"fewer than {wanted}: give fewer --steps"
            )
        for n in np.random.default_rng(0).permutation(len(names))[:wanted]:
            place = folder / names[n].split("/")[-2] / Path(names[n]).name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read(names[n]))


def fit_ftlight(options: argparse.Namespace, ends: list[float]) -> None:
    """Trains an epoch with ftlight."""
    import lightning as L

    import ftlight

    class Clock(L.Callback):
        def on_train_batch_end(self, *given: Any) -> None:
            ends.append(time.perf_counter())

    shared = {
        "tokenizer": options.backbone,
        "batch_size": options.batch_size,
        "workers": options.workers,
        "validation_split": 0,
    }
    data = ftlight.ImageData(f"{options.folder}/images", **shared)
    norms = "train" if options.side.endswith("norms train") else "frozen"
    task = ftlight.ImageClassification(options.backbone, labels=data.labels, batch_norm=norms)
    only = {"max_epochs": 1, "test": False, "enable_checkpointing": False, "accelerator": "cpu"}
    with tempfile.TemporaryDirectory() as run, contextlib.redirect_stdout(io.StringIO()):
        ftlight.Trainer(
            run=f"{run}/run", precision=PRECISION[options.precision], callbacks=[Clock()], **only
        ).fit(task, datamodule=data)


def cropped(image: Any, size: tuple[int, int], rng: np.random.Generator) -> Any:
    """Crops, resizes and flips at random, as RandomResizedCrop and RandomHorizontalFlip do."""
    from PIL import Image

    for _ in range(10):
        area = image.width * image.height * rng.uniform(0.08, 1)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= image.width and 0 < high <= image.height:
            break
    else:
        wide = high = min(image.size)
    left, top = rng.integers(image.width - wide + 1), rng.integers(image.height - high + 1)
    image = image.resize(size, Image.Resampling.BILINEAR, box=(left, top, left + wide, top + high))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else image


def fit_transformers(options: argparse.Namespace, ends: list[float]) -> None:
    """Trains an epoch with transformers' Trainer."""
    import torch
    import transformers
    from PIL import Image

    paths = sorted(Path(options.folder, "images").rglob("*.*"))
    names = sorted({p.parent.name for p in paths})
    processor = transformers.AutoImageProcessor.from_pretrained(options.backbone, backend="pil")
    rng = np.random.default_rng(0)
    size = tuple(
        processor(Image.new("RGB", (64, 64)), return_tensors="pt")["pixel_values"].shape[:1:-1]
    )
    augments = options.side == "transformers"

    def collate(rows: list[Path]) -> dict[str, Any]:
        opened = [Image.open(p).convert("RGB") for p in rows]
        if augments:
            batch = processor(
                [cropped(i, size, rng) for i in opened],
                do_resize=False,
                do_center_crop=False,
                return_tensors="pt",
            )
        else:
            batch = processor(opened, return_tensors="pt")
        return {
            "pixel_values": batch["pixel_values"],
            "labels": torch.tensor([names.index(p.parent.name) for p in rows]),
        }

    class Clock(transformers.TrainerCallback):
        def on_step_end(self, *given: Any, **more: Any) -> None:
            ends.append(time.perf_counter())

    how = {"num_labels": len(names), "ignore_mismatched_sizes": True, "dtype": torch.float32}
    model = transformers.AutoModelForImageClassification.from_pretrained(options.backbone, **how)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        args = transformers.TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=options.batch_size,
            num_train_epochs=1,
            bf16=options.precision == "bf16",
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            remove_unused_columns=False,
            dataloader_num_workers=options.workers,
        )
        transformers.Trainer(model, args, collate, paths, callbacks=[Clock()]).train()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", help="a zip with images in train/CLASS/")
    parser.add_argument("--backbone", help="hub id or folder")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=50, help="batches of the epoch (50)")
    parser.add_argument("--rounds", type=int, default=3, help="times each side is measured (3)")
    parser.add_argument(
        "--workers", type=int, default=0, help="processes that load batches, on all sides (0)"
    )
    parser.add_argument("--precision", choices=PRECISION, default="fp32")
    for hidden in ("--side", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        ends: list[float] = []
        (fit_ftlight if options.side.startswith("ftlight") else fit_transformers)(options, ends)
        assert len(ends) == options.steps
        print(
            "\n"
            + json.dumps((options.steps - WARM) * options.batch_size / (ends[-1] - ends[WARM - 1]))
        )
        return
    rates: dict[str, list[float]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        sample(options, Path(folder) / "images")
        for side in [*SIDES] * options.rounds:
            command = [sys.executable, __file__, *sys.argv[1:], "--side", side, "--folder", folder]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{side} failed:\n{done.stderr}")
            rates[side].append(json.loads(done.stdout.splitlines()[-1]))
    import torch
    from overhead import table

    versions = ", ".join(f"{p} {version(p)}" for p in ("torch", "lightning", "transformers"))
    print(
        f"cpu, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {options.precision}, "
        f"{options.workers} workers; {versions}"
    )
    print(
        f"{options.backbone}, {options.steps} steps of {options.batch_size} images, "
        "the same on all sides\n"
    )
    table("images/s", rates, SIDES[:2], SIDES[2:])


if __name__ == "__main__":
    main()
