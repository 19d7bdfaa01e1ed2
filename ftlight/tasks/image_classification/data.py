"""Images with labels, found, opened once and prepared for a model."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import datasets
import numpy as np
import torch
from torch import nn

from ftlight.data import files, tables
from ftlight.data.labelled import Labelled, label_text, without
from ftlight.data.module import Columns, EncodedSplit
from ftlight.models.modes import evaluating
from ftlight.tasks.image_classification import augment as augmenting
from ftlight.tasks.image_classification import containers, decoding
from ftlight.tasks.image_classification import rows as image_rows
from ftlight.utils.errors import UserError, join_limited


class ImageData(Labelled):
    """Images with labels: a folder for each class, a table of paths, a zip of either (read in place), Parquet or the hub.

    Where ``train`` has folders or tables named for splits (train, val, test), those not given are found in it.

    Args:
        image: column of the image, or of its path.
        folder: folder that the paths of a table are relative to; the table's own if not given.
        image_size: height and width in pixels that the model sees; the backbone's own if not given.
        augment: random crops, flips and colour of training images: none, light or strong; none keeps frozen layers' output.
        flip: what augmentation mirrors: horizontal, any (also turns by quarters, for images without an up) or none.
        white: value of 16-bit gray images that is white; 4095 for cameras of 12 bits.
        max_pixels: the most pixels of an image, checked before it is decoded.
        check: full decodes every image once before training, header only reads its size; both are kept.
        on_bad_image: error names the images that cannot be read, skip leaves them out and counts them.
        keep_gb: memory for images that are the same in every epoch, so that they are decoded once, in GB.
        workers: processes that load batches; if not given none on the CPU, up to 8 for a GPU.
        base: options of Labelled.
    """

    def __init__(
        self,
        train: str | None = None,
        *,
        image: str = "image",
        folder: str | None = None,
        image_size: int | None = None,
        augment: augmenting.Augment = "light",
        flip: augmenting.Flip = "horizontal",
        white: int = 65535,
        max_pixels: int = 80_000_000,
        check: Literal["full", "header"] = "full",
        on_bad_image: Literal["error", "skip"] = "error",
        keep_gb: float = 1.0,
        workers: int | None = None,
        **base: Any,
    ) -> None:
        super().__init__(train, workers=workers or 0, **base)
        if image_size is not None and not 8 <= image_size <= 4096:
            raise UserError(
                f"data.image_size: {image_size} is not a size in pixels; give 8 to 4096, for example 224"
            )
        if not 0 < max_pixels <= decoding.PIXELS:
            raise UserError(
                f"data.max_pixels: {max_pixels} is not between 1 and {decoding.PIXELS}, the most that Pillow opens"
            )
        if not 0 < white <= 65535:
            raise UserError(f"data.white: {white} is not between 1 and 65535")
        self.image, self.folder, self.image_size = image, folder, image_size
        self.augment, self.flip, self.varies = augment, flip, augment != "none"  # type: ignore[misc]
        self.white, self.max_pixels, self.full, self.skip = (
            white,
            max_pixels,
            check == "full",
            on_bad_image == "skip",
        )
        self.choose_workers = workers is None
        self.kept, self.room = dict[tuple[str, str], torch.Tensor](), int(keep_gb * 1e9)
        self.reading: str | None = None
        self._find_splits()

    def _find_splits(self) -> None:
        """Takes the splits that are not given from the folder or zip of train, where it has them."""
        train = self.files["train"]
        if train is None or not containers.is_tree(train) or not Path(train).expanduser().exists():
            return
        found = image_rows.splits(train, self.image, self.label, self.encoding)
        for split in ("validation", "test"):
            if split in found and not self.files[split]:
                self.files[split], self.shares[split] = train, 0.0
                self.notes.append(f"{split}: found in {train}")

    @property
    def label_place(self) -> str:
        """Where labels are read, in words."""
        return "folders" if containers.is_tree(self.files["train"] or "") else super().label_place

    @property
    def columns(self) -> list[str]:
        """The column of the image or its path."""
        return [self.image]

    @property
    def example(self) -> str:
        """What may follow ``predict RUN``."""
        return "PHOTO.jpg"

    @property
    def processor(self) -> Any:
        """The backbone's image processor, for the size asked for."""
        return decoding.processor(self.tokenizer_name, self.image_size)

    # Rows

    def digest(self, split: str, name: str) -> str:
        """What tells the content of a split, whichever of a folder's splits it is."""
        return containers.digest(name, self.folder, self.image, self.encoding)

    def reader(
        self, split: str
    ) -> tuple[Callable[..., Iterator[files.Row]], dict[str, Any], datasets.Features]:
        """Reader of a split."""
        text = (
            "image",
            "label",
            image_rows.CONTAINER,
            image_rows.NAME,
            image_rows.FAULT,
            image_rows.DONE,
            image_rows.SAME,
        )
        features = datasets.Features(
            {**{k: datasets.Value("string") for k in text}, "line": datasets.Value("int64")}
        )
        arguments = {
            "place": self.files[split],
            "split": split,
            "stamp": containers.digest(
                str(self.files[split]), self.folder, self.image, self.encoding, times=True
            ),
            "image": self.image,
            "label": self.label,
            "folder": self.folder,
            "encoding": self.encoding,
            "max_pixels": self.max_pixels,
            "white": self.white,
            "full": self.full,
            "code": files.code(decoding.decode, containers.read, label_text),
        }
        return image_rows.read_rows, arguments, features

    def _load(self, split: str, name: str | None) -> datasets.Dataset:
        """Reads a split; names, or leaves out, the images that cannot be read, and says what was done to others."""
        table = super()._load(split, name)
        faults = tables.column(table, image_rows.FAULT)
        bad = [i for i, fault in enumerate(faults) if fault]
        if bad:
            named = join_limited((f"{table['image'][i]} ({faults[i]})" for i in bad), 3)
            if not self.skip:
                way = "mend them, take them out, or set data.on_bad_image: skip"
                raise UserError(
                    f"{name}: {len(bad)} of {len(table)} images of {split} cannot be used: {named}; {way}"
                )
            if len(bad) == len(table):
                raise UserError(
                    f"{name}: none of the {len(table)} images of {split} can be used: {named}"
                )
            self.notes.append(f"{split}: {len(bad)} of {len(table)} images left out: {named}")
        counts = Counter(
            done
            for dones in tables.column(table, image_rows.DONE)
            for done in dones.split("|")
            if done
        )
        if counts:
            self.notes.append(
                f"{split}: {len(table):,} images, {join_limited(f'{n:,} {done}' for done, n in counts.most_common())}"
            )
        table = table.remove_columns([image_rows.FAULT, image_rows.DONE])
        return without(table, bad)

    def duplicate_keys(self, table: datasets.Dataset) -> Sequence[str]:
        """Digests of the files of images."""
        return tables.column(table, image_rows.SAME)

    def read_predict(self, name: str) -> list[files.Row]:
        """The images to predict: one file, all in a folder or zip, or those that a table names."""
        self.reading = name
        if name.lower().endswith(containers.SUFFIXES):
            return [{self.image: name, files.LINE: 1}]
        if containers.is_tree(name):
            found = [n for n in containers.members(name) if n.lower().endswith(containers.SUFFIXES)]
            if not found:
                raise UserError(f"{name} holds no images")
            return [{self.image: n, files.LINE: i} for i, n in enumerate(found, 1)]
        if containers.embedded(name, self.image):
            entries = image_rows.entries(name, "", self.image, None, None, self.encoding)
            return [{self.image: e.shown, files.LINE: e.line} for e in entries]
        return super().read_predict(name)

    # Batches

    def encode(self, table: datasets.Dataset, split: str) -> EncodedSplit:
        """Where the images are, and their labels as numbers."""
        about = (
            table._fingerprint,
            self.processor.to_json_string(),
            self.white,
            files.code(decoding.decode),
        )
        columns: Columns = {
            key: tables.column(table, name)
            for key, name in (("container", image_rows.CONTAINER), ("name", image_rows.NAME))
        }
        columns["length"] = [1] * len(table)
        return EncodedSplit(
            columns, self.numbers(table, split), datasets.fingerprint.Hasher.hash(about)
        )

    def encode_rows(self, rows: Sequence[files.Row], place: str) -> EncodedSplit:
        """Where the images to predict are.

        Raises:
            UserError: one cannot be read.
        """
        entries = [self._entry(row, i, place) for i, row in enumerate(rows, 1)]
        faults = [
            (e, image_rows.check(e, self.image, self.max_pixels, self.white, self.full)[0])
            for e in entries
        ]
        bad = [f"{e.shown} ({fault})" for e, fault in faults if fault]
        if bad:
            raise UserError(
                f"{place}: {len(bad)} of {len(rows)} images cannot be used: {join_limited(bad, 3)}"
            )
        return EncodedSplit(
            {
                "container": [e.container for e in entries],
                "name": [e.name for e in entries],
                "length": [1] * len(rows),
            }
        )

    def _entry(self, row: files.Row, number: int, place: str) -> image_rows.Entry:
        """Where the image of a row to predict is: below the folder, zip or table that was given, else any path."""
        files.need(row, self.columns, place)
        shown, line = (
            files.as_text(row[self.image], place, number, self.image),
            int(row.get(files.LINE, number)),
        )
        if place != self.reading or place.lower().endswith(
            containers.SUFFIXES
        ):  # rows in Python or of standard input
            return image_rows.Entry("", str(Path(shown).expanduser()), shown, "", line)
        if containers.is_tree(place):
            return image_rows.Entry(place, shown, shown, "", line)
        if containers.embedded(place, self.image):
            return image_rows.Entry(place, str(line - 1), shown, "", line)
        root = self.folder or str(Path(place).parent)
        name = image_rows.inside("", shown, root)
        if name is None:
            raise UserError(
                f"{place}:{line}: {shown} leads out of {root}; set data.folder to the folder that the paths are in"
            )
        return image_rows.Entry(root, name, shown, "", line)

    def loader(self, *arguments: Any) -> Any:
        """Batches; processes load them where a GPU would wait for images."""
        if (
            self.choose_workers
            and self.trainer is not None
            and self.trainer.strategy.root_device.type == "cuda"
        ):
            self.workers = min(8, max(0, (os.cpu_count() or 1) - 1))
        return super().loader(*arguments)

    def collate(self, columns: Columns, rows: list[int]) -> dict[str, Any]:
        """A batch: ``inputs`` with ``pixel_values`` ``float32 [rows, 3, height, width]``, ``index`` and, where known, ``targets``."""
        epochs = columns.get("epoch", [-1] * len(rows))
        places = zip(columns["container"], columns["name"], epochs, rows, strict=True)
        values = [self._pixels(*place) for place in places]
        if {v.dtype for v in values} == {torch.uint8}:
            stacked = decoding.unpacked(self.processor, torch.stack(values))  # all at once
        else:
            stacked = torch.stack(
                [
                    decoding.unpacked(self.processor, v) if v.dtype == torch.uint8 else v
                    for v in values
                ]
            )
        batch: dict[str, Any] = {"inputs": {"pixel_values": stacked}, "index": rows}
        if "target" in columns:
            batch["targets"] = self.targets(columns["target"])
        return batch

    def _pixels(self, container: str, name: str, epoch: int, row: int) -> torch.Tensor:
        """An image as the model sees it, augmented in training, ``[3, height, width]``: ``uint8`` before scaling, or ``float32`` after."""
        kept = self.kept.get((container, name)) if epoch < 0 or self.augment == "none" else None
        if kept is not None:
            return kept
        try:
            image, _ = decoding.decode(
                containers.read(container, name, self.image), self.max_pixels, self.white
            )
        except decoding.Bad as error:
            raise UserError(f"{container}/{name} cannot be used: {error}") from None
        if epoch < 0 or self.augment == "none":
            return self._keep(container, name, decoding.pixels(self.processor, image))
        rng = np.random.default_rng([self.seed, epoch, row])
        changed = augmenting.augment(
            image,
            self.augment,
            self.flip,
            decoding.shape(self.processor),
            self.processor.resample,
            rng,
        )
        if decoding.scales(self.processor):
            return torch.from_numpy(np.array(changed)).permute(2, 0, 1)
        return decoding.pixels(self.processor, changed, do_resize=False, do_center_crop=False)

    def _keep(self, container: str, name: str, pixels: torch.Tensor) -> torch.Tensor:
        """Keeps an image in whole numbers while a run trains; all come through them, so that they are the same whether kept or not."""
        packed = decoding.packed(self.processor, pixels)
        if packed is None:
            return pixels
        if (
            self.trainer is not None
            and self.trainer.state.fn == "fit"
            and not self.workers
            and self.room >= packed.numel()
        ):
            self.kept[container, name] = packed
            self.room -= packed.numel()
        return packed

    def __getstate__(self) -> dict[str, Any]:
        """What a loading process needs."""
        return {**super().__getstate__(), "kept": {}}

    def check_model(self, model: nn.Module) -> None:
        """Checks that the model takes images of the size asked for.

        Raises:
            UserError: it does not.
        """
        if self.image_size is None:
            return
        blank = torch.zeros(
            1, 3, *decoding.shape(self.processor), device=next(model.parameters()).device
        )
        try:
            with evaluating(model), torch.no_grad():
                model(pixel_values=blank)
        except (ValueError, RuntimeError) as error:
            raise UserError(
                f"data.image_size: the backbone does not take {self.image_size} ({str(error).splitlines()[0]})"
            ) from None
