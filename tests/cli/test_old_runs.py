"""Runs saved by 0.1.0 answer every verb as they answered 0.1.0, and go on as they would have.

Numbers are compared within 1e-5, not to the bit: the sums of a matrix product are rounded in
another order with AVX2, with AVX-512 and on other processors. One row that is predicted otherwise
changes a metric by a thousand times that; another order of rows, or another rate, the weights.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import each
from safetensors.torch import load_file

import ftlight
from ftlight.__main__ import main
from ftlight.cli import moved

FIXTURE = Path(__file__).parents[1] / "fixtures" / "run_0_1"
sys.path.append(str(FIXTURE))
import answers  # noqa: E402

sys.path.remove(str(FIXTURE))  # the task beside it is to be found by what run.json says

EXPECTED = json.loads((FIXTURE / "expected.json").read_text(encoding="utf-8"))
VERBS = [(run, verb) for run in answers.MORE for verb in EXPECTED[run]]
CLOSE = 1e-5
RESAMPLED = {"test/mae_low", "test/mae_high"}  # percentiles in 0.1, which held too seldom
# Every class that 0.1 wrote into a config.yaml.
CLASSES = {
    "ftlight.tasks.causal_lm.CausalLM": "ftlight.data.chats.ChatData",
    "ftlight.tasks.image_classification.ImageClassification": "ftlight.data.image_data.ImageData",
    "ftlight.tasks.masked_lm.MaskedLM": "ftlight.tasks.masked_lm.MaskedData",
    "ftlight.tasks.question_answering.QuestionAnswering": "ftlight.tasks.question_answering.QAData",
    "ftlight.tasks.retrieval.Retrieval": "ftlight.data.retrieval.RetrievalData",
    "ftlight.tasks.seq2seq.Seq2Seq": "ftlight.data.pairs.Seq2SeqData",
    "ftlight.tasks.text_classification.TextClassification": "ftlight.data.text.TextData",
    "ftlight.tasks.token_classification.TokenClassification": (
        "ftlight.tasks.token_classification.TokenData"
    ),
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the fixture; its task of one's own is imported anew."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    sys.modules.pop("own_scale", None)
    monkeypatch.setenv("FTLIGHT_TRUST", str(tmp_path / "root" / "own"))  # it was made elsewhere
    yield answers.copied(tmp_path / "root")
    sys.modules.pop("own_scale", None)


def differences(wanted: Any, found: Any, where: str = "") -> list[str]:
    """Places where two nested results differ; numbers may by ``CLOSE``.

    Metrics that 0.1 did not have are left out, and the ends of intervals by resampling.
    """
    found = _without_new_metrics(wanted, found)
    if isinstance(wanted, dict) and isinstance(found, dict):
        keys = dict.fromkeys((*wanted, *found))
        return [d for k in keys for d in differences(wanted.get(k), found.get(k), f"{where}.{k}")]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = enumerate(zip(wanted, found, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, f"{where}.{i}")]
    if isinstance(wanted, float) and isinstance(found, float):
        same = found == pytest.approx(wanted, rel=CLOSE, abs=CLOSE)
    else:
        same = found == wanted
    return [] if same else [f"{where}: {wanted!r}, now {found!r}"]


def _without_new_metrics(wanted: Any, found: Any) -> Any:
    """Metrics by name, or lines of metrics.csv (epoch, step, name, value), that are wanted."""
    if isinstance(wanted, dict) and all(isinstance(v, int | float) for v in wanted.values()):
        resampled = {name: value for name, value in wanted.items() if name in RESAMPLED}
        assert resampled.keys() <= found.keys()
        return {name: value for name, value in found.items() if name in wanted} | resampled
    if isinstance(wanted, list) and wanted and isinstance(wanted[0], list) and len(wanted[0]) > 2:
        names = {line[2] for line in wanted}
        return [line for line in found if line[2] in names]
    return found


def assert_same_weights(folder: Path) -> None:
    """All weights but biases of keys.

    These shift all scores of a query alike, which softmax takes out again: their gradients are
    rounding errors, which AdamW makes as large as any other.
    """
    expected = load_file(FIXTURE / "expected.safetensors")
    wanted = {name: v for name, v in expected.items() if name.startswith(f"{folder.name}.")}
    found = answers.weights(folder)
    assert found.keys() == wanted.keys()
    for name, value in ((n, v) for n, v in wanted.items() if not n.endswith("key.bias")):
        torch.testing.assert_close(found[name], value, rtol=CLOSE, atol=CLOSE)


@pytest.mark.run
@pytest.mark.parametrize(("run", "verb"), VERBS)
def test_an_old_run_answers_as_it_did(run: str, verb: str, root: Path) -> None:
    found = getattr(answers, verb)(root, run)
    assert differences(EXPECTED[run][verb], found) == []
    if verb == "resume":
        assert_same_weights(root / run)


def test_an_old_run_that_is_done_is_left_alone(root: Path) -> None:
    files = [p for p in (root / "own").rglob("*") if p.is_file()]
    before = [p.read_bytes() for p in files]
    answers.run(["fit", "--resume", root / "own"])
    assert [p.read_bytes() for p in files] == before


def test_an_old_task_of_ones_own_has_no_export(root: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["export", str(root / "own")]) == 2
    assert "Ordinal has no export" in capsys.readouterr().err


@pytest.mark.run
def test_an_old_task_of_ones_own_trains(root: Path) -> None:
    assert differences(EXPECTED["train"], answers.train(root)) == []


@pytest.mark.run
def test_the_config_of_an_old_run_trains_as_the_run_that_was_stopped_and_resumed(
    root: Path,
) -> None:
    config = root / "stopped" / "config.yaml"
    answers.run(["fit", "-c", config, "--run", root / "again"])
    assert differences(EXPECTED["stopped"]["resume"], answers.ended(root / "again")) == []


def test_an_old_run_is_loaded_in_python(root: Path) -> None:
    wanted = EXPECTED["stopped"]["predict"]
    found = ftlight.load(str(root / "stopped")).predict([row["text"] for row in wanted])
    assert [row["prediction"] for row in found] == [row["prediction"] for row in wanted]
    scores = [row["score"] for row in found]
    assert scores == pytest.approx([row["score"] for row in wanted], abs=CLOSE)


@pytest.mark.parametrize(("task", "data"), CLASSES.items())
def test_a_class_is_known_by_the_path_it_had(
    task: str, data: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = {
        "model": {"class_path": task, "init_args": {"backbone": "nobody/nothing"}},
        "data": {"class_path": data, "init_args": {"train": "missing.file"}},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "-c", "config.yaml"]) == 2
    error = capsys.readouterr().err
    assert "missing.file" in error
    assert "class" not in error


@pytest.mark.run
@pytest.mark.parametrize("way", ["--resume auto", "--ckpt_path"])
def test_an_old_run_goes_on_with_its_own_rates_from_the_config_it_was_made_from(
    way: str, root: Path
) -> None:
    stopped = root / "stopped"
    made_from = yaml.safe_load((root / "stopped.yaml").read_text(encoding="utf-8"))
    assert "lr_over" not in made_from["model"]
    words = ["fit", "-c", root / "stopped.yaml"]
    if way == "--resume auto":
        answers.run([*words, "--run", stopped, "--resume", "auto"])
        assert differences(EXPECTED["stopped"]["resume"], answers.ended(stopped)) == []
        assert_same_weights(stopped)
    else:
        last = stopped / "checkpoints" / "last.ckpt"
        answers.run([*words, "--run", root / "new" / "stopped", "--ckpt_path", last])
        assert_same_weights(root / "new" / "stopped")


def test_a_module_of_a_package_is_no_name_of_0_1(caplog: pytest.LogCaptureFixture) -> None:
    moved.import_module("json")  # as if a task of one's own were: names of 0.1 are served now

    def check(package: str, module: str) -> None:
        with pytest.raises(AttributeError):
            importlib.import_module(package).__getattr__(module)

    pairs = [("masked_lm", "masking"), ("image_classification", "preparing"), ("seq2seq", "data")]
    each([(f"ftlight.tasks.{package}", module) for package, module in pairs], check)
    assert not caplog.records
