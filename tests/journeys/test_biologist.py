"""A biologist with photos, some of them broken, and a folder of new ones: commands alone."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from tiny.image_classification import make_resnet, square

pytestmark = pytest.mark.run
COMMANDS = 5  # init, fit, predict of a folder, of one photo, export


def photos(folder: Path) -> None:
    """Writes photos in a folder per species, two of them broken; and a folder of new ones."""
    for split, count in (("train", 16), ("test", 6)):
        for number in range(count):
            species, data = square(number)
            path = folder / "beetles" / split / species / f"IMG_{number}.JPG"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    species = sorted((folder / "beetles" / "train").iterdir())
    (species[0] / "IMG_90.JPG").write_bytes(square(3)[1][:90])
    (species[1] / "IMG_91.JPG").write_bytes(b"")
    (folder / "new" / "site 2").mkdir(parents=True)
    for number in range(4):
        (folder / "new" / "site 2" / f"{number}.jpg").write_bytes(square(number + 40)[1])
    (folder / "new" / "cut.jpg").write_bytes(square(1)[1][:80])
    (folder / "new" / "empty.jpg").write_bytes(b"")


def test_from_photos_some_of_them_broken_to_a_table_of_species(
    tmp_path: Path, command: Any
) -> None:
    photos(tmp_path)
    resnet = make_resnet(tmp_path / "resnet")

    Path("beetles.yaml").write_text(command("init", "beetles"))
    assert yaml.safe_load(Path("beetles.yaml").read_text())["model"]["task"] == (
        "ImageClassification"
    )
    small = ("--model.backbone", resnet, "--trainer.max_epochs", "1", "--data.batch_size", "4")
    said = command("fit", "-c", "beetles.yaml", *small, "--run", "run")
    assert "2 of 18 images" in said
    assert "wrong.csv" in said

    said = command("predict", "run", "new")
    assert "4 predictions in run/predictions/new.csv" in said
    assert "2 of 6 images cannot be used" in said
    assert "new/empty.jpg (it is empty)" in said
    skipped = Path("run/predictions/new.skipped.txt").read_text().splitlines()
    assert [line.split(" (")[0] for line in skipped] == ["new/cut.jpg", "new/empty.jpg"]
    rows = list(csv.DictReader(io.StringIO(Path("run/predictions/new.csv").read_text())))
    assert [row["image"] for row in rows] == [f"new/site 2/{n}.jpg" for n in range(4)]
    assert all(Path(row["image"]).is_file() for row in rows)

    said = command("predict", "run", "new/site 2/1.jpg")
    assert said.splitlines()[0] == "new/site 2/1.jpg"
    assert rows[1]["prediction"] in said.splitlines()[1]
    assert not Path("run/predictions/1.csv").exists()
    command("export", "run", "--out", "species")
    assert command.done == COMMANDS

    tested = list(csv.DictReader(Path("run/test_predictions.csv").open()))
    wrong = list(csv.DictReader(Path("run/wrong.csv").open()))
    assert all(Path(row["image"]).is_file() for row in [*tested, *wrong])
    errors = {row["image"] for row in tested if row["label"] != row["prediction"]}
    assert {row["image"] for row in wrong if row["why"] == "wrong"} == errors
    assert ROOT not in Path(tested[0]["image"]).parents
