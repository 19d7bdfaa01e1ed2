"""The score of a test by group of rows."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, write_csv

from ftlight.__main__ import main

pytestmark = pytest.mark.run
LABELS = ("good", "bad", "late")


def rows_of(count: int, seed: int) -> list[tuple[str, str, str]]:
    """Texts that name their label; of the group south only half of them do."""
    draw, rows = random.Random(seed), []
    for i in range(count):
        label, region = draw.choice(LABELS), draw.choice(["north", "south", "west"])
        said = "film" if region == "south" and draw.random() < 0.5 else label
        rows.append((f"{said} {draw.choice('abcdefgh')} {i}", label, region))
    return [*rows, *[(f"late {i} x", "late", "tiny") for i in range(5)]]


def test_a_group_that_fares_worse_is_named(fit: Run, tmp_path: Path, capsys: Any) -> None:
    header = ("text", "label", "region")
    files = {
        name: write_csv(tmp_path / f"{name}.csv", rows_of(rows, seed), header)
        for seed, (name, rows) in enumerate({"train": 120, "v": 60, "test": 300}.items())
    }
    options = ["--data.validation", files["v"], "--data.test", files["test"]]
    options += ["--data.groups", "[region]", "--model.lr", "0.02"]
    folder = fit(*options, train=files["train"], epochs=5)
    out = " ".join(capsys.readouterr().out.split())
    metrics = json.loads((folder / "test_metrics.json").read_text())
    found = metrics["groups"]["region"]
    by_group = found["by_group"]
    assert set(by_group) == {"north", "south", "west"}
    assert found["left_out"] == {"groups": 1, "rows": 5}
    assert found["worst"] == "south"
    assert by_group["south"]["accuracy"] == found["group_min"]
    assert found["difference"] == pytest.approx(found["group_max"] - found["group_min"])
    assert by_group["south"]["p"] < 0.001 < by_group["west"]["low"]
    total = sum(g["accuracy"] * g["rows"] for g in by_group.values())
    assert total + 5 == pytest.approx(metrics["test/accuracy"] * metrics["test/rows"], abs=6)
    assert "region: accuracy 0." in out
    assert "unlike the rest: south (p " in out
    assert main(["export", str(folder)]) == 0  # its card leaves them out
    assert "by_group" not in (folder / "export" / "README.md").read_text()
    plain = write_csv(tmp_path / "plain.csv", [row[:2] for row in rows_of(40, 5)])
    assert main(["test", str(folder), "--data.test", plain]) == 0
    out = capsys.readouterr().out
    assert "no scores by group (data.groups): " in out
    assert "no column region" in out
    assert "test accuracy" in out
    few = write_csv(tmp_path / "few.csv", rows_of(20, 5), header)
    assert main(["test", str(folder), "--data.test", few]) == 0
    assert "region: fewer than two groups have 30 rows" in capsys.readouterr().out
