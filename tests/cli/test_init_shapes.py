"""``init`` and then one step of ``fit``, over all shapes of data that people bring."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import each, write_csv
from tiny import image_classification as images
from tiny import spreadsheet
from tiny.causal_lm import make_decoder

from ftlight.__main__ import main
from ftlight.utils.yaml_file import read_yaml

COUNT = 40
WORDS = ("parcel", "card", "refund", "order", "film", "money")
Make = Callable[[Path], str]


def text(i: int, more: str = "") -> str:
    """A text of a few words that no other row has."""
    return f"{WORDS[i % 6]} {WORDS[i // 6 % 6]} number {i} is {'good' if i % 2 else 'late'}{more}"


def labelled(count: int = COUNT) -> list[tuple[str, str]]:
    return [(text(i), "good" if i % 2 else "late") for i in range(count)]


def rows_of(name: str, rows: list[dict[str, Any]], form: str = "lines") -> Make:
    """A shape: rows as JSON lines, an array, Parquet."""

    def make(folder: Path) -> str:
        path = folder / name
        if form == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        elif form == "array":
            path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return make


def lines_of(name: str, lines: list[str], encoding: str = "utf-8") -> Make:
    """A shape: a text file."""

    def make(folder: Path) -> str:
        data = ("\r\n".join(lines) + "\r\n").encode(encoding)
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return str(folder / name)

    return make


# Texts with a label


def tables() -> Iterator[tuple[str, str, Make]]:
    plain = [f"{t},{k}" for t, k in labelled()]
    marked = [line.replace("number", "n\u00famero caf\u00e9 \u2013") for line in plain]
    dirty = [*plain[:30], "one more,Good ", "two more,", "three more,"]
    russian = [f"мой заказ номер {i},{'хорошо' if i % 2 else 'поздно'}" for i in range(COUNT)]
    chinese = [f"我的订单号码是{i},{'好的' if i % 2 else '太慢了'}" for i in range(COUNT)]
    for name, lines, encoding in (
        ("plain.csv", ["text,label", *plain], "utf-8"),
        ("mark.csv", ["text,label", *plain], "utf-8-sig"),
        ("packed.csv.gz", ["text,label", *plain], "utf-8"),
        ("semicolon.csv", ["text;label", *(x.replace(",", ";") for x in marked)], "cp1252"),
        ("mac.csv", ["text,label", *marked], "mac_roman"),
        ("wide.csv", ["text,label", *marked], "utf-16"),
        ("wide_bare.csv", ["text,label", *plain], "utf-16-le"),
        ("russian.csv", ["text,label", *russian], "cp1251"),
        ("chinese.csv", ["text,label", *chinese], "gb18030"),
        ("tabs.tsv", ["text\tlabel", *(x.replace(",", "\t") for x in plain)], "utf-8"),
        ("bars.csv", ["text|label", *(x.replace(",", "|") for x in plain)], "utf-8"),
        ("told.csv", ["sep=;", "text;label", *(x.replace(",", ";") for x in plain)], "utf-8"),
        ("dirty.csv", ["text,label", *dirty], "utf-8"),
        ("no_header.csv", [",".join(x.split(",")[::-1]) for x in plain], "utf-8"),
        (
            "spam.csv",
            ["v1,v2,,,", *(",".join(x.split(",")[::-1]) + ",,," for x in plain)],
            "cp1252",
        ),
        (
            "joined.csv",
            [
                "text,tags",
                *(
                    f'{text(i)},"a,{"bcd"[i % 3]}"' if i % 3 else f"{text(i)},{'abcd'[i % 4]}"
                    for i in range(COUNT)
                ),
            ],
            "utf-8",
        ),
        (
            "bits.csv",
            ["text,toxic,rude", *(f"{text(i)},{i % 2},{i % 3 // 2}" for i in range(COUNT))],
            "utf-8",
        ),
        (
            "prices.csv",
            ["text,price", *(f"{text(i)},{97_000 + 7.5 * i}" for i in range(COUNT))],
            "utf-8",
        ),
        ("few.csv", ["text,label", *plain[:4]], "utf-8"),
    ):
        yield name, "TextClassification", lines_of(name, lines, encoding)
    pairs = [f"{t},{text(i, ' too')},{k}" for i, (t, k) in enumerate(labelled())]
    yield (
        "pairs.csv",
        "TextClassification",
        lines_of("pairs.csv", ["sentence1,sentence2,label", *pairs]),
    )
    rows = [{"text": t, "label": k} for t, k in labelled()]
    yield "array.json", "TextClassification", rows_of("array.json", rows, "array")
    yield "rows.parquet", "TextClassification", rows_of("rows.parquet", rows, "parquet")
    lists = [
        {"text": t, "label": ["x", k] if i % 3 else [k]} for i, (t, k) in enumerate(labelled())
    ]
    yield "lists.jsonl", "TextClassification", rows_of("lists.jsonl", lists)
    data = [
        ["text", "label", "on"],
        *([t, k, (45000 + i, 1)] for i, (t, k) in enumerate(labelled())),
    ]
    data.insert(9, [])
    yield (
        "book.xlsx",
        "TextClassification",
        lambda folder: spreadsheet.write(folder / "book.xlsx", {"One": data, "Two": [["x"]]}),
    )
    bare = [[k, t] for t, k in labelled()]
    yield (
        "bare.xlsx",
        "TextClassification",
        lambda folder: spreadsheet.write(folder / "bare.xlsx", {"One": bare}),
    )


# Entities

NAMES = ("Anna", "Carl", "Boris")


def entities() -> Iterator[tuple[str, str, Make]]:
    who = [NAMES[i % 3] for i in range(COUNT)]
    texts = [f"{name} has order {i}" for i, name in enumerate(who)]
    ends = [len(name) for name in who]
    spans = [
        {"start": 0, "end": e, "labels": ["PER"], "text": n} for e, n in zip(ends, who, strict=True)
    ]
    shapes: dict[str, list[dict[str, Any]]] = {
        "doccano.jsonl": [
            {"id": i, "text": t, "label": [[0, e, "PER"]], "Comments": []}
            for i, (t, e) in enumerate(zip(texts, ends, strict=True))
        ],
        "relations.jsonl": [
            {
                "text": t,
                "entities": [{"id": 1, "label": "PER", "start_offset": 0, "end_offset": e}],
                "relations": [],
            }
            for t, e in zip(texts, ends, strict=True)
        ],
        "min.jsonl": [
            {"id": i, "text": t, "label": [s], "annotator": 1}
            for i, (t, s) in enumerate(zip(texts, spans, strict=True))
        ],
        "studio.jsonl": [
            {
                "id": i,
                "data": {"body": t},
                "annotations": [
                    {
                        "was_cancelled": False,
                        "result": [{"type": "labels", "from_name": "l", "value": s}],
                    }
                ],
            }
            for i, (t, s) in enumerate(zip(texts, spans, strict=True))
        ],
        "prodigy.jsonl": [
            {
                "text": t,
                "_input_hash": i,
                "answer": "reject" if i % 4 == 3 else "accept",
                "spans": [{"start": 0, "end": e, "label": "PER"}],
            }
            for i, (t, e) in enumerate(zip(texts, ends, strict=True))
        ],
        "words.jsonl": [{"words": t.split(), "ner": ["B-PER", *"OOO"]} for t in texts],
    }
    for name, rows in shapes.items():
        yield name, "TokenClassification", rows_of(name, rows)
        array = name.replace(".jsonl", ".json")
        yield array, "TokenClassification", rows_of(array, rows, "array")
    column = [
        f'{i},"{t}","{json.dumps([s]).replace(chr(34), chr(34) * 2)}"'
        for i, (t, s) in enumerate(zip(texts, spans, strict=True))
    ]
    yield "studio.csv", "TokenClassification", lines_of("studio.csv", ["id,text,label", *column])
    tags = ["B-PER", *"OOO"]
    tagged = [
        (i, j, word, tag)
        for i, t in enumerate(texts)
        for j, (word, tag) in enumerate(zip(t.split(), tags, strict=True))
    ]
    first = [f"{'' if j else f'Sentence: {i}'},{w},NN,{t}" for i, j, w, t in tagged]
    yield (
        "kaggle.csv",
        "TokenClassification",
        lines_of("kaggle.csv", ["Sentence #,Word,POS,Tag", *first]),
    )
    blank = [("" if j else "\n") + f"{w},{t}" for _, j, w, t in tagged]
    yield (
        "blank.csv",
        "TokenClassification",
        lines_of("blank.csv", ["word,tag", *"\n".join(blank).split("\n")]),
    )
    cells = [["sentence_id", "token", "label"], *([i, w, t] for i, _, w, t in tagged)]
    yield (
        "words.xlsx",
        "TokenClassification",
        lambda folder: spreadsheet.write(folder / "words.xlsx", {"One": cells}),
    )
    conll = [("" if j else "\n") + f"{w}\t{t}" for _, j, w, t in tagged]
    for name in ("a.conll", "a.txt", "a.tsv", "a.bio"):
        yield name, "TokenClassification", lines_of(name, "\n".join(conll).split("\n"))


# Chats, answers, pairs


def others() -> Iterator[tuple[str, str, Make]]:
    said = [(text(i), f"it is {text(i)}") for i in range(COUNT)]
    chats = [[{"role": "user", "content": a}, {"role": "assistant", "content": b}] for a, b in said]
    share = [[{"from": "human", "value": a}, {"from": "gpt", "value": b}] for a, b in said]
    alpaca = [{"instruction": a, "input": "", "output": b} for a, b in said]
    yield "chats.jsonl", "CausalLM", rows_of("chats.jsonl", [{"messages": c} for c in chats])
    yield (
        "share.json",
        "CausalLM",
        rows_of("share.json", [{"conversations": c} for c in share], "array"),
    )
    yield "alpaca.json", "CausalLM", rows_of("alpaca.json", alpaca, "array")
    bad = [{"messages": c if i % 5 else c[:1]} for i, c in enumerate(chats)]
    yield "bad.jsonl", "CausalLM", rows_of("bad.jsonl", bad)
    yield "faq.csv", "CausalLM", lines_of("faq.csv", ["question,answer", *map(",".join, said)])
    asked = [(f"who has order {i}", f"Anna has order {i} now", "Anna") for i in range(COUNT)]
    yield (
        "qa.csv",
        "QuestionAnswering",
        lines_of(
            "qa.csv", ["question,context,answer", *map(",".join, asked), "who,nobody here,Carl"]
        ),
    )
    nested = [
        {"context": c, "qas": [{"question": q, "answers": [{"text": a, "answer_start": 0}]}]}
        for q, c, a in asked
    ]
    squad = {"version": "1.1", "data": [{"title": "t", "paragraphs": nested}]}
    yield "squad.json", "QuestionAnswering", rows_of("squad.json", [squad])
    flat = [{"question": q, "context": c, "answer": a} for q, c, a in asked]
    yield "flat.json", "QuestionAnswering", rows_of("flat.json", flat, "array")
    for head in ("text,summary", "dialogue,summary", "source,target", "mr,ref"):
        name = f"{head.replace(',', '_')}.csv"
        yield name, "Seq2Seq", lines_of(name, [head, *map(",".join, said)])
    both = [{"translation": {"en": a, "de": b}} for a, b in said]
    yield "nested.jsonl", "Seq2Seq", rows_of("nested.jsonl", both)
    triples = [f"{a},{b},{text(i + 99)}" for i, (a, b) in enumerate(said)]
    for head in ("anchor,positive,negative", "query,positive,negatives"):
        name = f"{head[:5]}.csv"
        yield name, "Retrieval", lines_of(name, [head, *triples])
    yield "events.csv", "Retrieval", interactions


def interactions(folder: Path) -> str:
    items = [(str(i), f"film {i}") for i in range(12)]
    write_csv(folder / "items.csv", items, ("itemId", "title"))
    events = [(str(u), str((u + t) % 12), str(t)) for u in range(10) for t in range(6)]
    return write_csv(folder / "events.csv", events, ("userId", "itemId", "timestamp"))


# Images


def pictures() -> Iterator[tuple[str, str, Make]]:
    def folder_of(suffix: str, kind: str) -> Make:
        def make(folder: Path) -> str:
            for i in range(30):
                name, data = images.square(i, kind=kind)
                path = folder / "photos" / name / f"{i}{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            (folder / "photos" / "notes.md").write_text("mine")
            (folder / "photos" / "red" / f"broken{suffix}").write_bytes(b"no image")
            return str(folder / "photos")

        return make

    for suffix, kind in (
        (".JPG", "JPEG"),
        (".png", "PNG"),
        (".webp", "WEBP"),
        (".tif", "TIFF"),
        (".avif", "AVIF"),
        (".jp2", "JPEG2000"),
        (".ppm", "PPM"),
        (".jfif", "JPEG"),
    ):
        yield f"photos{suffix}", "ImageClassification", folder_of(suffix, kind)
    yield (
        "photos.zip",
        "ImageClassification",
        lambda folder: images.write_zip(folder / "photos.zip", {"train": 30, "val": 6, "test": 6}),
    )

    def table(folder: Path) -> str:
        rows = []
        (folder / "img").mkdir()
        for i in range(30):
            name, data = images.square(i)
            (folder / "img" / f"{i}.jpg").write_bytes(data)
            rows.append((f"{i}.jpg", name))
        return write_csv(folder / "paths.csv", rows, ("file", "colour"))

    yield "paths.csv", "ImageClassification", table


@pytest.fixture(scope="session")
def backbones(
    bert: str, plain_bert: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    return {
        "CausalLM": make_decoder(tmp_path_factory.mktemp("decoder")),
        "ImageClassification": images.make_resnet(tmp_path_factory.mktemp("resnet"), edge=64),
        "Seq2Seq": plain_bert,
        "Retrieval": bert,
        "TextClassification": bert,
        "TokenClassification": plain_bert,
        "QuestionAnswering": plain_bert,
    }


def fits(task: str, yaml: str, backbone: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Trains a step of a config. Returns what is said."""
    words = ["fit", "-c", yaml, "--model.backbone", backbone, "--trainer.max_steps", "1"]
    words += ["--data.batch_size", "4", "--trainer.accelerator", "cpu", "--run", "run"]
    if task in ("CausalLM", "Seq2Seq"):
        words += ["--model.max_new_tokens", "2"]
    assert main(words) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def of_init(said: str) -> tuple[int, int]:
    """Rows, and labels if there are any, that ``init`` counts."""
    line = said.splitlines()[0]
    rows = re.search(
        r"([\d,]+) (rows|sentences|texts|chats|questions|pairs|queries|images)\b", line
    )
    labels = re.search(r"(\d+) (labels|types)", line)
    assert rows, line
    return int(rows[1].replace(",", "")), int(labels[1]) if labels else 0


def of_fit(said: str) -> tuple[int, int]:
    """Rows of all splits, and labels, that ``fit`` counts."""
    line = " ".join(said.split("batches of")[0].split())
    splits = re.findall(r"(?:train|validation|test) ([\d,]+)", line)
    labels = re.search(r"(\d+) labels", line)
    return sum(int(n.replace(",", "")) for n in splits), int(labels[1]) if labels else 0


@pytest.mark.run
@pytest.mark.parametrize("kind", ["tables", "entities", "others", "pictures"])
def test_what_init_writes_trains(
    kind: str, backbones: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(name: str, task: str, make: Make) -> None:
        folder = tmp_path / name
        folder.mkdir()
        with contextlib.chdir(folder):
            capsys.readouterr()
            assert main(["init", make(folder)]) == 0, capsys.readouterr().err
            said = capsys.readouterr().out
            Path("made.yaml").write_text(said, encoding="utf-8")
            assert read_yaml("made.yaml")[0]["model"]["task"] == task
            trained = fits(task, "made.yaml", backbones[task], capsys)
        if name == "events.csv":  # of interactions a row of fit is a user's history
            assert "10 users, 12 items" in said
            return
        rows, labels = of_init(said)
        broken = 1 if "broken" in trained else 0  # which only fit opens
        assert of_fit(trained) == (rows - broken, labels), f"{said}\n{trained}"

    each(globals()[kind](), check)
