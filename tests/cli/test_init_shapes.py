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
ENTITIES = "TokenClassification"
WORDS = ("parcel", "card", "refund", "order", "film", "money")
Make = Callable[[Path], str]
Shape = tuple[str, str, Make]


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


def sheets_of(name: str, sheets: dict[str, Any]) -> Make:
    """A shape: a spreadsheet."""
    return lambda folder: spreadsheet.write(folder / name, sheets)


def lines_of(name: str, lines: list[str], encoding: str = "utf-8") -> Make:
    """A shape: a text file."""

    def make(folder: Path) -> str:
        data = ("\r\n".join(lines) + "\r\n").encode(encoding)
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return str(folder / name)

    return make


# Texts with a label


def labelled_texts() -> Iterator[Shape]:
    lines = [f"{t},{k}" for t, k in labelled()]
    turned = [f"{k},{t}" for t, k in labelled()]
    marked = [line.replace("number", "n\u00famero caf\u00e9 \u2013") for line in lines]
    russian = [f"мой заказ номер {i},{'хорошо' if i % 2 else 'поздно'}" for i in range(COUNT)]
    chinese = [f"我的订单号码是{i},{'好的' if i % 2 else '太慢了'}" for i in range(COUNT)]
    several = [f'{text(i)},"{"a,b" if i % 3 else "b"}"' for i in range(COUNT)]
    bits = [f"{text(i)},{i % 2},{i % 3 // 2}" for i in range(COUNT)]
    prices = [f"{text(i)},{97_000 + 7.5 * i}" for i in range(COUNT)]
    pairs = [f"{t},{text(i, ' too')},{k}" for i, (t, k) in enumerate(labelled())]
    head = "text,label"

    def divided(sign: str, rows: list[str]) -> list[str]:
        return [line.replace(",", sign) for line in [head, *rows]]

    for name, rows, encoding in (
        ("plain.csv", [head, *lines], "utf-8"),
        ("mark.csv", [head, *lines], "utf-8-sig"),
        ("packed.csv.gz", [head, *lines], "utf-8"),
        ("semicolon.csv", divided(";", marked), "cp1252"),
        ("mac.csv", [head, *marked], "mac_roman"),
        ("wide.csv", [head, *marked], "utf-16"),
        ("wide_bare.csv", [head, *lines], "utf-16-le"),
        ("russian.csv", [head, *russian], "cp1251"),
        ("chinese.csv", [head, *chinese], "gb18030"),
        ("tabs.tsv", divided("\t", lines), "utf-8"),
        ("bars.csv", divided("|", lines), "utf-8"),
        ("told.csv", ["sep=;", *divided(";", lines)], "utf-8"),
        ("dirty.csv", [head, *lines, "one more,Good ", "two more,"], "utf-8"),
        ("no_header.csv", turned, "utf-8"),
        ("spam.csv", ["v1,v2,,,", *(f"{line},,," for line in turned)], "cp1252"),
        ("several.csv", ["text,tags", *several], "utf-8"),
        ("bits.csv", ["text,toxic,rude", *bits], "utf-8"),
        ("prices.csv", ["text,price", *prices], "utf-8"),
        ("few.csv", [head, *lines[:4]], "utf-8"),
        ("pairs.csv", ["sentence1,sentence2,label", *pairs], "utf-8"),
    ):
        yield name, "TextClassification", lines_of(name, rows, encoding)


def labelled_rows() -> Iterator[Shape]:
    plain = [{"text": t, "label": k} for t, k in labelled()]
    lists = [{"text": t, "label": [k, "x"][: 1 + i % 3]} for i, (t, k) in enumerate(labelled())]
    book = [["text", "label", "on"], *([t, k, (45000, 1)] for t, k in labelled())]
    book.insert(9, [])
    bare = [[k, t] for t, k in labelled()]
    task = "TextClassification"
    yield "array.json", task, rows_of("array.json", plain, "array")
    yield "rows.parquet", task, rows_of("rows.parquet", plain, "parquet")
    yield "lists.jsonl", task, rows_of("lists.jsonl", lists)
    yield "book.xlsx", task, sheets_of("book.xlsx", {"One": book, "Two": [["x"]]})
    yield "bare.xlsx", task, sheets_of("bare.xlsx", {"One": bare})


# Entities


def entities() -> Iterator[Shape]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for i in range(COUNT):
        name = ("Anna", "Carl", "Boris")[i % 3]
        own, end = f"{name} has order {i}", len(name)
        span = {"start": 0, "end": end, "labels": ["PER"], "text": name}
        mark = {"id": 1, "label": "PER", "start_offset": 0, "end_offset": end}
        annotation = {"result": [{"type": "labels", "value": span}], "was_cancelled": False}
        for file, row in {
            "doccano.jsonl": {"id": i, "text": own, "label": [[0, end, "PER"]], "Comments": []},
            "relations.json": {"text": own, "entities": [mark], "relations": []},
            "min.json": {"id": i, "text": own, "label": [span], "annotator": 1},
            "min.jsonl": {"id": i, "text": own, "label": [span], "annotator": 1},
            "studio.json": {"id": i, "data": {"body": own}, "annotations": [annotation]},
            "predicted.json": {"data": {"body": own, "n": "x"}, "predictions": [annotation]},
            "studio.jsonl": {"id": i, "data": {"body": own}, "annotations": [annotation]},
            "prodigy.jsonl": {
                **{"text": own, "_input_hash": i, "answer": "accept" if i % 4 else "reject"},
                "spans": [{"start": 0, "end": end, "label": "PER"}],
            },
            "words.jsonl": {"words": own.split(), "ner": ["B-PER", *"OOO"]},
            "studio.csv": {"text": own, "label": json.dumps([span])},
        }.items():
            rows.setdefault(file, []).append(row)
    columns = [tuple(row.values()) for row in rows.pop("studio.csv")]
    yield "studio.csv", ENTITIES, lambda folder: write_csv(folder / "studio.csv", columns)
    for file, made in rows.items():
        yield file, ENTITIES, rows_of(file, made, "array" if file.endswith(".json") else "lines")


def words_and_tags() -> Iterator[Shape]:
    tagged = []
    for i in range(COUNT):
        words = [("Anna", "Carl", "Boris")[i % 3], "has", "order", str(i)]
        tagged.append(list(zip(words, ["B-PER", *"OOO"], strict=True)))
    numbered = ["Sentence #,Word,POS,Tag"]
    apart = ["word,tag"]
    conll: list[str] = []
    cells: list[list[Any]] = [["sentence_id", "token", "label"]]
    for i, sentence in enumerate(tagged):
        first = f"Sentence: {i}"
        numbered += [f"{'' if j else first},{w},NN,{t}" for j, (w, t) in enumerate(sentence)]
        apart += [*(f"{word},{tag}" for word, tag in sentence), ""]
        conll += [*(f"{word}\t{tag}" for word, tag in sentence), ""]
        cells += [[i, word, tag] for word, tag in sentence]
    yield "kaggle.csv", ENTITIES, lines_of("kaggle.csv", numbered)
    yield "blank.csv", ENTITIES, lines_of("blank.csv", apart)
    tabs = [line.replace(",", "\t") for line in numbered]
    yield "kaggle.tsv", ENTITIES, lines_of("kaggle.tsv", tabs)
    yield "words.xlsx", ENTITIES, sheets_of("words.xlsx", {"One": cells})
    for name in ("a.conll", "a.txt", "a.tsv", "a.bio"):
        yield name, ENTITIES, lines_of(name, conll)


# Chats, answers, pairs


def others() -> Iterator[Shape]:
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
    nested = []
    for question, context, answer in asked:
        answers = [{"text": answer, "answer_start": 0}]
        nested.append({"context": context, "qas": [{"question": question, "answers": answers}]})
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


def pictures() -> Iterator[Shape]:
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

    kinds = {
        **{".JPG": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF"},
        **{".avif": "AVIF", ".jp2": "JPEG2000", ".ppm": "PPM"},
    }
    for suffix, kind in kinds.items():
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
    words += ["--test", "false"]
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
    more = re.findall(r"# (?:validation|test): (\d+) images in it", said)
    count = int(rows[1].replace(",", "")) + sum(map(int, more))
    return count, int(labels[1]) if labels else 0


def of_fit(said: str) -> tuple[int, int]:
    """Rows of all splits, and labels, that ``fit`` counts."""
    line = " ".join(said.split("batches of")[0].split())
    splits = re.findall(r"(?:train|validation|test) ([\d,]+)", line)
    labels = re.search(r"(\d+) labels", line)
    return sum(int(n.replace(",", "")) for n in splits), int(labels[1]) if labels else 0


@pytest.mark.run
@pytest.mark.parametrize(
    "shapes", [labelled_texts, labelled_rows, entities, words_and_tags, others, pictures]
)
def test_what_init_writes_trains(
    shapes: Callable[[], Iterator[Shape]],
    backbones: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
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

    each(shapes(), check)
