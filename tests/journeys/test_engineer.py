"""An ML engineer in a notebook: docs/notebook.ipynb runs as it stands, in a kernel of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT, make_bert, toy_rows, write_csv
from nbclient import NotebookClient

from ftlight.__main__ import main

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


@pytest.mark.processes
def test_two_seeds_with_lora_are_trained_looked_at_exported_and_loaded_by_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = tmp_path / "google-bert" / "bert-base-uncased"
    backbone.mkdir(parents=True)
    make_bert(backbone, sentence_encoder=False)
    (tmp_path / "tickets").mkdir()
    for split, count in (("train", 60), ("validation", 12), ("test", 15)):
        path = tmp_path / "tickets" / f"{split}.csv"
        write_csv(path, toy_rows(count), ("message", "intent"))
    write_csv(tmp_path / "new.csv", toy_rows(9), ("message", "intent"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources=place).execute()

    shown = [cell.outputs[-1].data["text/plain"] for cell in notebook.cells if _shows(cell)]
    report, wrong, model, answers, folder, stock = shown
    assert "precision" in report
    assert "why" in wrong
    assert model.startswith("<Predictor: TextClassification on google-bert/bert-base-uncased from")
    assert "prediction" in answers
    assert "intents" in folder
    assert "label" in stock
    # the runs of the notebook are those of the command line
    assert main(["predict", "runs/lora-1", "new.csv", "--out", "answers.jsonl"]) == 0
    rows = [json.loads(line) for line in Path("answers.jsonl").read_text().splitlines()]
    assert len(rows) == 9


def _shows(cell: nbformat.NotebookNode) -> bool:
    """Whether a cell ends with a value."""
    last = cell.get("outputs", [])[-1:]
    return bool(last) and last[0].output_type == "execute_result"


def test_the_notebook_is_committed_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)
