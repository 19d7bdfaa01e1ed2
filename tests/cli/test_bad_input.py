"""Bad input in one table: what is bad, how it is made, and what ftlight says or does."""

from __future__ import annotations

import contextlib
import io
import json
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import each, make_bert, save_tokenizer, toy_rows, write_csv
from PIL import Image
from tiny.image_classification import square

from ftlight import TextClassification, TextData
from ftlight.__main__ import main
from ftlight.data import tokens
from ftlight.metrics import classes
from ftlight.models.loading import load_tokenizer
from ftlight.tasks.image_classification import decoding
from ftlight.tasks.image_classification.data import ImageData
from ftlight.tasks.question_answering.data import QAData
from ftlight.tasks.seq2seq.data import Seq2SeqData
from ftlight.tasks.token_classification.data import TokenData
from ftlight.utils.errors import UserError
from ftlight.utils.format import number

MANY = [(f"text {i}", "ab"[i % 2]) for i in range(120)]


class Models(NamedTuple):
    bert: str
    resnet: str
    capsys: Any


@pytest.fixture
def models(bert: str, resnet: str, capsys: Any) -> Models:
    return Models(bert, resnet, capsys)


Case = Callable[[Models], str]


def put(name: str, content: str | bytes) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


def told(data: Any) -> str:
    """What data say of themselves at the start of fit."""
    data.setup("fit")
    return "\n".join(data.notes)


def command(content: str | bytes, *words: str, name: str = "bad.csv") -> Case:
    """The error of ``fit`` on a file: one line, before anything is made."""

    def case(models: Models) -> str:
        task = [
            "--model",
            "TextClassification",
            "--model.backbone",
            models.bert,
            "--trainer.accelerator",
            "cpu",
        ]
        assert main(["fit", *task, "--data.train", put(name, content), *words]) == 2
        assert not Path("runs").exists()
        found: str = models.capsys.readouterr().err
        assert found.startswith("ftlight: error: ")
        return found.removeprefix("ftlight: ").strip()

    return case


def text(content: str | bytes, show: str = "notes", name: str = "bad.csv", **options: Any) -> Case:
    """What is said of a file of texts with labels, or the column of train as read."""

    def case(models: Models) -> str:
        data = TextData(
            put(name, content), tokenizer=models.bert, **{"validation_split": 0.0, **options}
        )
        notes = told(data)
        return (
            notes
            if show == "notes"
            else repr(data.labels if show == "labels" else data.load_split("train")[show][:])
        )

    return case


def splits(train: Sequence[tuple[str, ...]], **others: Sequence[tuple[str, ...]]) -> Case:
    """What is said of splits of texts with labels, a file each."""

    def case(models: Models) -> str:
        files = {
            split: write_csv(Path(f"{split}.csv"), list(rows)) for split, rows in others.items()
        }
        made = TextData(
            write_csv(Path("train.csv"), list(train)),
            tokenizer=models.bert,
            validation_split=0.0,
            **files,
        )
        return told(made)

    return case


def saved(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def pictures(extra: dict[str, bytes], **options: Any) -> Case:
    """What is said of a folder of three good images of two classes, and more."""

    def case(models: Models) -> str:
        good = {f"set/{'ab'[i % 2]}/{i}.jpg": square(i)[1] for i in range(3)}
        for name, content in {**good, **extra}.items():
            put(name, content)
        return told(
            ImageData("set", tokenizer=models.resnet, **{"validation_split": 0.0, **options})
        )

    return case


def manifest(path: str, **options: Any) -> Case:
    """What is said of a table with this path, beside ``some/in.jpg`` and ``out.jpg``."""

    def case(models: Models) -> str:
        for i, name in enumerate(("some/in.jpg", "some/other.jpg", "out.jpg")):
            put(name, square(i)[1])
        table = put("some/list.csv", f"image,label\nother.jpg,a\n{path},b\n")
        data = ImageData(table, tokenizer=models.resnet, validation_split=0.0, **options)
        told(data)
        return repr(data.load_split("train")["image"][:])

    return case


def colour(image: Image.Image, kind: str = "PNG") -> Case:
    """The first pixel that a model sees, and what was done."""

    def case(models: Models) -> str:
        made, done = decoding.decode(saved(image, kind))
        return f"{made.mode} {made.getpixel((0, 0))} {done}"

    return case


def flat(mode: str, value: Any) -> Image.Image:
    return Image.new(mode, (8, 8), value)


def bomb() -> bytes:
    """A PNG of 12,000 x 12,000 pixels in a hundred bytes: below Pillow's own limit."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    size = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


def parquet_of_floats(models: Models) -> str:
    """Whole labels with a blank, as pandas writes them: as floats."""
    pq.write_table(
        pa.table({"text": ["a", "b", "c", "d"], "label": [1.0, float("nan"), 2.0, 1.0]}),
        "bad.parquet",
    )
    return told(TextData("bad.parquet", tokenizer=models.bert))


def no_pad_token(models: Models) -> str:
    folder = make_bert(Path("m").absolute())
    saved = json.loads((folder / "tokenizer_config.json").read_text())
    for name in ("pad_token", "eos_token", "unk_token"):
        saved.pop(name, None)
    (folder / "tokenizer_config.json").write_text(json.dumps(saved))
    return str(load_tokenizer(str(folder)))


def end_pads(models: Models) -> str:
    save_tokenizer(Path("m"), pad=False)
    tokenizer = load_tokenizer(str(Path("m").absolute()))  # loaded tokenizers are kept by name
    mask = tokens.collate({"input_ids": [[2, 30, 3], [2, 3]]}, tokenizer)["attention_mask"].tolist()
    return f"{tokenizer.pad_token} {mask}"


def too_many_tokens(models: Models) -> str:
    folder = make_bert(Path("m").absolute())
    save_tokenizer(folder, extra=7)
    data = TextData(write_csv(Path("toy.csv"), toy_rows(12)), tokenizer=str(folder))
    data.check_model(TextClassification(str(folder), labels=data.labels).model)
    return "taken"


def entities(models: Models) -> str:
    words = "".join(f"parcel{i} {'B-X' if i % 9 == 0 else 'O'}\n" for i in range(90))
    return told(TokenData(put("long.conll", words), tokenizer=models.bert, validation_split=0.0))


def questions(models: Models) -> str:
    rows = [("where is it", "late " * 90 + "here", "here")]
    file = write_csv(Path("qa.csv"), rows, ("question", "context", "answer"))
    return told(QAData(file, tokenizer=models.bert, validation_split=0.0))


def sources(models: Models) -> str:
    train = write_csv(
        Path("a.csv"), [("one", "two"), ("one", "three"), ("four", "five")], ("source", "target")
    )
    test = write_csv(Path("b.csv"), [("One ", "two"), ("six", "one")], ("source", "target"))
    return told(Seq2SeqData(train, test=test, tokenizer=models.bert, validation_split=0.0))


def predicted(row: dict[str, Any]) -> Case:
    def case(models: Models) -> str:
        data = TextData(tokenizer=models.bert, labels=["a", "b"])
        data.set_predict([row])
        return f"{len(data.sets['predict'])} rows"

    return case


def scores(target: list[int]) -> Case:
    """Scores of right predictions among three classes, as they are printed."""

    def case(models: Models) -> str:
        values, _ = classes.single_label(torch.eye(3)[target], torch.tensor(target))
        return f"f1 {number(values['f1'])}, auroc {number(values['auroc'])}"

    return case


def with_words(*words: str) -> list[tuple[str, str]]:
    return [(f"text {i}", word) for i, word in enumerate(words)]


AB = "text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(8))
PHOTO = square(0, (200, 200))[1]

TABLE: dict[str, tuple[Case, str]] = {
    # words that others take for missing
    "texts NA, null, None": (
        text("text,label\nNA,a\nnull,b\nNone,a\n", "text"),
        r"^\['NA', 'null', 'None'\]$",
    ),
    "labels NA, null, nan": (
        text("text,label\nx,NA\ny,null\nz,nan\n", "labels"),
        r"^\['NA', 'nan', 'null'\]$",
    ),
    # labels
    "a label is missing": (
        command("text,label\na,good\nb, \nc,bad\n"),
        r"bad.csv:3: column label has no label; fill it in, .* data.on_missing_label: skip",
    ),
    "many labels are missing": (
        command("text,label\na,good\n" + "b,\n" * 7 + "c,bad\n"),
        r"bad.csv:3: column label has no label \(7 such: lines 3, 4, 5, 6, 7 and 2 more\)",
    ),
    "labels are missing, and left out": (
        text(AB + "x,\ny, \n", on_missing_label="skip"),
        r"train: 2 of 10 rows left out: column label has no label \(lines 10, 11\)",
    ),
    "all labels are missing": (
        text("text,label\nx,\ny,\n", on_missing_label="skip"),
        r"^error: bad.csv:2: column label has no label \(2 such",
    ),
    "whole numbers as labels and one blank": (
        text("text,label\nx,1\ny,\nz,2\n", "labels", on_missing_label="skip"),
        r"^\['1', '2'\]$",
    ),
    "whole numbers as floats and one blank (Parquet)": (
        parquet_of_floats,
        r"^error: bad.parquet:2: column label has no label",
    ),
    "labels 01 and 1": (
        text("text,label\nx,01\ny,1\n"),
        r"labels '01', '1' look alike and are kept apart",
    ),
    "labels 1 and '1' in JSON": (
        command('{"text": "a", "label": 1}\n{"text": "b", "label": "1"}\n', name="m.jsonl"),
        r"m.jsonl:2: label '1' is str, those before are int; write them alike",
    ),
    "a label in validation that train lacks": (
        splits(with_words("good", "bad"), validation=with_words("bad", "godo", "godo")),
        r"^error: validation.csv:3: label 'godo' is not in train \(1 such: godo\); labels "
        r"there: bad, good",
    ),
    "a label in test that train lacks": (
        splits(with_words("good", "bad"), test=with_words("bad", "godo")),
        r"^error: test.csv:3: label 'godo' is not in train",
    ),
    "a label of train that the test lacks": (
        splits(with_words("a", "b", "c"), test=with_words("a", "b")),
        r"test: no row has 1 of the 3 labels \(c\): it counts 0 in averages over labels, and "
        r"auroc is n/a",
    ),
    "a label that is given and that train lacks": (
        text("text,label\nx,a\ny,b\n", labels=["a", "b", "c"]),
        r"train: no row has 1 of the 3 labels \(c\): nothing is learned of it",
    ),
    "labels from 1 instead of 0": (
        text("text,label\nx,1\ny,2\nz,3\n", "labels"),
        r"^\['1', '2', '3'\]$",
    ),
    "a single class": (
        command("text,label\n" + "a,good\n" * 20),
        r"holds a single class \(good\); there is nothing to learn",
    ),
    "a tiny class": (text(AB + "x,c\n"), r"train: 3 of 3 labels have fewer than 10 rows \(c 1, "),
    "the rows measured are of one class": (scores([1, 1, 1]), r"^f1 0.3333, auroc n/a$"),
    "a class is absent from the rows measured": (scores([0, 1, 1, 0]), r"^f1 0.6667, auroc n/a$"),
    # tables
    "nothing in the file": (command(""), r"bad.csv is empty"),
    "a header and no rows": (command("text,label\n"), r"bad.csv has no rows"),
    "a comma too many in a row": (
        command("text,label\nfine,good\na,b,c\nx,bad\n"),
        r"bad.csv:3: too many fields \(3 where the header has 2\); put quotes around",
    ),
    "a comma too many in every row": (
        command("text,label\na,good,\nb,bad,\n"),
        r"bad.csv:2: too many fields \(3 where the header has 2\)",
    ),
    "a comma too many in the header too": (
        text("text,label,,\na,good,,\nb,bad,,\n", "text"),
        r"^\['a', 'b'\]$",
    ),
    "a column twice": (
        command("text,label,text\na,good,b\n"),
        r"bad.csv:1: column text occurs twice in the header",
    ),
    "a quote that is not closed": (
        command('text,label\nfine,good\n"open,bad\nlast, of all,bad\n'),
        r"bad.csv:3: a quote that opens here is not closed",
    ),
    "a missing column": (
        command("txet,label\na,b\n"),
        r'bad.csv: no column text; did you mean "txet"\? \(columns: txet, label\)',
    ),
    "a missing column of one row of JSON": (
        text('{"text": "a", "label": "x"}\n{"test": "b", "label": "y"}\n', name="m.jsonl"),
        r'^error: m.jsonl:2: no column text; did you mean "test"\?',
    ),
    "Latin-1": (
        command("text,label\nnaïve,x\n".encode("latin-1")),
        r"bad.csv: byte 13 \(0xef\) is not utf-8; set data.encoding, for example data.encoding: "
        r"cp1252",
    ),
    "Latin-1, said so": (
        text("text,label\nnaïve,x\nb,y\n".encode("latin-1"), "text", encoding="latin-1"),
        r"^\['naïve', 'b'\]$",
    ),
    "UTF-16": (
        command("text,label\na,x\n".encode("utf-16")),
        r"bad.csv is in UTF-16; set data.encoding: utf-16",
    ),
    "UTF-16 without a mark": (
        command("text,label\na,x\n".encode("utf-16-le")),
        r"bad.csv holds NUL bytes.*data.encoding: utf-16-le",
    ),
    "UTF-16, said so": (
        text("text,label\nä,x\nb,y\n".encode("utf-16"), "text", encoding="utf-16"),
        r"^\['ä', 'b'\]$",
    ),
    "a byte order mark": (
        text("text,label\nä,x\nb,y\n".encode("utf-8-sig"), "text"),
        r"^\['ä', 'b'\]$",
    ),
    # texts and tokens
    "texts of nothing or spaces": (
        text(AB + ",a\n  ,b\n"),
        r"train: 2 of 10 rows have no text \(lines 10, 11\); to leave them out set "
        r"data.on_empty_text: skip$",
    ),
    "texts of nothing, left out": (
        text(AB + ",a\n", on_empty_text="skip"),
        r"train: 1 of 9 rows left out: they have no text \(line 10\)",
    ),
    "no text at all, left out": (
        text("text,label\n,a\n,b\n", on_empty_text="skip"),
        r"^error: bad.csv: none of the 2 rows of train has a text",
    ),
    "a text that is too long": (
        text(AB + f"{'late ' * 100},a\n"),
        r"train: 1 of 9 rows are longer than 64 tokens and cut \(\d+\.\d% of all their tokens "
        r"lost, longest 102\)",
    ),
    "a text with entities that is too long": (
        entities,
        r"train: 1 of 1 rows are longer than 64 tokens and read in windows .* nothing is cut",
    ),
    "a context that is too long": (
        questions,
        r"train: 1 of 1 questions have a context of more than 64 tokens, read in up to 2 windows",
    ),
    "more tokens than embeddings": (
        too_many_tokens,
        r"^error: the tokenizer of .* has \d+ tokens, the model only \d+ embeddings",
    ),
    "no token that could pad": (
        no_pad_token,
        r"^error: .* has no pad, end-of-text or unknown token; set pad_token in its files",
    ),
    "the end of a text pads": (end_pads, r"^\[SEP\] \[\[1, 1, 1\], \[1, 1, 0\]\]$"),
    # rows that stand twice
    "rows that repeat": (
        text(AB + "text 0,a\n Text  0,a\n"),
        r"^train: 2 of 10 rows repeat another \(lines 10, 11\)$",
    ),
    "rows that repeat with another label": (
        text(AB + "text 0,b\n"),
        r"train: 1 row repeats another with a different label \(for example line 2 and line "
        r"10\)",
    ),
    "numbers that differ for the same text": (
        text("text,label\nx,0.5\nx,1.5\ny,2.5\n"),
        r"train: 1 of 3 rows repeat another \(line 3\)$",
    ),
    "rows of train in validation and test": (
        splits(
            MANY,
            validation=[*MANY[:3], ("new", "a"), ("new", "b")],
            test=[("TEXT 4", "a"), ("new", "b")],
        ),
        r"validation: 3 of 5 rows are in train too \(lines 2, 3, 4\); to take such rows out of "
        r"train set data.on_leak: drop\ntest: 1 of 2 rows are in train too \(line 2\)\ntest: 1 of "
        r"2 rows are in validation too \(line 3\)$",
    ),
    "all rows of the test in train": (
        splits(MANY, test=MANY[:110]),
        r"^error: test.csv: test: 110 of 110 rows are in train too \(.*\); scores would say "
        r"nothing of new data; give other rows, or set data.check: off to train all the same$",
    ),
    "all rows of the test in train, of which a share is held out": (
        text(
            "text,label\n" + "".join(f"{t},{label}\n" for t, label in MANY),
            validation_split=0.3,
            test="bad.csv",
        ),
        r"^error: bad.csv: test: 120 of 120 rows are in train too",
    ),
    "all rows of the test in train, which is allowed": (
        text(
            "text,label\n" + "".join(f"{t},{label}\n" for t, label in MANY),
            test="bad.csv",
            check="off",
        ),
        r"^kind of task: single, by column label \(data.kind\)$",
    ),
    "a few rows, all in train": (
        splits(MANY, test=MANY[:20]),
        r"test: 20 of 20 rows are in train too",
    ),
    "rows that repeat, held out": (
        text("text,label\n" + "same,a\nother,b\n" * 60, validation_split=0.5),
        r"validation: \d+ of \d+ rows are in train too",
    ),
    "leaks that are dropped without being looked for": (
        text(AB, check="off", on_leak="drop"),
        r"^error: data.on_leak: drop needs data.check: fast$",
    ),
    "sources of train in test": (sources, r"^test: 1 of 2 rows are in train too \(line \d+\); "),
    "images that repeat, with another class": (
        pictures({"set/b/again.jpg": square(0)[1]}),
        r"train: 1 row repeats another with a different label \(for example a/0.jpg and "
        r"b/again.jpg\)\n(.*\n)*train: 1 of 4 rows repeat another \(b/again.jpg\)$",
    ),
    # images
    "an image of no bytes": (
        pictures({"set/a/x.jpg": b""}),
        r"^error: set: 1 of 4 images of train cannot be used: a/x.jpg \(it is empty\); repair them",
    ),
    "a page under the name of an image": (
        pictures({"set/a/x.png": b"<html>"}),
        r"a/x.png \(it is no image that Pillow knows\)",
    ),
    "bad images, left out": (
        pictures({"set/a/x.png": b"<html>"}, on_bad_image="skip"),
        r"train: 1 of 4 images left out: a/x.png \(it is no image that Pillow knows\)",
    ),
    "an image that is cut off": (
        pictures({"set/a/x.jpg": PHOTO[: len(PHOTO) // 2]}),
        r"a/x.jpg \(it is cut off \(",
    ),
    "a PNG that is cut off": (
        pictures({"set/a/x.png": saved(Image.open(io.BytesIO(PHOTO)))[:5000]}),
        r"^error: .*a/x.png \(it is (cut off|damaged) \(",
    ),
    "a small file of very many pixels": (
        pictures({"set/a/x.png": bomb()}),
        r"a/x.png \(its 12,000 x 12,000 pixels are more than data.max_pixels: 80,000,000\)",
    ),
    "no limit of pixels": (
        pictures({}, max_pixels=10**12),
        r"^error: data.max_pixels: 10+ is out of range; it must be from 1 to "
        r"178,956,970",
    ),
    "gray": (colour(flat("L", 77)), r"^RGB \(77, 77, 77\) \['gray'\]$"),
    "half transparent": (
        colour(flat("RGBA", (255, 0, 0, 128))),
        r"^RGB \(255, 127, 127\) \['transparent, over white'\]$",
    ),
    "CMYK": (colour(flat("CMYK", (0, 0, 0, 0)), "JPEG"), r"^RGB \(255, 255, 255\) \['CMYK'\]$"),
    "a palette": (
        colour(flat("RGB", (10, 200, 30)).convert("P")),
        r"^RGB \(\d+, \d+, \d+\) \['palette'\]$",
    ),
    "gray of 16 bits": (
        colour(Image.fromarray(np.full((8, 8), 40_000, np.uint16))),
        r"^RGB \(156, 156, 156\) \['16-bit gray over 65,535'\]$",
    ),
    "modes are counted": (
        pictures({"set/a/x.png": saved(flat("L", 7))}),
        r"train: 4 images, 1 gray",
    ),
    "a path out of the table's folder": (
        manifest("../out.jpg"),
        r"^error: some/list.csv:3: ../out.jpg leads out of some; set data.folder",
    ),
    "a path from the root": (
        manifest("/etc/passwd"),
        r"^error: some/list.csv:3: /etc/passwd leads out of some; set data.folder",
    ),
    "a path of the network": (
        manifest("https://host/x.jpg"),
        r"^error: some/list.csv:3: https://host/x.jpg leads out of some",
    ),
    "a path out of the folder that is allowed": (
        manifest("../../out.jpg", folder="some"),
        r"leads out of some",
    ),
    "a path that leads out and comes back": (manifest("../some/in.jpg"), r"leads out of some"),
    "a path with a turn": (manifest("x/../in.jpg"), r"^\['other.jpg', 'x/../in.jpg'\]$"),
    "a path to nothing": (
        manifest("none.jpg"),
        r"^error: some/list.csv: 1 of 2 images of train cannot be used: none.jpg \(no such file\)",
    ),
    # rows to predict
    "rows to predict without the label column": (predicted({"text": "fine"}), r"^1 rows$"),
    "rows to predict without the text column": (
        predicted({"txet": "fine"}),
        r'^error: rows: no column text; did you mean "txet"\?',
    ),
}


def test_bad_input(models: Models, tmp_path: Path) -> None:
    def check(what: str) -> None:
        case, says = TABLE[what]
        (tmp_path / what.replace("/", " ")).mkdir()
        with contextlib.chdir(tmp_path / what.replace("/", " ")):
            try:
                found = case(models)
            except UserError as error:
                found = f"error: {error}"
        assert re.search(says, found, re.MULTILINE), found
        assert not found.startswith("error: ") or "\n" not in found

    each(TABLE, check)
