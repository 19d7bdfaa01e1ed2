"""Retrieval: pairs and interactions; the catalogue, baselines and exports, computed twice."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import WORDS, each, make_bert, write_csv
from sklearn.metrics import ndcg_score
from tiny.retrieval import interactions, items

import ftlight
from ftlight.__main__ import main
from ftlight.data.sources import Source
from ftlight.tasks.retrieval.catalogue import read_items, read_pairs
from ftlight.tasks.retrieval.data import RetrievalData
from ftlight.tasks.retrieval.loss import contrast
from ftlight.tasks.retrieval.task import Retrieval
from ftlight.utils.errors import UserError

EVENTS = {
    "items": "items.csv",
    "item": "movieId",
    "text": ["title", "genres"],
    "user": "userId",
    "time": "timestamp",
    "held_out": 3,
}


def pair(i: int) -> tuple[str, ...]:
    """A query, what it seeks and a hard negative."""
    query = f"{WORDS[i % 20]} {WORDS[(i * 3) % 30]}"
    return query, f"{WORDS[i % 20]} and {WORDS[(i + 7) % 20]}", "the plot"


PAIRS = [*map(pair, range(40)), ("the a", "good film", "sad film|bad film")]


def pairs(
    folder: Path, name: str = "pairs.csv", rows: Sequence[tuple[str, ...]] = tuple(PAIRS)
) -> str:
    """Writes pairs to a file."""
    return write_csv(folder / name, list(rows), ("query", "positive", "negatives"))


def words(options: dict[str, Any]) -> list[str]:
    """Options of the data as words of a command line."""
    return [f"--data.{k}={json.dumps(v) if isinstance(v, list) else v}" for k, v in options.items()]


def fit(backbone: str, train: str, *more: str, run: str = "run", **options: Any) -> Path:
    """Trains a tiny run through the command line in this process. Returns its folder."""
    command = (
        f"fit --model Retrieval --model.backbone {backbone} --data.train {train} --run {run} "
        "--data.batch_size 8 --trainer.max_epochs 1 --trainer.accelerator cpu "
        "--trainer.precision 32-true"
    )
    assert main([*command.split(), *words(options), *more]) == 0
    return Path(run)


def scores(run: Path) -> dict[str, float]:
    metrics = json.loads((run / "test_metrics.json").read_text())
    return {name.removeprefix("test/"): value for name, value in metrics.items()}


def fails(capsys: Any, *command: str) -> str:
    assert main(list(command)) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    return str(err.replace("ftlight: error: ", "").strip())


def data(train: str, bert: str, **options: Any) -> RetrievalData:
    made = RetrievalData(train, tokenizer=bert, batch_size=8, **options)
    made.setup("fit")
    return made


# The loss


def test_the_loss_by_hand() -> None:
    def check(symmetric: bool) -> None:
        torch.manual_seed(0)
        given = torch.randn(4, 5)
        # rows 0 and 2 seek the same; items 3 and 4 are hard negatives
        positive = torch.tensor([0, 1, 0, 2])
        known = torch.zeros(4, 5, dtype=torch.bool)
        known[1, 2] = True  # row 1 seeks row 3's item, too
        wanted = []
        for i in range(4):
            row = [given[i, j].exp() for j in range(5) if not known[i, j]]
            loss = -(given[i, positive[i]].exp() / sum(row)).log()
            if symmetric:
                item = positive[i]
                others = [q for q in range(4) if positive[q] != item and not known[q, item]]
                column = sum(given[q, item].exp() for q in [i, *others])
                loss = (loss - (given[i, item].exp() / column).log()) / 2
            wanted.append(loss)
        expected = torch.stack(wanted).mean().item()
        found = contrast(given, positive, known, symmetric).item()
        assert found == pytest.approx(expected, rel=1e-5)

    each([False, True], check)


# Pairs


def test_pairs_of_one_query_are_one_row(tmp_path: Path) -> None:
    lines = [
        '{"q": "a", "p": "x", "n": "y|z"}',
        '{"q": "b", "p": ["x", "w"], "n": []}',
        '{"q": "a", "p": "w", "n": ["y"]}',
    ]
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    assert list(read_pairs(Source("p.jsonl", "train"), "q", "p", "n", "")) == [
        {"query": "a", "positives": ["x", "w"], "negatives": ["y", "z"], "line": 1},
        {"query": "b", "positives": ["x", "w"], "negatives": [], "line": 2},
    ]


def test_faults_of_pairs_name_the_line(tmp_path: Path) -> None:
    cases = [
        (("", "x", ""), "pairs.csv:2: column query is empty"),
        (("a", " ", ""), "pairs.csv:2: column positive is empty"),
        (("a", "x", "y|x"), "pairs.csv:2: 'x' is in positive and in negatives of the same query"),
    ]

    def check(row: tuple[str, ...], said: str) -> None:
        source = Source(pairs(tmp_path, rows=[row]), "train")
        with pytest.raises(UserError) as error:
            list(read_pairs(source, "query", "positive", "negatives", ""))
        assert said in str(error.value)

    each(cases, check)


def test_faults_of_items_name_the_line(tmp_path: Path) -> None:
    cases = [
        (("1", ""), "i.csv:3: the item has no text"),
        (("", "x"), "i.csv:3: the item has no id in column id"),
        (("0", "y"), "i.csv:3: item 0 is in line 2 too"),
    ]

    def check(row: tuple[str, ...], said: str) -> None:
        source = Source(write_csv(tmp_path / "i.csv", [("0", "x"), row], ("id", "text")))
        with pytest.raises(UserError) as error:
            read_items(source, "id", ["text"])
        assert said in str(error.value)

    each(cases, check)


def test_a_batch_of_pairs(bert: str, tmp_path: Path) -> None:
    """Items are encoded once; a query's negatives are neither what it seeks nor itself."""
    rows = [("a", "x", "n"), ("a", "y", ""), ("b", "x", ""), ("x", "z", "")]
    module = data(pairs(tmp_path, rows=rows), bert, negatives="negatives", validation_split=0.0)
    batch = module.collate(module.sets["train"][[0, 1, 2, 3]], [0, 1, 2, 3])
    texts = module.tokenizer.batch_decode(batch["items"]["input_ids"], skip_special_tokens=True)
    assert texts == ["x", "y", "z", "n"]
    assert batch["positive"].tolist() == [0, 1, 0, 2]
    assert batch["known"].int().tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert module.catalogue.counts == [2, 1, 1, 0]


def test_pairs_with_a_table_of_items(bert: str, tmp_path: Path, capsys: Any) -> None:
    """What is sought is given by its id or its text; items that nothing seeks are ranked, too."""
    texts = [("1", "good film"), ("2", "bad film"), ("3", "plot")]
    table = write_csv(tmp_path / "i.csv", texts, ("item", "text"))
    rows = [("a", "2", ""), ("b", "good film", ""), ("c", "2", "")]
    module = data(pairs(tmp_path, rows=rows), bert, items=table, validation_split=0.0)
    assert [t[0] for t in module.sets["train"].targets] == [1, 0, 1]
    assert module.catalogue.ids == ["1", "2", "3"]
    assert module.catalogue.counts == [1, 2, 0]
    file = pairs(tmp_path, rows=[rows[0], ("b", "4", "")])
    with pytest.raises(UserError, match=r"pairs.csv:3: item 4 is not in .*i.csv"):
        data(file, bert, items=table, validation_split=0.0)


def test_hard_negatives_and_prompts_reach_the_model(bert: str, tmp_path: Path) -> None:
    prompts = {"query_prompt": "how ", "item_prompt": "it is "}
    module = data(pairs(tmp_path), bert, negatives="negatives", **prompts)
    batch = next(iter(module.train_dataloader()))
    texts = module.tokenizer.batch_decode(batch["items"]["input_ids"], skip_special_tokens=True)
    assert all(t.startswith("it is ") for t in texts)
    assert "it is the plot" in texts
    queries = module.tokenizer.batch_decode(batch["inputs"]["input_ids"], skip_special_tokens=True)
    assert all(t.startswith("how ") for t in queries)


@pytest.mark.run
def test_training_finds_what_it_was_taught(tmp_path: Path) -> None:
    """Each query seeks an item without a word in common: only training tells which."""

    def seeking(seconds: list[str]) -> list[tuple[str, ...]]:
        firsts = enumerate(WORDS[:8])
        return [(f"{a} {b}", f"{WORDS[29 - i]} film", "") for i, a in firsts for b in seconds]

    held = seeking(WORDS[20:22])
    files = {"validation": pairs(tmp_path, "v.csv", held), "test": pairs(tmp_path, "t.csv", held)}
    train = pairs(tmp_path, "p.csv", seeking(WORDS[10:20]))
    options = ["--trainer.max_epochs=6", "--model.lr=3e-3"]
    run = fit(str(make_bert(tmp_path / "m")), train, *options, run="taught", **files)
    found = scores(run)
    assert found["recall@1"] > 0.9
    assert found["untuned_ndcg@10"] < 0.7
    assert found["ndcg@10_over_untuned_low"] > 0.2
    assert found["loss"] < 1


# The whole catalogue, against independent computations


@pytest.fixture(scope="module")
def recommended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a run on interactions."""
    folder = tmp_path_factory.mktemp("recommended")
    os.chdir(folder)
    make_bert(folder / "bert")
    interactions(folder)
    items(folder)
    fit(str(folder / "bert"), "events.csv", **EVENTS)
    return folder


def exported(folder: Path) -> Path:
    out = folder / "run" / "export"
    if not out.exists():
        assert main(["export", str(folder / "run")]) == 0
    return out


def by_hand(
    encoder: Any, rows: list[dict[str, str]], prior: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[list[str]]]:
    """Scores of all items for each user, what was sought, and all that each user had.

    The last three items of a user are sought; up to ten before them are the query.
    """
    table = list(csv.DictReader(open("items.csv")))
    texts = {r["movieId"]: f"{r['title']}, {r['genres']}" for r in table}
    order = list(texts)
    users = sorted({r["userId"] for r in rows})
    mine: dict[str, list[str]] = {u: [] for u in users}
    for row in sorted(rows, key=lambda row: float(row["timestamp"])):
        mine[row["userId"]].append(row["movieId"])
    histories = []
    for user in users:
        latest = reversed(mine[user][:-3][-10:])
        histories.append("; ".join(texts[item] for item in latest))
    queries = encoder.encode(histories, normalize_embeddings=True)
    found = queries @ encoder.encode(list(texts.values()), normalize_embeddings=True).T + prior
    wanted = np.zeros_like(found)
    for n, u in enumerate(users):
        wanted[n, [order.index(i) for i in mine[u][-3:]]] = 1
        found[n, [order.index(i) for i in mine[u][:-3]]] = -100
    return found, wanted, [mine[u] for u in users]


def recall(found: np.ndarray, wanted: np.ndarray, k: int) -> float:
    best = np.argsort(-found, axis=1, kind="stable")[:, :k]
    return float(np.mean([w[b].sum() / w.sum() for b, w in zip(best, wanted, strict=True)]))


@pytest.mark.run
def test_metrics_as_from_sentence_transformers_and_scikit_learn(
    recommended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export's vectors, ranked by hand, give the run's own figures; so do both baselines."""
    from sentence_transformers import SentenceTransformer

    monkeypatch.chdir(recommended)
    out, measured = exported(recommended), scores(recommended / "run")
    rows = list(csv.DictReader(open("events.csv")))
    catalogue = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
    prior = np.array([i["prior"] for i in catalogue])
    found, wanted, mine = by_hand(SentenceTransformer(str(out)), rows, prior)
    assert measured["rows"] == 9
    assert measured["ndcg@10"] == pytest.approx(ndcg_score(wanted, found, k=10), abs=1e-5)
    assert measured["recall@5"] == pytest.approx(recall(found, wanted, 5), abs=1e-5)
    untuned, _, _ = by_hand(SentenceTransformer("bert"), rows, prior)
    assert measured["untuned_ndcg@10"] == pytest.approx(ndcg_score(wanted, untuned, k=10), abs=1e-5)
    assert measured["untuned_ndcg@10"] != measured["ndcg@10"]
    counts = np.array([sum(i["id"] in had[:-6] for had in mine) for i in catalogue], dtype=float)
    assert prior == pytest.approx(0.05 * np.log(counts + 1), abs=1e-6)
    known = np.where(found == -100, -100, np.tile(counts, (9, 1)))
    assert measured["popularity_recall@10"] == pytest.approx(recall(known, wanted, 10), abs=1e-6)
    assert measured["ndcg@10_low"] <= measured["ndcg@10"] <= measured["ndcg@10_high"]


@pytest.mark.run
def test_a_run_that_is_moved_measures_the_same(
    recommended: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And leaves out the untuned figures where the pre-trained weights are not."""
    monkeypatch.chdir(recommended)
    before = scores(recommended / "run")
    monkeypatch.setattr("ftlight.tasks.retrieval.task.CELLS", 70)  # two queries at once
    moved = tmp_path / "moved"
    shutil.copytree("run", moved)
    assert main(["test", str(moved)]) == 0
    again = scores(moved)
    assert again == pytest.approx(before, nan_ok=True)
    shutil.move("bert", "elsewhere")
    try:
        assert main(["test", str(moved)]) == 0
        shutil.move("events.csv", "elsewhere.csv")
        shutil.move("items.csv", "items")
        # the catalogue is the run's own
        assert main(["predict", str(moved), "--text", "i1|i2"]) == 0
    finally:
        places = {"elsewhere": "bert", "elsewhere.csv": "events.csv", "items": "items.csv"}
        for old, new in places.items():
            if Path(old).exists():
                shutil.move(old, new)
    assert {k for k in before if k not in scores(moved)} == {k for k in before if "untuned" in k}


@pytest.mark.run
def test_the_zero_shot_figure_is_that_of_the_untuned(
    recommended: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(recommended)
    model = {"task": "Retrieval", "backbone": str(recommended / "bert")}
    config = {"model": model, "data": {"train": "events.csv", **EVENTS}}
    (recommended / "x.yaml").write_text(json.dumps(config))
    assert main(["validate", "-c", "x.yaml", "--trainer.precision", "32-true"]) == 0
    assert "val ndcg@10" in capsys.readouterr().out


@pytest.mark.run
def test_recommendations(
    recommended: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A row for each user of a file; never what the user had; the same from a list of ids."""
    monkeypatch.chdir(recommended)
    had = [("u", "i3", "2"), ("u", "i1", "1"), ("v", "i2", "1")]
    new = write_csv(tmp_path / "new.csv", had, ("userId", "movieId", "timestamp"))
    assert main(["predict", "run", new, "--out", str(tmp_path / "out.jsonl")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(r["userId"], r["history"]) for r in rows] == [("u", ["i1", "i3"]), ("v", ["i2"])]
    first = rows[0]
    assert len(first["items"]) == 10
    assert first["prediction"] == first["items"][0]["text"]
    assert first["id"] == first["items"][0]["id"]
    ranked = [i["score"] for i in first["items"]]
    assert ranked == sorted(ranked, reverse=True)
    assert not {"i1", "i3"} & {i["id"] for i in first["items"]}
    assert main(["predict", "run", new]) == 0  # in a CSV the items are JSON
    row = next(csv.DictReader(open("run/predictions/new.csv")))
    assert len(json.loads(row["items"])) == 10
    model = ftlight.load("run")
    ids, text = model.predict([{"history": "i1|i3"}, {"history": "a small film"}])
    assert [i["id"] for i in ids["items"]] == [i["id"] for i in first["items"]]
    assert len(text["items"]) == 10


@pytest.mark.run
def test_faults_of_interactions(
    recommended: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    monkeypatch.chdir(recommended)
    assert "item i99 is not in" in fails(capsys, "predict", "run", "--text", "i1|i99")
    events = [("u", f"i{n}", str(n)) for n in range(9)]
    bad = write_csv(
        tmp_path / "bad.csv", [*events, ("u", "i77", "9")], ("userId", "movieId", "timestamp")
    )
    backbone = recommended / "bert"
    base = f"fit --model Retrieval --model.backbone {backbone} --run {tmp_path / 'r'}".split()
    train = ["--data.train", bad]
    later = words({**EVENTS, "held_out": 30})
    cases = [
        ([*train, *words(EVENTS)], "item i77 is not in"),
        ([*train, *words(EVENTS), "--data.test", "events.csv"], "give them all as data.train"),
        ([*train, "--data.user", "userId"], "data.items: interactions need a table"),
        (["--data.train", "events.csv", *later], "lower data.held_out"),
        (
            [*train, *words(EVENTS), "--model.temperature", "0"],
            "model.temperature: 0 is out of range; it must be above 0",
        ),
    ]

    def check(options: list[str], fault: str) -> None:
        assert fault in fails(capsys, *base, *options)

    each(cases, check)


@pytest.mark.run
def test_another_table_of_items(
    recommended: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A run recommends from a table that was not there in training."""
    monkeypatch.chdir(recommended)
    new = [("i1", "the plot", "good"), ("n1", "a film", "bad")]
    table = write_csv(tmp_path / "new.csv", new, ("movieId", "title", "genres"))
    out = tmp_path / "o.jsonl"
    assert main(f"predict run --text i1 --data.items {table} --out {out}".split()) == 0
    row = json.loads(out.read_text())
    assert [i["id"] for i in row["items"]] == ["n1"]


@pytest.mark.run
def test_a_test_brings_items_of_its_own(bert: str, tmp_path: Path) -> None:
    good = ("plot", "good film", "")
    test = pairs(tmp_path, "t.csv", [("the a", "a new thing", ""), good])
    run = fit(bert, pairs(tmp_path), test=test)
    assert "a new thing" in (run / "catalogue.jsonl").read_text()
    before = scores(run)
    other = pairs(tmp_path, "u.csv", [("the a", "another new thing", ""), good])
    assert main(["test", str(run), "--data.test", other]) == 0
    again = json.loads((run / "test-u.csv_metrics.json").read_text())
    assert again["test/loss"] != before["loss"]
    assert main(["predict", str(run), "--text", "good film"]) == 0
    (answer,) = ftlight.load(str(run)).predict(["good film"])
    # the query itself is not its answer
    assert "good film" not in [item["text"] for item in answer["items"]]


@pytest.mark.run
def test_frozen_layers_run_once_with_the_same_result(tmp_path: Path) -> None:
    bert = str(make_bert(tmp_path / "m", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
    found = []
    for cache in ("true", "false"):
        options = f"--model.unfreeze last:1 --model.cache {cache} --trainer.max_epochs 2".split()
        run = fit(bert, pairs(tmp_path), *options, run=cache)
        rows = csv.DictReader((run / "metrics.csv").open())
        found.append([float(row["value"]) for row in rows if row["name"] == "val/loss"])
    assert len(found[0]) == 2
    assert found[0] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.run
@pytest.mark.processes
def test_two_processes_measure_as_one(
    recommended: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each encodes a share of the catalogue and of the users."""
    monkeypatch.chdir(recommended)
    one = scores(recommended / "run")
    run = tmp_path / "copy"
    shutil.copytree("run", run)
    ours = ("MASTER_", "PL_", "LOCAL_", "NODE_", "WORLD_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    options = f"-m ftlight test {run} --trainer.devices 2 --trainer.strategy ddp".split()
    done = subprocess.run(
        [sys.executable, *options],
        capture_output=True,
        text=True,
        timeout=240,
        env=clean,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert scores(run) == pytest.approx(one, abs=1e-5)


def test_any_text_backbone(plain_bert: str, tmp_path: Path, capsys: Any) -> None:
    assert Retrieval(plain_bert).pooling == "mean"
    with pytest.raises(UserError, match="native gives no vectors"):
        Retrieval(plain_bert, pooling="native")
