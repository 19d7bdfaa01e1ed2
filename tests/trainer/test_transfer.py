"""fit --from RUN: weights of a run, its head by the names of labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Run, make_bert, toy_rows, write_csv
from tiny import causal_lm, masked_lm, question_answering, seq2seq, token_classification

import ftlight
from ftlight.__main__ import main
from ftlight.cli.command import Words
from ftlight.cli.parser import trained
from ftlight.task import Task

pytestmark = pytest.mark.run
STILL = ["--model.lr", "1e-12", "--model.weight_decay", "0", "--trainer.max_steps", "1"]
TEXTS = [text for text, _ in toy_rows(20)]


def task_of(run: str) -> Task:
    return trained(run, Words("fit", []))


def logits(run: Path, labels: list[str]) -> torch.Tensor:
    """Logits of some labels for some texts, up to a constant."""
    found = ftlight.load(str(run)).predict(TEXTS)
    rows = torch.tensor([[row["probabilities"][label] for label in labels] for row in found]).log()
    return rows - rows[:, :1]


def with_a_new_label(folder: Path) -> str:
    """A table without one of the labels of toy.csv, and with another one."""
    return write_csv(folder / "new.csv", toy_rows(60, ("odd", "good", "late")))


@pytest.mark.parametrize("head", ["pooled", "native", "lora"])
def test_labels_that_are_known_keep_their_rows(
    head: str, fit: Run, bert: str, tmp_path: Path, capsys: Any
) -> None:
    options = [] if head == "pooled" else ["--model.pooling", "native"]
    if head == "lora":
        options += ["--model.peft", "lora"]
    first = fit(*options, name="first", epochs=2)
    capsys.readouterr()
    new = with_a_new_label(tmp_path)
    second = fit(*options, *STILL, "--from", str(first), train=new, name="second")
    out = " ".join(capsys.readouterr().out.split())
    assert "3 labels keep their rows of the head, 1 new: odd" in out
    known = json.loads((first / "labels.json").read_text())["labels"]
    assert json.loads((second / "labels.json").read_text())["labels"] == [*known, "odd"]
    assert json.loads((second / "run.json").read_text())["from"] == str(first)
    torch.testing.assert_close(logits(second, known), logits(first, known), rtol=1e-3, atol=1e-3)


def test_adapters_are_merged_or_lie_on_the_backbone(fit: Run, tmp_path: Path, capsys: Any) -> None:
    first = fit("--model.peft", "lora", name="first", epochs=2)
    second = fit(*STILL, "--from", str(first), name="second")
    known = ftlight.load(str(first)).task.labels
    torch.testing.assert_close(logits(second, known), logits(first, known), rtol=1e-3, atol=1e-3)
    words = ["--model.peft", "lora", "--from", str(second), "--run", "third"]
    config = str(second / "config.yaml")
    capsys.readouterr()
    assert main(["fit", "-c", config, *words]) == 2
    assert "adapters lie on pre-trained weights" in capsys.readouterr().err


def test_without_a_config_that_of_the_run_holds(fit: Run, tmp_path: Path, capsys: Any) -> None:
    first = fit("--model.lr", "0.01", name="first")
    new = with_a_new_label(tmp_path)
    words = ["--data.train", new, "--run", "second", *STILL[2:]]
    assert main(["fit", "--from", str(first), *words]) == 0
    config = Path("second/config.yaml").read_text()
    assert "lr: 0.01" in config
    assert "known_labels" in config
    capsys.readouterr()
    # a run that goes on has its own weights, and asks no more for those it began with
    (first / "checkpoints" / "best.ckpt").unlink()
    assert main(["fit", "--resume", "second", "--trainer.max_steps", "2"]) == 0
    assert "keep their rows" not in capsys.readouterr().out


def test_each_task_begins_with_the_weights_of_a_run(tmp_path: Path) -> None:
    for name, module in {
        "TokenClassification": token_classification,
        "QuestionAnswering": question_answering,
        "CausalLM": causal_lm,
        "Seq2Seq": seq2seq,
        "MaskedLM": masked_lm,
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        words = ["fit", "--model", name, *module.fit(folder), "--trainer.max_steps", "2"]
        words += ["--trainer.accelerator", "cpu", "--data.check", "off", "--test", "false"]
        assert main([*words, "--run", str(folder / "a")]) == 0
        more = ["--from", str(folder / "a"), *STILL, "--trainer.max_steps", "1"]
        assert main([*words, *more, "--run", str(folder / "b")]) == 0
        before, after = (task_of(str(folder / run)).state_dict() for run in "ab")
        assert before.keys() == after.keys()
        for key, value in before.items():
            torch.testing.assert_close(after[key], value, rtol=1e-4, atol=1e-6, msg=f"{name} {key}")


def test_tags_keep_their_rows_by_name(tmp_path: Path) -> None:
    words = ["fit", "--model", "TokenClassification", *token_classification.fit(tmp_path)]
    words += ["--trainer.accelerator", "cpu", "--data.check", "off", "--test", "false"]
    assert main([*words, "--trainer.max_steps", "2", "--run", "a"]) == 0
    text = (tmp_path / "train.conll").read_text()
    new = tmp_path / "new.conll"
    new.write_text(text.replace("THING", "AAA"))  # sorted before the labels that are known
    more = ["--data.train", str(new), "--data.validation", str(new), "--from", "a", *STILL]
    assert main([*words, *more, "--run", "b"]) == 0
    one, two = task_of("a"), task_of("b")
    assert two.labels == [*one.labels, "AAA"]
    heads = [task.state_dict()["model.classifier.weight"] for task in (one, two)]
    rows = {name: i for i, name in enumerate(two.output_names)}
    for i, name in enumerate(one.output_names):
        torch.testing.assert_close(heads[1][rows[name]], heads[0][i], rtol=1e-4, atol=1e-6)


def test_numbers_stay_in_the_scale_of_their_weights(fit: Run, tmp_path: Path) -> None:
    def table(name: str, add: float) -> str:
        rows = [(text, str(add + i % 7 + 0.5)) for i, (text, _) in enumerate(toy_rows(40))]
        return write_csv(tmp_path / name, rows)

    first = fit(train=table("a.csv", 1000), name="first")
    second = fit("--from", str(first), *STILL, train=table("b.csv", 0), name="second")
    before, after = (ftlight.load(str(run)).predict(TEXTS) for run in (first, second))
    for old, new in zip(before, after, strict=True):
        assert new["prediction"] == pytest.approx(old["prediction"], abs=0.01)


def test_another_architecture_is_refused(fit: Run, tmp_path: Path, capsys: Any) -> None:
    first = fit(name="first")
    other = str(make_bert(tmp_path / "other", num_hidden_layers=3))
    words = ["fit", "--model", "TextClassification", "--model.backbone", other, "--from"]
    words += [str(first), "--data.train", str(tmp_path / "toy.csv"), "--run", "second"]
    capsys.readouterr()
    assert main(words) == 2
    err = capsys.readouterr().err
    assert f"--from {first}: 16 of" in err
    assert "give the same backbone, head and adapters" in err
    assert not Path("second").exists()
    assert main([*words, "--ckpt_path", str(first / "checkpoints" / "last.ckpt")]) == 2
    assert "give one" in capsys.readouterr().err
    assert main([*words[:5], "--from", "nothing"]) == 2
    assert "nothing is not a run" in capsys.readouterr().err
