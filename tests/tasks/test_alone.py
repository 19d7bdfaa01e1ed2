"""A row's result does not depend on the rows beside it, nor on who loads the export."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, each

BENCH = ROOT / "scripts" / "bench"
SOME = ["bert", "roberta, 386 positions", "gpt2, left", "fnet", "funnel"]
ARCHITECTURES = {
    "TextClassification": [*SOME, "xlnet, left", "canine", "opt", "bloom, left", "t5"],
    "TokenClassification": [*SOME, "xlnet, left", "t5"],
    "QuestionAnswering": [*SOME, "xlnet, left", "qwen3, left"],
    "MaskedLM": ["bert", "roberta, 512 positions", "fnet", "funnel"],
    "Retrieval": [*SOME, "xlnet, left", "canine", "opt", "t5"],
    "CausalLM": ["gpt2, left", "qwen3, left", "mamba"],
    "Seq2Seq": ["t5", "bart", "bert"],
    "ImageClassification": ["vit", "beit", "clip", "siglip", "vit, grayscale"],
}


@pytest.fixture(scope="module")
def alone() -> Any:
    """The benchmark that prints all tasks on all architectures."""
    sys.path.insert(0, str(BENCH))
    try:
        return importlib.import_module("alone")
    finally:
        sys.path.remove(str(BENCH))


@pytest.mark.run
@pytest.mark.parametrize("task", ARCHITECTURES)
def test_alone_is_as_batched_and_as_exported(task: str, alone: Any, tmp_path: Path) -> None:
    def check(family: str) -> None:
        found = alone.cell(task, family, tmp_path)
        assert not isinstance(found, str), found
        assert found.batched < 1e-5
        assert found.exported < 1e-5

    each(ARCHITECTURES[task], check)


@pytest.mark.run
def test_what_cannot_be_done_is_refused_in_one_line(alone: Any, tmp_path: Path) -> None:
    def check(task: str, family: str, line: str) -> None:
        assert line in alone.cell(task, family, tmp_path)

    each(
        [
            ("Retrieval", "pegasus", "an encoder-decoder that gives no states of a text"),
            ("MaskedLM", "gpt2", "has no mask token"),
            ("TokenClassification", "canine", "has no tokenizer.json"),
            ("CausalLM", "bert", "no end-of-text token"),
        ],
        check,
    )
