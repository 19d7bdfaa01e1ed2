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
from conftest import Run, toy_rows, write_csv
from torch.nn import functional as F

import ftlight
from ftlight.__main__ import main
from ftlight.tasks.text_classification import few_shot
from ftlight.utils.errors import UserError

LABELS = ("good", "bad", "late")
NAMED = ["--model.head_init", "labels"]
ABOUT = ["This text is about bad.", "This text is about good."]


@pytest.mark.parametrize(
    ("name", "words"),
    [
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
    ],
)
def test_names_become_words(name: str, words: str) -> None:
    assert few_shot.clean(name) == words


def test_a_description_stands_for_a_name() -> None:
    found = few_shot.texts(["a_b", "7", "c"], ["About {}.", "{}"], {"7": "Seven"})
    assert found == [["About a b.", "Seven", "About c."], ["a b", "Seven", "c"]]


@pytest.mark.parametrize(
    ("labels", "template", "fault"),
    [
        (["a", "b"], "about it", "'about it' must contain {} once, for the label name"),
        (["a", "b"], "{} or {}", "must contain {} once"),
        (
            ["0", "1", "good"],
            "{}",
            "0, 1 have no letters; describe them with model.label_descriptions",
        ),
        (["lost_card", "lost card"], "{}", "lost_card and lost card both read 'lost card'"),
    ],
)
def test_names_that_say_nothing_are_refused(labels: list[str], template: str, fault: str) -> None:
    with pytest.raises(UserError) as error:
        few_shot.texts(labels, [template])
    assert fault in str(error.value)


@pytest.mark.parametrize(
    "content", ["NO: no answer\n1: a first\n", '{"NO": "no answer", "1": "a first"}']
)
def test_descriptions_come_from_a_file(content: str, tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_text(content)
    assert few_shot.descriptions("labels.yaml", ["NO", "1"]) == {"NO": "no answer", "1": "a first"}
    assert few_shot.descriptions({1: "a first"}, ["NO", "1"]) == {"1": "a first"}


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            {"lat": "not in time"},
            'no label lat; did you mean "late"? (labels: good, bad, late)',
        ),
        ({"late": ""}, "late: expected a text, got ''"),
        ({"late": ["a"]}, "late: expected a text"),
        (["late"], "expected a mapping from label to text, got list"),
        ("none.yaml", "no file none.yaml"),
        ("broken.yaml", "broken.yaml: neither YAML nor JSON"),
    ],
)
def test_wrong_descriptions_are_named(given: Any, fault: str, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("{a: b")
    with pytest.raises(UserError) as error:
        few_shot.descriptions(given, LABELS)
    assert fault in str(error.value)
    assert "\n" not in str(error.value)


def test_contrastive_loss_is_that_of_the_paper() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors, targets, temperature = (
        torch.randn(9, 5, generator=generator),
        torch.tensor([0, 1, 0, 2, 1, 1, 3, 2, 0]),
        0.2,
    )
    losses = []
    unit = [[v / math.sqrt(sum(w * w for w in row)) for v in row] for row in vectors.tolist()]
    close = [
        [math.exp(sum(x * y for x, y in zip(a, b, strict=True)) / temperature) for b in unit]
        for a in unit
    ]
    for i in range(9):
        partners = [p for p in range(9) if p != i and targets[p] == targets[i]]
        if partners:
            everyone = sum(close[i][a] for a in range(9) if a != i)
            losses.append(-sum(math.log(close[i][p] / everyone) for p in partners) / len(partners))
    expected = sum(losses) / len(losses)
    assert few_shot.contrastive(vectors, targets, temperature).item() == pytest.approx(
        expected, rel=1e-5
    )
    assert few_shot.contrastive(vectors * 7, targets, temperature).item() == pytest.approx(
        expected, rel=1e-5
    )


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

    model, tokenizer = (
        AutoModel.from_pretrained(backbone).eval(),
        AutoTokenizer.from_pretrained(backbone),
    )
    with torch.no_grad():
        rows = [
            model(**tokenizer(t, return_tensors="pt", truncation=True, max_length=64))
            .last_hidden_state[0]
            .mean(0)
            for t in texts
        ]
    return F.normalize(torch.stack(rows), dim=-1)


@pytest.mark.parametrize("pooled", [True, False], ids=["sentence encoder", "plain"])
def test_before_training_the_nearest_name_is_predicted(
    pooled: bool, bert: str, plain_bert: str, tmp_path: Path, capsys: Any
) -> None:
    backbone, rows = bert if pooled else plain_bert, toy_rows(30, ("good_film", "bad_film", "late"))
    data = write_csv(tmp_path / "rows.csv", rows)
    template, described = "a parcel is {}", {"late": "it is not here"}
    (tmp_path / "x.yaml").write_text(
        f"model: {{task: TextClassification, backbone: {backbone}, head_init: labels, label_template: '{template}',"
        f" label_descriptions: {json.dumps(described)}}}\ndata: {{train: {data}, validation: {data}}}\n"
    )
    names = ["bad_film", "good_film", "late"]
    cosines = (
        embed(backbone, [t for t, _ in rows])
        @ embed(backbone, ["a parcel is bad film", "a parcel is good film", "it is not here"]).T
    )
    right = np.mean(
        [names[i] == label for i, (_, label) in zip(cosines.argmax(1).tolist(), rows, strict=True)]
    )
    assert (
        main(
            [
                "validate",
                "-c",
                "x.yaml",
                "--trainer.accelerator",
                "cpu",
                "--trainer.precision",
                "32-true",
            ]
        )
        == 0
    )
    assert f"{right:.4f}" in capsys.readouterr().out
    task = ftlight.TextClassification(
        backbone,
        labels=names,
        head_init="labels",
        label_template=template,
        label_descriptions=described,
    )
    inputs = __import__("transformers").AutoTokenizer.from_pretrained(backbone)(
        [rows[0][0]], return_tensors="pt"
    )
    torch.testing.assert_close(task.eval()(dict(inputs))[0], 5 * cosines[0], atol=1e-4, rtol=0)


def test_training_goes_on_from_the_names(bert: str, fit: Run, tmp_path: Path) -> None:
    """A step of a tiny rate leaves the head where the names put it, and its export gives the same logits."""
    from sentence_transformers import SentenceTransformer

    (tmp_path / "labels.yaml").write_text("late: it is not here\n")
    test, texts = write_csv(tmp_path / "test.csv", toy_rows(24)), [t for t, _ in toy_rows(24)]
    options = [
        *NAMED,
        "--model.label_descriptions",
        "labels.yaml",
        "--data.shots",
        "4",
        "--data.test",
        test,
        "--model.contrastive",
        "0.5",
    ]
    folder = fit(*options, "--model.lr", "1e-9")
    (tmp_path / "labels.yaml").unlink()  # a run does not need it any more
    started = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"][
        "model.head.weight"
    ]
    both = [
        embed(bert, texts)
        for texts in (["bad", "good", "it is not here"], [*ABOUT, "it is not here"])
    ]
    torch.testing.assert_close(started, F.normalize(both[0] + both[1], dim=-1), atol=1e-5, rtol=0)
    folder = fit(
        *[w for w in options if "descriptions" not in w and w != "labels.yaml"],
        "--model.lr",
        "1e-3",
        epochs=3,
        name="trained",
    )
    assert main(["test", str(folder)]) == 0
    assert main(["export", str(folder)]) == 0
    logits = torch.from_numpy(
        np.asarray(SentenceTransformer(str(folder / "export"), device="cpu").encode(texts))
    )
    names = json.loads((folder / "export" / "labels.json").read_text())["labels"]
    for ours, row in zip(
        ftlight.load(str(folder)).predict(texts), logits.softmax(-1).tolist(), strict=True
    ):
        assert dict(zip(names, row, strict=True)) == pytest.approx(ours["probabilities"], abs=1e-4)


def test_few_rows_are_learned(fit: Run, tmp_path: Path) -> None:
    test = write_csv(tmp_path / "test.csv", toy_rows(30))
    few = ["--data.shots", "10", "--data.test", test, "--model.lr", "3e-3"]
    folder = fit(*NAMED, *few, "--model.contrastive", "0.5", epochs=10)
    assert json.loads((folder / "test_metrics.json").read_text())["test/accuracy"] >= 0.9
    with (folder / "test_predictions.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 30


def test_kept_activations_change_nothing(fit: Run, still: str) -> None:
    """The vector is brought to its length above the point where activations of a frozen backbone are put in."""
    weights = []
    for cache in ("true", "false"):
        options = [
            "--model.cache",
            cache,
            "--model.unfreeze",
            "head",
            "--model.pooling",
            "mean",
            "--trainer.precision",
            "32-true",
        ]
        folder = fit(
            *NAMED, *options, "--data.shots", "8", backbone=still, epochs=3, name=f"cache_{cache}"
        )
        weights.append(
            torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"][
                "model.head.weight"
            ]
        )
    torch.testing.assert_close(*weights, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("options", "labels", "fault"),
    [
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
        (["--model.contrastive", "-1"], LABELS, "model.contrastive: -1.0 is not a weight"),
        (NAMED, ("1", "2"), "1, 2 have no letters"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    options: list[str], labels: tuple[str, ...], fault: str, bert: str, tmp_path: Path, capsys: Any
) -> None:
    data = write_csv(
        tmp_path / "rows.csv",
        [(text, labels[i % len(labels)]) for i, (text, _) in enumerate(toy_rows(30))],
    )
    assert (
        main(
            [
                "fit",
                "--model",
                "TextClassification",
                "--model.backbone",
                bert,
                "--data.train",
                data,
                "--run",
                "r",
                *options,
            ]
        )
        == 2
    )
    assert fault in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
