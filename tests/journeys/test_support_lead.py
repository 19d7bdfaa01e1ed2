"""A support lead with a table of a spreadsheet: semicolons, cp1252, labels as people type them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.run
COMMANDS = 4  # init, fit, predict of a table, of one text
SPELLINGS = {"Rückgabe": ("Rückgabe", "rückgabe ", "RÜCKGABE"), "Versand": ("Versand", "versand")}


def messages(path: Path, count: int) -> None:
    """Writes messages as a spreadsheet saves them, with blank rows at the end."""
    lines = ["Nachricht;Kategorie"]
    for i in range(count):
        label = list(SPELLINGS)[i % 2]
        spelling = SPELLINGS[label][(i // 2) % len(SPELLINGS[label])]
        about = "money bitte zurück" if i % 2 == 0 else "parcel late für mich"
        lines.append(f"{about}, Nummer {i} für 5 €;{spelling}")
    path.write_bytes("\r\n".join([*lines, ";", ";", ""]).encode("cp1252"))


def test_from_a_spreadsheet_to_answers(bert: str, tmp_path: Path, command: Any) -> None:
    messages(tmp_path / "tickets.csv", 80)
    messages(tmp_path / "new.csv", 6)

    drafted = command("init", "tickets.csv")
    Path("tickets.yaml").write_text(drafted)
    data = yaml.safe_load(drafted)["data"]
    assert data["encoding"] == "cp1252"
    assert data["test_split"] == 0.2
    assert data["fold_labels"] is True  # labels are written in several ways
    small = ["--model.backbone", bert, "--trainer.max_epochs", "5", "--model.lr", "0.01"]
    small += ["--model.unfreeze", "all"]  # what is tiny knows nothing to be kept
    said = command("fit", "-c", "tickets.yaml", *small, "--run", "r")
    assert "labels joined under the first" in " ".join(said.split())
    assert json.loads(Path("r/labels.json").read_text())["labels"] == ["Rückgabe", "Versand"]
    command("predict", "r", "new.csv", "--out", "answers.csv")
    with Path("answers.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file, delimiter=";"))  # as the table that was read
    assert len(rows) == 6
    assert {row["prediction"] for row in rows} == {"Rückgabe", "Versand"}
    assert rows[0]["Nachricht"] == "money bitte zurück, Nummer 0 für 5 €"
    assert "Versand" in command("predict", "r", "--text", "parcel late für mich, Nummer 8 für 5 €")
    assert command.done == COMMANDS
