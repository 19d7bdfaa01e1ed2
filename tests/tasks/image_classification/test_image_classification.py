"""Image classification: forms of data, batches, batch norms, and a run from fit to export."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import lightning as L
import numpy as np
import pytest
import torch
from conftest import each, same, write_csv
from PIL import Image
from tiny.image_classification import make_resnet, square, write_zip

import ftlight
from ftlight.__main__ import main
from ftlight.data import hub as hub_data
from ftlight.tasks.image_classification import decoding, embedded, preparing
from ftlight.tasks.image_classification.data import ImageData
from ftlight.tasks.image_classification.task import ImageClassification
from ftlight.utils.errors import UserError


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("squares")
    return write_zip(folder / "squares.zip", {"train": 36, "val": 12, "test": 12})


def fitting() -> SimpleNamespace:
    """As much of a trainer as a data module asks for while one fits."""
    return SimpleNamespace(
        state=SimpleNamespace(fn="fit"),
        global_rank=0,
        world_size=1,
        strategy=L.Trainer(accelerator="cpu").strategy,
    )


FOLDERS = {"train": "train", "validation": "val", "test": "test"}  # of splits


def unpacked(squares: str, folder: Path) -> Path:
    with zipfile.ZipFile(squares) as archive:
        archive.extractall(folder)
    return folder / "squares"


def rows(data: ImageData, split: str = "train") -> list[tuple[str, str]]:
    data.setup("fit")
    return [(Path(r["image"]).name, r["label"]) for r in data.load_split(split)]


def as_folder(squares: str, here: Path) -> dict[str, Any]:
    return {"train": str(unpacked(squares, here))}


def as_folders(squares: str, here: Path) -> dict[str, Any]:
    place = unpacked(squares, here)
    return {split: str(place / name) for split, name in FOLDERS.items()}


def tables(squares: str, here: Path) -> dict[str, str]:
    place = unpacked(squares, here)
    made = {}
    for split, name in FOLDERS.items():
        paths = sorted((place / name).rglob("*.jpg"))
        cells = [(p.relative_to(place).as_posix(), p.parent.name) for p in paths]
        made[split] = write_csv(place / f"{name}.csv", cells, ("file", "kind"))
    return made


def as_tables(squares: str, here: Path) -> dict[str, Any]:
    return {**tables(squares, here), "image": "file", "label": "kind"}


def as_zipped_tables(squares: str, here: Path) -> dict[str, Any]:
    """A zip as people make it: of a folder that holds tables beside a folder of images."""
    tables(squares, here)
    with zipfile.ZipFile(here / "all.zip", "w") as archive:
        for path in sorted((here / "squares").rglob("*.*")):
            archive.write(path, path.relative_to(here).as_posix())
    shutil.rmtree(here / "squares")
    return {"train": str(here / "all.zip"), "image": "file", "label": "kind"}


def as_parquet(squares: str, here: Path) -> dict[str, Any]:
    """As the hub has it: images as bytes, labels as numbers of names."""
    place = unpacked(squares, here)
    made = {}
    names = datasets.ClassLabel(names=["blue", "green", "red"])
    features = datasets.Features({"image": datasets.Image(), "label": names})
    for split, folder in FOLDERS.items():
        paths = sorted((place / folder).rglob("*.jpg"))
        columns = {
            "image": [{"bytes": p.read_bytes(), "path": p.name} for p in paths],
            "label": [names.str2int(p.parent.name) for p in paths],
        }
        table = datasets.Dataset.from_dict(columns, features=features)
        made[split] = str(here / f"{split}.parquet")
        table.to_parquet(made[split])
    shutil.rmtree(place)
    return made


def as_jsonl(squares: str, here: Path) -> dict[str, Any]:
    """Paths from the root of the disk, in a file elsewhere."""
    place = unpacked(squares, here)
    (here / "lists").mkdir()
    files = {}
    for split, name in FOLDERS.items():
        paths = sorted((place / name).rglob("*.jpg"))
        cells = [{"image": str(p), "label": p.parent.name} for p in paths]
        file = here / "lists" / f"{name}.jsonl"
        file.write_text("".join(json.dumps(cell) + "\n" for cell in cells))
        files[split] = str(file)
    return {**files, "folder": str(place)}


def test_all_forms_give_the_same_rows_and_pixels(squares: str, resnet: str, tmp_path: Path) -> None:
    cases = [as_folder, as_folders, as_tables, as_zipped_tables, as_parquet, as_jsonl]

    def check(form: Any) -> None:
        folder = tmp_path / form.__name__
        folder.mkdir()
        options: dict[str, Any] = {"tokenizer": resnet, "augment": "none", "batch_size": 40}
        plain = ImageData(squares, **options)
        other = ImageData(**form(squares, folder), **options)
        for split in ("train", "validation", "test"):
            assert rows(other, split) == rows(plain, split)
        assert other.labels == plain.labels == ["blue", "green", "red"]
        one, two = (next(iter(d.test_dataloader())) for d in (plain, other))
        assert torch.equal(one["inputs"]["pixel_values"], two["inputs"]["pixel_values"])
        assert torch.equal(one["targets"], two["targets"])

    each(cases, check)


def test_images_of_the_hub(
    squares: str, resnet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = as_parquet(squares, tmp_path)
    hub = {split: datasets.Dataset.from_parquet(path) for split, path in made.items()}
    monkeypatch.setattr(hub_data, "load_hub", lambda name: hub)
    embedded._hub_rows.cache_clear()
    options: dict[str, Any] = {"tokenizer": resnet, "augment": "none"}
    data = ImageData("hf:some/squares", validation="hf:some/squares", **options)
    assert rows(data) == rows(ImageData(squares, **options))
    assert next(iter(data.val_dataloader()))["inputs"]["pixel_values"].shape == (12, 3, 32, 32)


def test_images_are_decoded_once_where_they_stay_the_same(
    squares: str, resnet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as there is room; those without are the same all the same."""

    decode = decoding.decode
    decoded: list[int] = []

    def counted(*arguments: Any) -> Any:
        decoded.append(1)
        return decode(*arguments)

    monkeypatch.setattr(decoding, "decode", counted)
    trainer = fitting()

    def check(count: int) -> None:
        room = count * 3 * 32 * 32 / 1e9
        data = ImageData(squares, tokenizer=resnet, augment="none", keep_gb=room)
        data.trainer = trainer
        data.setup("fit")
        decoded.clear()
        first, second = batches(data, 0), batches(data, 1)
        assert len(decoded) == 36 + 36 - count
        assert all(torch.equal(first[i], second[i]) for i in range(36))

    each([1, 30], check)


def test_splits_found_in_train_are_said(squares: str, resnet: str) -> None:
    data = ImageData(squares, tokenizer=resnet)
    assert data.notes[:2] == [f"validation: found in {squares}", f"test: found in {squares}"]
    assert data.shares == {"validation": 0.0, "test": 0.0}


def test_without_splits_a_share_is_held_out(squares: str, resnet: str, tmp_path: Path) -> None:
    train = str(unpacked(squares, tmp_path) / "train")
    data = ImageData(train, tokenizer=resnet, validation_split=0.25)
    assert (len(rows(data)), len(rows(data, "validation"))) == (27, 9)


def test_several_labels_of_an_image(squares: str, resnet: str, tmp_path: Path) -> None:
    place = unpacked(squares, tmp_path)
    paths = sorted((place / "train").rglob("*.jpg"))
    cells = []
    for i, path in enumerate(paths):
        label = path.parent.name + ("|bright" if i % 2 else "")
        cells.append((str(path.relative_to(place)), label))
    data = ImageData(write_csv(place / "some.csv", cells, ("image", "label")), tokenizer=resnet)
    data.setup("fit")
    assert (data.kind, data.labels) == ("multi", ["blue", "bright", "green", "red"])
    task = ImageClassification(resnet, labels=data.labels, kind="multi")
    batch = next(iter(data.train_dataloader()))
    assert set(batch["targets"].sum(1).tolist()) == {1.0, 2.0}
    assert torch.isfinite(task.step(batch).loss)


# Faults


def spoiled(squares: str, here: Path) -> Path:
    place = unpacked(squares, here) / "train"
    (place / "red" / "cut.jpg").write_bytes(square(2)[1][:-60])
    (place / "red" / "empty.png").write_bytes(b"")
    return place


def test_bad_images_are_named_before_training(squares: str, resnet: str, tmp_path: Path) -> None:
    place = spoiled(squares, tmp_path)
    data = ImageData(str(place), tokenizer=resnet)
    fault = (
        r"2 of 38 images of train cannot be used: red/cut.jpg \(it is cut off "
        r".*red/empty.png \(it is empty\)"
    )
    with pytest.raises(UserError, match=fault):
        data.setup("fit")


def test_bad_images_are_left_out_and_counted(squares: str, resnet: str, tmp_path: Path) -> None:
    train = str(spoiled(squares, tmp_path))
    data = ImageData(train, tokenizer=resnet, on_bad_image="skip", validation_split=0.0)
    assert len(rows(data)) == len(data.sets["train"]) == 36
    assert any(n.startswith("train: 2 of 38 images left out: red/cut.jpg (") for n in data.notes)


def test_a_header_alone_does_not_see_what_is_cut_off_but_training_names_it(
    squares: str, resnet: str, tmp_path: Path
) -> None:
    place = spoiled(squares, tmp_path)
    (place / "red" / "empty.png").unlink()
    data = ImageData(str(place), tokenizer=resnet, image_check="header", validation_split=0.0)
    data.setup("fit")
    with pytest.raises(UserError, match=r"red/cut.jpg cannot be used: it is cut off"):
        list(data.train_dataloader())


def test_a_path_that_is_none_is_named(resnet: str, tmp_path: Path) -> None:
    cases = [
        ("../x.jpg", r"some.csv:2: ../x.jpg leads out of .*set data.folder"),
        ("/etc/x.jpg", r"some.csv:2: /etc/x.jpg leads out of"),
        ("nothing.jpg", r"1 of 1 images of train cannot be used: nothing.jpg \(no such file\)"),
        ("", r"some.csv:2: column image has no path"),
    ]

    def check(cell: str, words: str) -> None:
        file = write_csv(tmp_path / "some.csv", [(cell, "a")], ("image", "label"))
        data = ImageData(file, tokenizer=resnet)
        with pytest.raises(UserError, match=words):
            data.setup("fit")

    each(cases, check)


def test_options_are_checked() -> None:
    cases = [
        ({"image_size": 4}, "data.image_size: 4 is out of range"),
        ({"max_pixels": 10**9}, "data.max_pixels"),
        ({"white": 0}, "data.white: 0"),
    ]

    def check(options: dict[str, int], words: str) -> None:
        with pytest.raises(UserError, match=words):
            ImageData(**options)

    each(cases, check)


def test_images_without_classes_are_refused(tmp_path: Path, resnet: str) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "1.jpg").write_bytes(square(0)[1])
    with pytest.raises(UserError, match=r"1.jpg is in no folder of a class"):
        ImageData("set", tokenizer=resnet).setup("fit")
    with pytest.raises(UserError, match=r"nothing.zip: no such file"):
        ImageData("nothing.zip", tokenizer=resnet).setup("fit")


def test_a_backbone_that_takes_one_size_says_so(squares: str, tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    config = ViTConfig(image_size=32, patch_size=8, **sizes)
    ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    settings = {"image_processor_type": "ViTImageProcessor", "size": 32}
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(settings))
    data = ImageData(squares, tokenizer="vit", image_size=64)
    task = ImageClassification("vit", labels=data.labels)
    with pytest.raises(UserError, match=r"data.image_size: the backbone does not take 64"):
        data.check_model(task.model)
    ImageData(squares, tokenizer="vit", image_size=32).check_model(task.model)
    assert task.model.training


# Batches


def batches(data: ImageData, epoch: int) -> dict[int, torch.Tensor]:
    data._position = lambda: (epoch, 0)  # type: ignore[method-assign]
    found = {}
    for batch in data.train_dataloader():
        found.update(zip(batch["index"], batch["inputs"]["pixel_values"], strict=True))
    return found


@pytest.mark.processes  # workers
def test_augmentation_is_a_function_of_seed_epoch_and_row(
    squares: str, resnet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    made = {}
    for workers, size in ((0, 8), (2, 5)):
        data = ImageData(squares, tokenizer=resnet, workers=workers, batch_size=size)
        data.setup("fit")
        made[workers] = [batches(data, epoch) for epoch in (0, 1)]
    for epoch in (0, 1):
        assert made[0][epoch].keys() == made[2][epoch].keys() == set(range(36))
        assert all(torch.equal(made[0][epoch][i], made[2][epoch][i]) for i in range(36))
    assert not any(torch.equal(made[0][0][i], made[0][1][i]) for i in range(36))
    monkeypatch.setenv("PL_GLOBAL_SEED", "6")
    assert not torch.equal(batches(data, 0)[0], made[0][0][0])


def test_an_epoch_that_repeats_a_draw_has_its_images(
    squares: str, resnet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, whether they are prepared again or were kept in memory."""
    data = ImageData(squares, tokenizer=resnet, batch_size=8)
    data.setup("fit")
    new = [batches(data, epoch) for epoch in range(4)]
    data.draws = 2
    decoded = []
    decode = decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda *all: decoded.append(1) or decode(*all))
    for trainer in (None, fitting()):
        data.trainer = trainer
        drawn = [batches(data, epoch) for epoch in range(4)]
        for epoch, images in enumerate(drawn):
            assert all(torch.equal(images[i], new[epoch % 2][i]) for i in range(36))
            assert not any(torch.equal(images[i], new[3 - epoch % 2][i]) for i in range(36))
    assert len(decoded) == (4 + 2) * 36


def test_evaluation_is_not_augmented(squares: str, resnet: str) -> None:
    first, second = (ImageData(squares, tokenizer=resnet, augment=a) for a in ("strong", "none"))
    for data in (first, second):
        data.setup("fit")
    one, two = (next(iter(d.val_dataloader()))["inputs"]["pixel_values"] for d in (first, second))
    assert torch.equal(one, two)


def trained(squares: str, resnet: str, epochs: int, **more: Any) -> ImageClassification:
    L.seed_everything(3, verbose=False)
    data = ImageData(squares, tokenizer=resnet, batch_size=8)
    task = ImageClassification(resnet, labels=data.labels, **more)
    nothing = "logger enable_progress_bar enable_model_summary enable_checkpointing".split()
    options: dict[str, Any] = dict.fromkeys([*nothing, "use_distributed_sampler"], False)
    trainer = L.Trainer(max_epochs=epochs, accelerator="cpu", **options)
    trainer.fit(task, datamodule=data)
    return task


@pytest.mark.run
def test_statistics_of_batch_norms_are_kept_unless_asked_for(squares: str, resnet: str) -> None:
    def check(how: Any) -> None:
        before = ImageClassification(resnet, labels=["a", "b"]).model
        task = trained(squares, resnet, 1, batch_norm=how)
        old, new = before.state_dict(), task.model.state_dict()
        statistics = [k for k in old if "running_" in k]
        assert statistics
        assert all(torch.equal(old[k], new[k]) for k in statistics) == (how == "frozen")
        scales = [k for k in old if "normalization.weight" in k]
        assert not any(torch.equal(old[k], new[k]) for k in scales)

    each(["frozen", "train"], check)


def test_the_head_of_other_labels_is_replaced(resnet: str) -> None:
    from transformers import AutoModelForImageClassification

    task = ImageClassification(resnet, labels=["a", "b"])
    assert task.model.classifier[1].out_features == 2
    assert task.model.config.id2label == {0: "a", 1: "b"}
    stock = AutoModelForImageClassification.from_pretrained(resnet)
    same(task.model.resnet, stock.resnet)


# A run


def fit(squares: str, resnet: str, run: Path, *words: str, epochs: int = 3) -> Path:
    command = (
        f"fit --model ImageClassification --model.backbone {resnet} --run {run} "
        f"--data.train {squares} --data.batch_size 6 "
        f"--trainer.accelerator cpu --trainer.max_epochs {epochs}"
    )
    assert main([*command.split(), *words]) == 0
    return run


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.run
def test_a_run_learns_and_its_export_gives_the_same_scores(
    squares: str, resnet: str, tmp_path: Path
) -> None:
    from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

    home = unpacked(squares, tmp_path / "home")
    backbone = shutil.copytree(resnet, tmp_path / "backbone")
    options = "--model.lr 0.01 --data.image_size 24".split()
    run = fit(str(home), str(backbone), tmp_path / "run", *options, epochs=8)
    scores = json.loads((run / "test_metrics.json").read_text())
    assert scores["test/accuracy"] == 1.0
    found = read(run / "test_predictions.csv")
    assert list(found[0]) == ["image", "label", "line", "prediction", "score"]
    assert {Path(r["image"]).relative_to(home).parts[0] for r in found} == {"test"}
    shutil.copytree(home / "test", tmp_path / "new")
    shutil.rmtree(home)
    shutil.rmtree(backbone)
    moved = shutil.move(run, tmp_path / "moved")
    assert main(["predict", str(moved), "new"]) == 0
    predicted = read(Path(moved) / "predictions" / "new.csv")
    answers = {r["image"]: (r["prediction"], float(r["score"])) for r in predicted}
    assert all(Path(name).parent.name == prediction for name, (prediction, _) in answers.items())

    assert main(["export", str(moved), "--out", "out"]) == 0
    model = AutoModelForImageClassification.from_pretrained("out")
    processor = AutoImageProcessor.from_pretrained("out")
    for name, (prediction, score) in answers.items():
        with torch.no_grad():
            logits = model(**processor(Image.open(name), return_tensors="pt")).logits[0]
        best = int(logits.argmax())
        assert model.config.id2label[best] == prediction
        assert float(logits.softmax(-1)[best]) == pytest.approx(score, abs=1e-4)
    told = pipeline("image-classification", "out")(name)[0]
    assert (told["label"], told["score"]) == (prediction, pytest.approx(score, abs=1e-4))


@pytest.mark.run
def test_what_can_be_predicted(squares: str, resnet: str, tmp_path: Path, capsys: Any) -> None:
    """A file, a folder, a zip, a table of paths, Parquet, rows in Python; but not a text."""
    run = fit(squares, resnet, tmp_path / "run", epochs=1)
    place = unpacked(squares, tmp_path)
    parquet = as_parquet(squares, tmp_path / "p")["test"]
    unpacked(squares, tmp_path)
    paths = [(f"test/red/{p.name}", "x") for p in (place / "test" / "red").iterdir()]
    table = write_csv(place / "list.csv", paths, ("image", "note"))
    one = next((place / "test" / "red").iterdir())
    counts = {str(one): 1, str(place / "test"): 12, squares: 60, table: 4, parquet: 12}
    for number, (name, count) in enumerate(counts.items()):
        assert main(["predict", str(run), name, "--out", f"{number}.csv"]) == 0
        found = read(Path(f"{number}.csv"))
        assert len(found) == count
        columns = ["image", "note"] if name == table else ["image"]
        assert list(found[0]) == [*columns, "prediction", "score"]
    tabled = {Path(r["image"]).name: r["score"] for r in read(Path("3.csv"))}
    whole = {Path(r["image"]).name: r["score"] for r in read(Path("1.csv"))}
    assert tabled.items() <= whole.items()
    Path("rows").mkdir()  # a folder of the name that rows in Python go by
    answers = ftlight.load(str(run)).predict([str(one)])
    assert f"{answers[0]['score']:.6g}" == whole[one.name]
    capsys.readouterr()
    assert main(["predict", str(run), "--text", "where is my parcel"]) == 2
    err = capsys.readouterr().err
    assert "1 of 1 images cannot be used: where is my parcel (no such file)" in err


@pytest.mark.run
def test_a_run_that_goes_on_ends_as_one_that_was_not_stopped(
    squares: str, resnet: str, tmp_path: Path
) -> None:
    steady = (
        "--model.unfreeze all --model.lr_schedule constant --model.warmup 0 --test false".split()
    )
    last = "checkpoints/last.ckpt"
    whole = fit(squares, resnet, tmp_path / "whole", *steady)
    half = fit(squares, resnet, tmp_path / "half", *steady, "--trainer.max_steps", "12")
    again = fit(squares, resnet, tmp_path / "again", *steady, "--ckpt_path", str(half / last))
    one = torch.load(whole / last, weights_only=False)
    two = torch.load(again / last, weights_only=False)
    assert one["global_step"] == two["global_step"] == 18
    assert all(torch.equal(v, two["state_dict"][k]) for k, v in one["state_dict"].items())


def test_modes_are_declared_in_a_run(squares: str, resnet: str, tmp_path: Path) -> None:
    place = unpacked(squares, tmp_path) / "train"
    for i in range(3):
        Image.new("RGBA", (9, 9), (255, 0, 0, 90)).save(place / "red" / f"clear{i}.png")
    Image.fromarray(np.full((9, 9), 40000, np.uint16)).save(place / "blue" / "deep.png")
    data = ImageData(str(place), tokenizer=resnet, validation_split=0.0)
    data.setup("fit")
    assert "train: 40 images, 3 transparent, over white, 1 16-bit gray over 65,535" in data.notes


def test_colours_lie_side_by_side_where_the_architecture_takes_them_so(
    resnet: str, tmp_path: Path
) -> None:
    # fewer than 16 channels into a 1 x 1 convolution with a stride: oneDNN may crash
    assert not ImageClassification(resnet, labels=["a", "b"]).channels_last
    torch.manual_seed(0)
    wide = make_resnet(tmp_path / "wide", wide=True)
    task = ImageClassification(wide, labels=["a", "b"]).eval()
    values = torch.rand(3, 3, 32, 32)
    seen: list[bool] = []
    first = next(m for m in task.modules() if isinstance(m, torch.nn.Conv2d))
    first.register_forward_pre_hook(
        lambda _, given: seen.append(given[0].is_contiguous(memory_format=torch.channels_last))
    )
    with torch.no_grad():
        ours = task({"pixel_values": values})
        assert torch.allclose(ours, task.model(pixel_values=values).logits, atol=1e-5)
    assert seen == [True, False]
    assert task.channels_last


def test_an_architecture_that_counts_on_the_usual_order_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide, forward = make_resnet(tmp_path, wide=True), torch.nn.Conv2d.forward

    def flattens(self: torch.nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        return forward(self, x.view(len(x), -1).view(x.shape))

    monkeypatch.setattr(torch.nn.Conv2d, "forward", flattens)
    task = ImageClassification(wide, labels=["a", "b"])
    assert not task.channels_last
    assert all(p.grad is None for p in task.parameters())
    assert task({"pixel_values": torch.rand(2, 3, 32, 32)}).shape == (2, 2)


def test_images_scaled_together_are_what_the_processor_makes_of_each(resnet: str) -> None:
    processor = preparing.processor(resnet)
    assert preparing.scales(processor)
    shape = (4, *preparing.shape(processor), 3)
    noise = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    uncut = {"do_resize": False, "do_center_crop": False}
    alone = [preparing.pixels(processor, Image.fromarray(n), **uncut) for n in noise]
    together = preparing.unpacked(processor, torch.from_numpy(noise).permute(0, 3, 1, 2))
    assert torch.allclose(together, torch.stack(alone), atol=1e-5)


@pytest.mark.run
def test_a_head_on_frozen_images_is_solved_if_these_stay_the_same(
    squares: str, resnet: str, tmp_path: Path, capsys: Any
) -> None:
    head = ("--model.unfreeze", "head")
    fit(squares, resnet, tmp_path / "same", *head, "--data.augment", "none")
    assert "the head is solved on 36 rows" in capsys.readouterr().out
    fit(squares, resnet, tmp_path / "drawn", *head, epochs=1)
    assert "the head is solved on 36 rows" in capsys.readouterr().out  # as they are, not augmented
    fit(squares, resnet, tmp_path / "new", *head, "--model.cache_draws", "0", epochs=1)
    out = " ".join(capsys.readouterr().out.split())
    assert "the head is stepped, not solved: inputs differ between epochs" in out
