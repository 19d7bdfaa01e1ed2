"""ONNX folders: their predict.py, without torch and ftlight, answers as ``predict`` does."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import WORDS, Run, each, toy_rows, write_csv
from PIL import Image
from tiny import words_of
from tiny.image_classification import square

import ftlight
from ftlight.__main__ import main
from ftlight.data import files
from ftlight.models import onnx_graph, portable
from ftlight.tasks.image_classification import portable as images
from ftlight.tasks.image_classification import preparing
from ftlight.tasks.token_classification import tags
from ftlight.tasks.token_classification.portable import word_pattern
from ftlight.trainer import onnx_check

QUICK = "--trainer.max_steps 3 --trainer.accelerator cpu --trainer.report false --test false"
# Runs a predict.py as an environment without these packages would.
BARE = """\
import runpy, sys
for name in ("torch", "transformers", "datasets", "ftlight", "lightning"):
    sys.modules[name] = None
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


def sentence(number: int) -> str:
    return " ".join(WORDS[(number * 7 + j * 3) % len(WORDS)] for j in range(1 + number % 9))


def answers(folder: Path, rows: list[dict[str, Any]], batch: int) -> list[dict[str, Any]]:
    """What predict.py adds to each row."""
    command = [sys.executable, "-I", "-c", BARE, str(folder / "predict.py"), str(batch)]
    given = "".join(json.dumps(row) + "\n\n" for row in rows)  # blank lines are no rows
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    both = zip(lines, rows, strict=True)
    return [{name: v for name, v in line.items() if name not in row} for line, row in both]


def same(found: Any, expected: Any) -> None:
    """Texts and labels are equal, numbers to 1e-3."""
    if isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-3)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            same(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            same(*pair)
    else:
        assert found == expected


def check(run: Path, rows: list[dict[str, Any]], *options: str) -> Path:
    """Exports a run, and compares answers to rows, alone and together."""
    assert main(["export", str(run), "--format", "onnx", *options]) == 0
    expected = ftlight.load(str(run)).predict(rows)
    for batch in (1, 5):
        same(answers(run / "onnx", rows, batch), expected)
    return run / "onnx"


@pytest.mark.run
@pytest.mark.parametrize("task", ["token_classification", "question_answering", "retrieval"])
def test_a_task_answers_without_torch(task: str, tmp_path: Path) -> None:
    assert main([*words_of(task, tmp_path), *QUICK.split(), "--run", "run"]) == 0
    texts = [*map(sentence, range(12)), " ".join(map(sentence, range(60)))]  # the last in windows
    if task == "token_classification":
        rows: list[dict[str, Any]] = [{"text": f"({t}), 3.5!"} for t in texts]
        rows += [{"tokens": ["small", "red"]}, {"tokens": ["small red", "10\u00a0000", "", "one"]}]
        rows += [{"tokens": []}, {"tokens": [], "text": "small red"}]
    elif task == "question_answering":
        rows = [{"question": "what is behind " + sentence(i), "context": texts[i]} for i in (3, 5)]
        rows += [{"question": texts[-1], "context": texts[-1]}]
    else:
        rows = [{"history": ["i1", "i3"]}, {"history": "i4| i5"}, {"history": texts[4]}]
        rows += [{"history": []}, {"history": ""}]  # of somebody new
    folder = check(Path("run"), rows)
    assert {"README.md", "model.onnx", "predict.py", "tokenizer.json"} <= {
        file.name for file in folder.iterdir()
    }


@pytest.mark.run
def test_images_answer_without_torch(tmp_path: Path) -> None:
    words = words_of("image_classification", tmp_path)
    assert main([*words, *QUICK.split(), "--run", "run"]) == 0
    for number in range(4):
        Path(f"{number}.jpg").write_bytes(square(number, (24 + number, 20))[1])
    Image.new("RGBA", (30, 40), (200, 0, 0, 120)).save("clear.png")
    rows = [{"image": str(Path(f"{n}.jpg").absolute())} for n in range(4)]
    folder = check(Path("run"), [*rows, {"image": str(Path("clear.png").absolute())}])
    Path("a.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    command = [sys.executable, "-I", str(folder / "predict.py")]
    done = subprocess.run(command, input=b'{"image": "a.eps"}', capture_output=True, check=False)
    assert b"UnidentifiedImageError" in done.stderr


@pytest.mark.run
def test_texts_answer_without_torch_and_in_8_bits(
    fit: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(f"{text} {sentence(i)}", label) for i, (text, label) in enumerate(toy_rows(60))]
    train = write_csv(tmp_path / "long.csv", rows)
    short = "--data.max_length 8 --model.long_text window --data.validation_split 0.3"
    run = fit(*short.split(), train=train, epochs=8)
    texts: list[dict[str, Any]] = [{"text": text} for text, _ in rows[:12]]
    texts += [{"text": text} for text in ("", None, 0, 3.5, True)]
    folder = check(run, texts)
    assert "overflowing" in (folder / "predict.py").read_text()  # long texts are windows
    size = (folder / "model.onnx").stat().st_size
    capsys.readouterr()
    eight = tmp_path / "eight"
    words = ["export", str(run), "--format", "onnx", "--int8", "--out", str(eight)]
    monkeypatch.setattr(onnx_check, "LEAST", 0.5)
    assert main(words) == 0
    said = capsys.readouterr().out
    assert re.search(r"\d % of 18 validation rows keep their label; accuracy", said)
    assert "onnx, int8" in said
    assert (eight / "model.onnx").stat().st_size < 0.9 * size
    assert "in 8 bits" in (eight / "README.md").read_text()
    assert {a["prediction"] for a in answers(eight, texts, 5)} <= {"good", "bad", "late"}
    monkeypatch.setattr(onnx_check, "LEAST", 1.1)
    words[-1] = str(tmp_path / "none")
    assert main(words) == 2
    assert "of 18 validation rows keep their label" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.run
def test_what_has_no_onnx_is_refused_in_a_line(
    fit: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*words_of("causal_lm", tmp_path), *QUICK.split(), "--run", "chats"]) == 0
    rows = [(text, text * 9, label) for text, label in toy_rows(60)]
    pairs = write_csv(tmp_path / "pairs.csv", rows, ("text", "other", "label"))
    long = "--data.text_pair other --data.max_length 8 --model.long_text window"
    fit(*long.split(), train=pairs, name="pairs")
    fit("--data.validation_split", "0", name="alone")

    def refused(run: str, options: str, why: str) -> None:
        capsys.readouterr()
        assert main(["export", run, *options.split()]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert why in lines[-1], lines
        assert not Path(run, "onnx").exists()

    each(
        [
            ("chats", "--format onnx", "CausalLM has no fixed forward pass"),
            ("pairs", "--format onnx", "fit with model.long_text: cut"),
            ("pairs", "--format onx", 'no format onx; did you mean "onnx"?'),
            ("pairs", "--int8", "--int8 is for --format onnx"),
            ("alone", "--format onnx --int8", "--int8 is checked on validation rows"),
        ],
        refused,
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    refused("alone", "--format onnx", 'pip install "ftlight[onnx]"')


def test_a_graph_that_takes_only_so_many_rows_is_refused(tmp_path: Path) -> None:
    class Pairs(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return input_ids.float() if len(input_ids) == 2 else 2 * input_ids.float()

    given = {"input_ids": torch.ones(2, 5, dtype=torch.long)}
    with pytest.raises(ftlight.UserError, match=r"Pairs cannot be written as ONNX .*of 1 x 5"):
        onnx_graph.write(Pairs(), given, ["vectors"], tmp_path / "model.onnx")


class Model:
    """A graph that gives the first token of each text, and notes how many texts it gets."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="input_ids"), SimpleNamespace(name="attention_mask")]

    def run(self, _: None, given: dict[str, Any]) -> list[Any]:
        assert {array.dtype for array in given.values()} == {np.dtype(np.int64)}
        self.sizes.append(len(given["input_ids"]))
        return [given["input_ids"][:, 0]]


def functions(model: Model) -> dict[str, Any]:
    """What every predict.py of texts defines."""
    tokenizer = SimpleNamespace(from_file=lambda file: None)
    names: dict[str, Any] = {"Tokenizer": tokenizer, "HERE": Path(), "MODEL": model}
    names |= {"json": json, "np": np}
    exec(portable.READS_TEXT, names)
    return names


def test_no_more_windows_run_at_once_than_rows() -> None:
    texts = [SimpleNamespace(ids=[i, 1], attention_mask=[1, 1]) for i in range(30)]
    for rows, sizes in ((1, [8, 8, 8, 6]), (12, [12, 12, 6]), (32, [30])):
        model = Model()
        (found,) = functions(model)["run"](texts, rows)
        assert found.tolist() == list(range(30))
        assert model.sizes == sizes


def test_cells_are_read_as_predict_reads_them() -> None:
    cell = functions(Model())["cell"]
    for value in ("a", "", None, 0, 12, -1.5, 1e20, float("nan"), True, False):
        assert cell({"a": value}, "a") == files.as_text(value, "rows", 1, "a")
    assert cell({"a": {"b": ["x", 3]}}, "a.b.1") == "3"
    assert cell({"a.b": "y", "a": {"b": "z"}}, "a.b") == "y"


def test_words_are_found_as_in_training() -> None:
    draw = random.Random(0)
    signs = "ab éß,.-$€ \t\n\u0e01\u0e33漢字か\u0301\u200d😀١"
    pattern = re.compile(word_pattern())
    for _ in range(300):
        text = "".join(draw.choice(signs) for _ in range(20))
        assert [word.span() for word in pattern.finditer(text)] == tags.split(text), repr(text)


def test_images_are_prepared_as_their_processor_does(tmp_path: Path) -> None:
    def made(**settings: Any) -> Any:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
        return preparing.processor(str(folder))

    edge, square_ = {"shortest_edge": 48}, {"height": 40, "width": 40}
    crop = {"do_center_crop": True, "crop_size": square_}
    kinds: list[dict[str, Any]] = [
        {"image_processor_type": "ViTImageProcessor", "size": square_, "resample": 2},
        {"image_processor_type": "ConvNextImageProcessor", "size": edge, "crop_pct": 0.875},
        {"image_processor_type": "CLIPImageProcessor", "size": edge, "resample": 3, **crop},
        {"image_processor_type": "EfficientNetImageProcessor", "size": square_, "resample": 0},
    ]

    def prepared(settings: dict[str, Any]) -> None:
        processor = made(**settings)
        image = Image.fromarray(
            np.random.default_rng(1).integers(0, 256, (70, 91, 3), dtype=np.uint8)
        )
        recipe = json.loads(json.dumps(images.recipe_of(processor)))
        found = images.prepared(image, recipe)
        assert np.allclose(found, preparing.pixels(processor, image).numpy(), atol=1e-4)

    each([(kind,) for kind in kinds], prepared)
