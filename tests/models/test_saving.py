"""Exported folders give the same scores in stock libraries, and load into nothing else."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Run, each, toy_rows, write_csv

import ftlight
from ftlight.__main__ import main

TEXTS = [t for t, _ in toy_rows(24)] + ["late " * 200]


@pytest.mark.run
def test_native_head_in_a_pipeline(fit: Run, request: Any, tmp_path: Any) -> None:
    def check(model: str, labels: tuple[str, ...]) -> None:
        from transformers import pipeline

        rows = [(text, labels[i % 3]) for i, (text, _) in enumerate(toy_rows(48))]
        folder = fit(
            "--model.lr",
            "1e-3",
            train=write_csv(tmp_path / "t.csv", rows),
            backbone=request.getfixturevalue(model),
            name=f"{model} {labels[0]}",
        )
        assert main(["export", str(folder)]) == 0
        theirs = pipeline("text-classification", str(folder / "export"), device="cpu")(
            TEXTS, top_k=None, truncation=True
        )
        card = (folder / "export" / "README.md").read_text()
        added = re.search(r"# add (\S+) to each score: the head has no bias", card)
        assert bool(added) == (model == "llama" and labels[0] == "0.5")
        rest = float(added[1]) if added else 0.0
        for ours, scored in zip(ftlight.load(str(folder)).predict(TEXTS), theirs, strict=True):
            if labels[0] == "0.5":
                assert scored[0]["score"] + rest == pytest.approx(ours["prediction"], abs=1e-4)
            else:
                assert {s["label"]: s["score"] for s in scored} == pytest.approx(
                    ours["probabilities"], abs=1e-4
                )

    each(
        itertools.product(
            ["plain_bert", "llama"],
            [("good", "bad", "late"), ("a|b", "b", "c|a"), ("0.5", "2.5", "4.0")],
        ),
        check,
    )


@pytest.mark.run
def test_pooled_in_sentence_transformers(fit: Run, tmp_path: Any) -> None:
    def check(pooling: str) -> None:
        from sentence_transformers import SentenceTransformer
        from transformers import AutoModel, AutoModelForSequenceClassification

        folder = fit("--model.lr", "1e-3", "--model.pooling", pooling, name=pooling)
        assert main(["export", str(folder)]) == 0
        encoder = SentenceTransformer(str(folder / "export"), device="cpu")
        logits = torch.from_numpy(np.asarray(encoder.encode(TEXTS)))
        names = json.loads((folder / "export" / "labels.json").read_text())["labels"]
        for ours, row in zip(
            ftlight.load(str(folder)).predict(TEXTS), logits.softmax(-1).tolist(), strict=True
        ):
            assert dict(zip(names, row, strict=True)) == pytest.approx(
                ours["probabilities"], abs=1e-4
            )
        for other in (AutoModel, AutoModelForSequenceClassification):
            with pytest.raises((OSError, ValueError)):
                other.from_pretrained(folder / "export")

    each(["mean", "cls", "max", "last"], check)


@pytest.mark.run
def test_nothing_is_overwritten_and_the_card_says_how(fit: Run, capsys: Any, tmp_path: Any) -> None:
    folder = fit("--data.test", write_csv(tmp_path / "test.csv", toy_rows(9)))
    assert main(["export", str(folder)]) == 0
    card = (folder / "export" / "README.md").read_text()
    assert "SentenceTransformer" in card
    assert "| accuracy |" in card
    assert "9 rows" in card
    capsys.readouterr()
    assert main(["export", str(folder)]) == 2
    assert "is there already and not empty; give another with --out DIR" in capsys.readouterr().err
