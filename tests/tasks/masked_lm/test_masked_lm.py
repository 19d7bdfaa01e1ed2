"""Masking, windows, the loss over masked tokens, and the adapted backbone in another task."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import WORDS, each, make_bert, same, save_tokenizer, toy_rows, write_csv

import ftlight
from ftlight.__main__ import main
from ftlight.models.loading import load_tokenizer
from ftlight.tasks.masked_lm import masking
from ftlight.tasks.masked_lm.data import MaskedData, specials
from ftlight.tasks.masked_lm.task import MaskedLM
from ftlight.utils.errors import UserError


@pytest.fixture(scope="module")
def distil(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny DistilBERT, whose head has several parts."""
    from transformers import DistilBertConfig, DistilBertForMaskedLM

    folder = tmp_path_factory.mktemp("distil")
    size = save_tokenizer(folder)
    torch.manual_seed(0)
    sizes = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
    config = DistilBertConfig(vocab_size=size, max_position_embeddings=64, pad_token_id=0, **sizes)
    DistilBertForMaskedLM(config).save_pretrained(folder)
    return str(folder)


def texts(path: Path, rows: int = 60, words: int = 12) -> str:
    """Writes a row of some words in each line."""
    lines = []
    for row in range(rows):
        chosen = [WORDS[(row * 5 + i * 3) % len(WORDS)] for i in range(words)]
        lines.append(" ".join(chosen) + "\n")
    path.write_text("".join(lines))
    return str(path)


# Which tokens


def test_a_share_is_chosen() -> None:
    def check(share: float, whole: bool) -> None:
        for seed in range(30):
            rng = np.random.default_rng(seed)
            free = rng.random(60) < 0.8
            words = np.repeat(np.arange(20), 3)
            chosen = masking.choose(free, words if whole else None, share, rng)
            assert not (chosen & ~free).any()
            wanted = max(1, round(free.sum() * share))
            assert wanted <= chosen.sum() <= wanted + (2 if whole else 0)
            if whole:
                assert all(len(set(chosen[(words == w) & free])) <= 1 for w in range(20))

    each(itertools.product([0.05, 0.15, 0.5, 0.9], [False, True]), check)


def test_nothing_to_choose_from() -> None:
    rng = np.random.default_rng(0)
    assert masking.choose(np.zeros(3, dtype=bool), None, 0.15, rng).sum() == 0
    one = np.array([False, True])
    assert masking.choose(one, None, 0.01, rng).tolist() == [False, True]


def test_eighty_ten_ten() -> None:
    ids, others = np.full(20_000, 7), np.arange(100, 200)
    chosen = np.arange(20_000) < 10_000
    out = masking.corrupt(ids, chosen, 4, others, np.random.default_rng(0))
    assert (out[~chosen] == 7).all()
    shares = [
        (out[chosen] == 4).mean(),
        np.isin(out[chosen], others).mean(),
        (out[chosen] == 7).mean(),
    ]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.015)


# Texts


def test_no_token_of_a_long_text_is_lost(plain_bert: str, tmp_path: Path) -> None:
    long = " ".join(WORDS * 5)
    (tmp_path / "a.txt").write_text(f"{long}\n\nthe parcel\n")
    data = MaskedData("a.txt", tokenizer=plain_bert, validation_split=0, max_length=20)
    data.setup("fit")
    table = data.load_split("train")
    expected = load_tokenizer(plain_bert)(long, add_special_tokens=False)["input_ids"]
    assert [token for ids in table["__ids"][:-1] for token in ids] == expected
    assert " ".join(table["text"][:-1]) == long
    assert table["document"][:] == [0] * (len(table) - 1) + [1]
    assert table["line"][:] == [1] * (len(table) - 1) + [3]
    assert max(map(len, table["__ids"])) <= 18
    assert any("2 documents read in" in note for note in data.notes)


def test_windows_of_a_document_stay_on_one_side(plain_bert: str, tmp_path: Path) -> None:
    file = texts(tmp_path / "a.txt", 20, 50)
    data = MaskedData(file, tokenizer=plain_bert, validation_split=0.2, max_length=20)
    data.setup("fit")
    train, validation = (set(data.load_split(s)["document"]) for s in ("train", "validation"))
    assert len(train) == 16
    assert len(validation) == 4
    assert not train & validation


def test_the_forms_of_data(plain_bert: str, tmp_path: Path) -> None:
    def check(form: str) -> None:
        lines = ["the parcel", "is late"]
        path = tmp_path / f"a.{form}"
        options: dict[str, Any] = {}
        if form == "paragraph":
            path = tmp_path / "paragraphs.txt"
            options = {"document": "paragraph"}
            path.write_text("the\nparcel\n\n\nis late")
        elif form == "txt":
            path.write_text("the parcel\n\nis late\n")
        elif form == "csv":
            write_csv(path, [("the parcel",), ("is late",), ("",)], ("body",))
            options = {"text": "body"}
        else:
            path.write_text("".join(json.dumps({"text": t}) + "\n" for t in lines))
        data = MaskedData(str(path), tokenizer=plain_bert, validation_split=0, **options)
        assert [" ".join(t.split()) for t in data.load_split("train")["text"]] == lines

    each(["txt", "paragraph", "csv", "jsonl"], check)


def test_special_tokens_stand_around(plain_bert: str, llama: str) -> None:
    assert specials(load_tokenizer(plain_bert)) == ([2], [3])


# Masks by epoch and row


def batches(
    data: MaskedData, epoch: int, rows: list[list[int]]
) -> dict[int, tuple[list[int], list[int]]]:
    """What the model sees of each row, and what it is to predict."""
    found = {}
    for numbers in rows:
        columns = {**data.sets["train"][numbers], "epoch": [epoch] * len(numbers)}
        batch = data.collate(columns, numbers)
        targets = torch.split(batch["targets"], batch["sizes"])
        for i, number in enumerate(numbers):
            real = batch["inputs"]["attention_mask"][i].bool()
            assert batch["masked"][i].sum() == len(targets[i])
            found[number] = (batch["inputs"]["input_ids"][i][real].tolist(), targets[i].tolist())
    return found


def test_masks_are_a_function_of_seed_epoch_and_row(
    plain_bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = MaskedData(texts(tmp_path / "a.txt", 8), tokenizer=plain_bert, validation_split=0)
    data.setup("fit")
    monkeypatch.setenv("PL_GLOBAL_SEED", "1")
    alone, together = [[i] for i in range(8)], [[3, 1], [7, 0, 2, 4], [5, 6]]
    first = batches(data, 0, alone)
    assert first == batches(data, 0, together)
    assert first != batches(data, 1, alone)
    fixed = batches(data, -1, alone)
    monkeypatch.setenv("PL_GLOBAL_SEED", "2")
    assert first != batches(data, 0, alone)
    assert fixed == batches(data, -1, together)  # the same for every seed of a run


def masks_by_epoch(data: MaskedData) -> None:
    """Training masks anew in every epoch, and an epoch always alike."""
    data.setup("fit")
    epochs = [0]
    loader = data.loader(lambda epoch: [np.arange(8)], data.sets["train"], lambda: (epochs[-1], 0))
    seen = []
    for epoch in (0, 1, 0):
        epochs.append(epoch)
        (batch,) = list(loader)
        seen.append(batch["inputs"]["input_ids"])
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[1])


def test_training_masks_anew_in_every_epoch(plain_bert: str, tmp_path: Path) -> None:
    options = {"tokenizer": plain_bert, "validation_split": 0, "batch_size": 8}
    masks_by_epoch(MaskedData(texts(tmp_path / "a.txt", 8), **options))


@pytest.mark.processes
def test_workers_mask_anew_in_every_epoch(plain_bert: str, tmp_path: Path) -> None:
    options = {"tokenizer": plain_bert, "validation_split": 0, "batch_size": 8}
    masks_by_epoch(MaskedData(texts(tmp_path / "a.txt", 8), workers=2, **options))


# Loss


def test_the_loss_is_that_of_transformers(request: Any, tmp_path: Path) -> None:
    def check(name: str) -> None:
        backbone = request.getfixturevalue(name)
        file = texts(tmp_path / "a.txt", 8)
        data = MaskedData(file, tokenizer=backbone, validation_split=0, batch_size=8)
        data.setup("fit")
        torch.manual_seed(0)
        task = MaskedLM(backbone).eval()
        assert task.model.get_output_embeddings().weight is task.model.get_input_embeddings().weight
        batch = data.collate({**data.sets["train"][[*range(8)]], "epoch": [0] * 8}, [*range(8)])
        labels = torch.full_like(batch["inputs"]["input_ids"], -100)
        labels[batch["masked"]] = batch["targets"]
        with torch.no_grad():
            stock = task.model(**batch["inputs"], labels=labels)
            step = task.evaluate(batch)
        assert step.loss is not None
        assert step.loss.item() == pytest.approx(stock.loss.item(), abs=1e-5)
        assert step.weight == len(batch["targets"])
        evidence = task.compute_metrics(step.outputs, None, [{}] * 8)
        assert evidence.values["perplexity"] == pytest.approx(math.exp(stock.loss.item()), rel=1e-4)
        right = (stock.logits.argmax(-1)[batch["masked"]] == batch["targets"]).float().mean().item()
        assert evidence.values["accuracy"] == pytest.approx(right)
        low, high = evidence.intervals["perplexity"]
        assert low < evidence.values["perplexity"] < high
        train = task.train().step(batch).loss
        assert train is not None
        assert train.requires_grad

    each(["plain_bert", "distil"], check)


def test_a_decoder_has_no_mask(llama: str, tmp_path: Path, capsys: Any) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(llama)
    tokenizer.mask_token = None
    folder = tmp_path / "decoder"
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text((Path(llama) / "config.json").read_text())
    with pytest.raises(UserError, match=r"has no mask token.*CausalLM"):
        MaskedLM(str(folder))


def test_a_share_that_is_none() -> None:
    def check(share: float) -> None:
        with pytest.raises(UserError, match=r"data\.mask: .* is out of range"):
            MaskedData("a.txt", mask=share)

    each([0.0, 1.0, 15], check)


# Command line


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a sentence encoder on a text file."""
    folder = tmp_path_factory.mktemp("adapted")
    bert = make_bert(folder / "bert")
    pooling = {"embedding_dimension": 32, "pooling_mode": "cls"}
    (bert / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    train, test = texts(folder / "train.txt", 120), texts(folder / "test.txt", 20)
    command = (
        f"fit --model MaskedLM --model.backbone {bert} --data.train {train} --data.test {test} "
        "--data.batch_size 16 --trainer.max_epochs 6 --model.lr 0.005 --trainer.accelerator cpu "
        f"--run {folder / 'run'}"
    )
    assert main(command.split()) == 0
    return folder / "run"


@pytest.mark.run
def test_it_learns_and_tells_perplexity(adapted: Path) -> None:
    scores = json.loads((adapted / "test_metrics.json").read_text())
    assert scores["test/perplexity"] == pytest.approx(math.exp(scores["test/loss"]), rel=1e-4)
    low, high = scores["test/perplexity_low"], scores["test/perplexity_high"]
    assert low < scores["test/perplexity"] < high
    assert scores["test/perplexity"] < 60 < len(load_tokenizer(str(adapted / "backbone")))


@pytest.mark.run
def test_the_adapted_backbone_serves_another_task(adapted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["export", str(adapted), "--out", str(out)]) == 0
    assert (out / "1_Pooling" / "config.json").is_file()
    data = write_csv(tmp_path / "toy.csv", toy_rows(60))
    command = (
        f"fit --model TextClassification --model.backbone {out} --data.train {data} "
        "--trainer.max_epochs 1 --trainer.accelerator cpu --run next --test false"
    )
    assert main(command.split()) == 0
    task = ftlight.TextClassification(str(out), labels=["a", "b"])
    assert task.pooling == "cls"
    body = task.model.base_model
    same(ftlight.load(str(adapted)).task.model.base_model, body)
    start = MaskedLM(str(adapted.parent / "bert")).model.base_model
    before = start.embeddings.word_embeddings.weight
    assert not torch.equal(before, body.embeddings.word_embeddings.weight)


@pytest.mark.run
def test_stock_libraries_load_it(adapted: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from transformers import pipeline

    out = tmp_path / "out"
    assert main(["export", str(adapted), "--out", str(out)]) == 0
    (stock,) = pipeline("fill-mask", str(out), top_k=1, device="cpu")("the parcel is [MASK]")
    (ours,) = ftlight.load(str(adapted)).predict(["the parcel is [MASK]"])
    assert ours["prediction"] == [stock["token_str"]]
    assert ours["score"] == pytest.approx(stock["score"], abs=1e-3)
    assert ours["perplexity"] is None
    task = ftlight.TextClassification(str(out), labels=["a", "b"]).eval()
    tokens = load_tokenizer(str(out))("the parcel", return_tensors="pt")
    first = task.model.base_model(**tokens).last_hidden_state[:, 0]
    encoder = SentenceTransformer(str(out), device="cpu")
    vector = encoder.encode(["the parcel"], convert_to_tensor=True)
    assert torch.allclose(vector, first, atol=1e-5)


@pytest.mark.run
def test_predicts_files(adapted: Path, tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("the parcel is late\n" + " ".join(WORDS * 4) + "\n")
    assert main(["predict", str(adapted), str(tmp_path / "new.txt"), "--out", "out.jsonl"]) == 0
    short, long = (json.loads(line) for line in Path("out.jsonl").read_text().splitlines())
    assert len(short["prediction"]) == 1
    assert len(long["prediction"]) > 20
    assert long["perplexity"] > 1


@pytest.mark.run
def test_frozen_layers_and_whole_words(tmp_path: Path, plain_bert: str) -> None:
    train = texts(tmp_path / "a.txt", 40)
    command = (
        f"fit --model MaskedLM --model.backbone {plain_bert} --data.train {train} "
        "--model.unfreeze lp_ft --data.whole_words true --trainer.max_epochs 2 "
        "--trainer.accelerator cpu --run r --test false"
    )
    assert main(command.split()) == 0


def test_it_has_no_answer_to_explain(bert: str) -> None:
    with pytest.raises(UserError, match="cannot explain: it has no support of answers"):
        MaskedLM(bert).asked({"prediction": ["parcel"], "score": 0.5})
