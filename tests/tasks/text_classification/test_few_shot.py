"""Few rows or none: heads that start from the names of labels, and the contrastive loss."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import Run, each, toy_rows, write_csv
from torch.nn import functional as F

import ftlight
from ftlight.__main__ import main
from ftlight.models.loading import load_tokenizer
from ftlight.tasks.text_classification import few_shot
from ftlight.utils.errors import UserError

LABELS = ("good", "bad", "late")
NAMED = ["--model.head_init", "labels"]
ABOUT = ["This text is about bad.", "This text is about good."]


def test_names_become_words() -> None:
    cases = [
        ("card_arrival", "card arrival"),
        ("Refund_not_showing_up", "Refund not showing up"),
        ("getRefund", "get Refund"),
        ("billing.lost-card", "billing lost card"),
        ("e-mail or phone", "e-mail or phone"),
        ("__label__late", "late"),
        ("DELETE_ACCOUNT", "delete account"),
        ("FAQ", "FAQ"),
        ("McDonald", "McDonald"),
        ("C++", "C++"),
        ("Straßenkarte", "Straßenkarte"),
        ("退款", "退款"),
    ]

    def check(name: str, words: str) -> None:
        assert few_shot.clean(name) == words

    each(cases, check)


def test_a_description_stands_for_a_name() -> None:
    found = few_shot.texts(["a_b", "7", "c"], ["About {}.", "{}"], {"7": "Seven"})
    assert found == [["About a b.", "Seven", "About c."], ["a b", "Seven", "c"]]


def test_names_that_say_nothing_are_refused() -> None:
    cases = [
        (["a", "b"], "about it", "'about it' must contain {} once, for the label name"),
        (["a", "b"], "{} or {}", "must contain {} once"),
        (
            ["0", "1", "good"],
            "{}",
            "0, 1 have no letters; describe them with model.label_descriptions",
        ),
        (["lost_card", "lost card"], "{}", "lost_card and lost card both read 'lost card'"),
    ]

    def check(labels: list[str], template: str, fault: str) -> None:
        with pytest.raises(UserError) as error:
            few_shot.texts(labels, [template])
        assert fault in str(error.value)

    each(cases, check)


def test_descriptions_come_from_a_file(tmp_path: Path) -> None:
    cases = ["NO: no answer\n1: a first\n", '{"NO": "no answer", "1": "a first"}']
    expected = {"NO": "no answer", "1": "a first"}

    def check(content: str) -> None:
        (tmp_path / "labels.yaml").write_text(content)
        assert few_shot.descriptions("labels.yaml", ["NO", "1"]) == expected
        assert few_shot.descriptions({1: "a first"}, ["NO", "1"]) == {"1": "a first"}

    each(cases, check)


def test_wrong_descriptions_are_named(tmp_path: Path) -> None:
    cases = [
        ({"lat": "not in time"}, 'no label lat; did you mean "late"? (labels: good, bad, late)'),
        ({"late": ""}, "late: expected a text, got ''"),
        ({"late": ["a"]}, "late: expected a text"),
        (["late"], "expected a mapping from label to text, got list"),
        ("none.yaml", "no file none.yaml"),
        ("broken.yaml", "broken.yaml:1: not valid YAML"),
    ]

    def check(given: Any, fault: str) -> None:
        (tmp_path / "broken.yaml").write_text("{a: b")
        with pytest.raises(UserError) as error:
            few_shot.descriptions(given, LABELS)
        assert fault in str(error.value)
        assert "\n" not in str(error.value)

    each(cases, check)


def test_contrastive_loss_is_that_of_the_paper() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(9, 5, generator=generator)
    targets = torch.tensor([0, 1, 0, 2, 1, 1, 3, 2, 0])
    temperature = 0.2
    losses = []
    rows = vectors.tolist()

    def closeness(a: list[float], b: list[float]) -> float:
        cosine = sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)
        return math.exp(cosine / temperature)

    close = [[closeness(a, b) for b in rows] for a in rows]
    for i in range(9):
        partners = [p for p in range(9) if p != i and targets[p] == targets[i]]
        if partners:
            everyone = sum(close[i][a] for a in range(9) if a != i)
            losses.append(-sum(math.log(close[i][p] / everyone) for p in partners) / len(partners))
    expected = pytest.approx(sum(losses) / len(losses), rel=1e-5)
    for scale in (1, 7):
        assert few_shot.contrastive(scale * vectors, targets, temperature).item() == expected


def test_contrastive_loss_without_pairs_is_zero_and_has_a_gradient() -> None:
    vectors = torch.randn(3, 4, requires_grad=True)
    loss = few_shot.contrastive(vectors, torch.arange(3))
    loss.backward()
    assert loss.item() == 0
    assert vectors.grad is not None
    assert not vectors.grad.any()
    loss = few_shot.contrastive(vectors, torch.tensor([0, 0, 1]))
    assert torch.autograd.grad(loss, vectors)[0].isfinite().all()


def embed(backbone: str, texts: list[str]) -> torch.Tensor:
    """Unit vectors of texts, mean-pooled, by transformers alone."""
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(backbone).eval()
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    rows = []
    with torch.no_grad():
        for text in texts:
            inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=64)
            rows.append(model(**inputs).last_hidden_state[0].mean(0))
    return F.normalize(torch.stack(rows), dim=-1)


def test_before_training_the_nearest_name_is_predicted(
    bert: str, plain_bert: str, tmp_path: Path, capsys: Any
) -> None:
    rows = toy_rows(30, ("good_film", "bad_film", "late"))
    data = write_csv(tmp_path / "rows.csv", rows)
    names = ["bad_film", "good_film", "late"]
    head: dict[str, Any] = {
        "head_init": "labels",
        "label_template": "a parcel is {}",
        "label_descriptions": {"late": "it is not here"},
    }
    spoken = ["a parcel is bad film", "a parcel is good film", "it is not here"]
    command = "validate -c x.yaml --trainer.accelerator cpu --trainer.precision 32-true"

    def check(backbone: str) -> None:
        model = {"task": "TextClassification", "backbone": backbone, **head}
        config = {"model": model, "data": {"train": data, "validation": data}}
        (tmp_path / "x.yaml").write_text(yaml.safe_dump(config))
        cosines = embed(backbone, [text for text, _ in rows]) @ embed(backbone, spoken).T
        nearest = [names[i] for i in cosines.argmax(1).tolist()]
        right = np.mean([a == label for a, (_, label) in zip(nearest, rows, strict=True)])
        assert main(command.split()) == 0
        assert f"{right:.4f}" in capsys.readouterr().out
        task = ftlight.TextClassification(backbone, labels=names, **head).eval()
        inputs = load_tokenizer(backbone)([rows[0][0]], return_tensors="pt")
        torch.testing.assert_close(task(dict(inputs))[0], 5 * cosines[0], atol=1e-4, rtol=0)

    each([bert, plain_bert], check)


def head_of(checkpoint: Path) -> torch.Tensor:
    weights = torch.load(checkpoint, weights_only=True)["state_dict"]
    head: torch.Tensor = weights["model.head.weight"]
    return head


@pytest.mark.run
def test_training_goes_on_from_the_names(bert: str, fit: Run, tmp_path: Path) -> None:
    """A step of a tiny rate leaves the head where the names put it; its export has its logits."""
    from sentence_transformers import SentenceTransformer

    (tmp_path / "labels.yaml").write_text("late: it is not here\n")
    texts = [text for text, _ in toy_rows(24)]
    test = write_csv(tmp_path / "test.csv", toy_rows(24))
    options = f"--data.shots 4 --data.test {test} --model.contrastive 0.5".split()
    described = "--model.label_descriptions labels.yaml --model.lr 1e-9".split()
    folder = fit(*NAMED, *described, *options)
    (tmp_path / "labels.yaml").unlink()  # a run does not need it any more
    started = head_of(folder / "checkpoints" / "best.ckpt")
    bare = embed(bert, ["bad", "good", "it is not here"])
    wrapped = embed(bert, [*ABOUT, "it is not here"])
    torch.testing.assert_close(started, F.normalize(bare + wrapped, dim=-1), atol=1e-5, rtol=0)
    folder = fit(*NAMED, *options, "--model.lr", "1e-3", epochs=3, name="trained")
    assert main(["test", str(folder)]) == 0
    assert main(["export", str(folder)]) == 0
    exported = SentenceTransformer(str(folder / "export"), device="cpu")
    logits = torch.from_numpy(np.asarray(exported.encode(texts)))
    names = json.loads((folder / "export" / "labels.json").read_text())["labels"]
    answers = ftlight.load(str(folder)).predict(texts)
    for ours, row in zip(answers, logits.softmax(-1).tolist(), strict=True):
        assert dict(zip(names, row, strict=True)) == pytest.approx(ours["probabilities"], abs=1e-4)


@pytest.mark.run
def test_few_rows_are_learned(fit: Run, tmp_path: Path) -> None:
    test = write_csv(tmp_path / "test.csv", toy_rows(30))
    few = ["--data.shots", "10", "--data.test", test, "--model.lr", "3e-3"]
    folder = fit(*NAMED, *few, "--model.contrastive", "0.5", epochs=10)
    assert json.loads((folder / "test_metrics.json").read_text())["test/accuracy"] >= 0.9
    with (folder / "test_predictions.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 30


@pytest.mark.run
def test_kept_activations_change_nothing(fit: Run, still: str) -> None:
    """Vectors are brought to their length above the point where kept activations are put in."""
    weights = []
    for cache in ("true", "false"):
        options = (
            f"--model.cache {cache} --model.unfreeze head --model.pooling mean "
            "--trainer.precision 32-true --data.shots 8"
        ).split()
        folder = fit(*NAMED, *options, backbone=still, epochs=3, name=f"cache_{cache}")
        weights.append(head_of(folder / "checkpoints" / "last.ckpt"))
    torch.testing.assert_close(*weights, atol=1e-5, rtol=0)


def test_what_cannot_be_is_said_in_a_line(bert: str, tmp_path: Path, capsys: Any) -> None:
    cases = [
        (
            NAMED,
            ("a|b", "b"),
            "model.head_init: labels needs exactly one label per row; these data are multi",
        ),
        (
            ["--model.contrastive", "1"],
            ("0.5", "1.5"),
            "model.contrastive needs exactly one label per row; these data are regression",
        ),
        (
            [*NAMED, "--model.pooling", "native"],
            LABELS,
            "model.head_init: labels needs a pooled text vector, which a native head does not give",
        ),
        (["--model.contrastive", "-1"], LABELS, "model.contrastive: -1 is out of range"),
        (NAMED, ("1", "2"), "1, 2 have no letters"),
    ]

    def check(options: list[str], labels: tuple[str, ...], fault: str) -> None:
        texts = [text for text, _ in toy_rows(30)]
        rows = [(text, labels[i % len(labels)]) for i, text in enumerate(texts)]
        data = write_csv(tmp_path / "rows.csv", rows)
        command = f"fit --model TextClassification --model.backbone {bert} --data.train {data}"
        assert main([*command.split(), "--run", "r", *options]) == 2
        assert fault in capsys.readouterr().err
        assert not (tmp_path / "r").exists()

    each(cases, check)
