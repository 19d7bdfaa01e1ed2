"""The journey of an analyst: annotations from doccano, a folder of documents, answers back.

Two commands, ``fit`` and ``predict``; a third and a fourth for another form of the answers and for
training on what came back. No file is touched by hand.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import papers
import pytest
from conftest import make_bert
from tiny.token_classification import OTHERS

from ftlight.__main__ import main
from ftlight.data import files
from ftlight.tasks.token_classification.data import TokenData

pytestmark = [pytest.mark.run, pytest.mark.processes]


def doccano(path: Path, count: int) -> None:
    """Writes what doccano exports: texts in which "parcel" is a THING and "small" a SIZE."""
    draw, lines = random.Random(0), []
    for number in range(count):
        words = draw.choices(OTHERS, k=6)
        words.insert(draw.randrange(6), "parcel")
        words.insert(draw.randrange(6), "small")
        text = " ".join(words)
        label = [
            [text.index(word), text.index(word) + len(word), kind]
            for word, kind in (("parcel", "THING"), ("small", "SIZE"))
        ]
        lines.append(json.dumps({"id": number, "text": text, "label": label, "Comments": []}))
    path.write_text("\n".join(lines))


def folder(path: Path) -> dict[str, str]:
    """Writes documents, good ones and hostile ones. Returns the texts of the good ones."""
    (path / "2024").mkdir(parents=True)
    texts = {
        "2024/a.txt": "😀 where is my small parcel?\r\nthe parcel is late\r\n",
        "b.md": "# order\n\na new parcel",
        "c.docx": "my parcel is lost\nnot small\n",
        "d.pdf": "please refund the small parcel",
    }
    for name in ("2024/a.txt", "b.md"):
        (path / name).write_bytes(texts[name].encode())
    papers.docx(path / "c.docx", *texts["c.docx"].splitlines())
    papers.pdf(path / "d.pdf", texts["d.pdf"])
    papers.bomb(path / "bomb.docx")
    papers.laughs(path / "laughs.docx")
    papers.pdf(path / "scan.pdf", "")
    (path / "old.doc").write_bytes(b"\xd0\xcf")
    (path / ".hidden.txt").write_text("x")
    return texts


def test_from_doccano_over_a_folder_of_documents_to_label_studio(
    tmp_path: Path, capsys: Any
) -> None:
    bert = make_bert(tmp_path / "bert", sentence_encoder=False)
    doccano(Path("export.jsonl"), 120)
    texts = folder(Path("letters"))
    tiny = f"--model.backbone {bert} --model.lr 0.01 --trainer.max_epochs 5"
    tiny += " --trainer.accelerator cpu --data.batch_size 8"

    fit = f"fit --model TokenClassification --data.train export.jsonl --run run {tiny}"
    assert main(fit.split()) == 0
    capsys.readouterr()
    assert main("predict run letters --out answers.json".split()) == 0

    said = capsys.readouterr().out
    assert "4 predictions in answers.json" in said
    for line in (
        "letters: 1 of 7 documents left out (bomb.docx): its files are",
        "letters: 1 of 7 documents left out (laughs.docx): it declares entities",
        "letters: 1 of 7 documents left out (scan.pdf): no text in it",
        "letters: 2 files are left out, no documents: 1 hidden, 1 .doc",
    ):
        assert said.count(line) == 1
    tasks = json.loads(Path("answers.json").read_text())
    assert {task["data"]["file"]: task["data"]["text"] for task in tasks} == texts
    found = []
    for task in tasks:
        for result in task["predictions"][0]["result"]:
            value, text = result["value"], task["data"]["text"]
            assert text[value["start"] : value["end"]] == value["text"]
            assert 0 < result["score"] <= 1
            found.append((task["data"]["file"], value["labels"][0], value["text"]))
    assert ("2024/a.txt", "THING", "parcel") in found
    assert ("d.pdf", "SIZE", "small") in found
    assert {file for file, _, _ in found} == set(texts)

    # the other forms say the same, and are read back
    for name in ("answers.jsonl", "answers.csv", "answers.conll"):
        assert main(["predict", "run", "letters", "--out", name]) == 0
    rows = files.read(Path("answers.csv"))
    assert [(row["document"], row["type"], row["text"]) for row in rows] == found
    for name in ("answers.json", "answers.jsonl", "answers.conll"):
        table = TokenData(name, validation_split=0).load_split("train")
        back = [(s["type"], s["text"]) for spans in table["spans"] for s in spans]
        assert back == [(kind, text) for _, kind, text in found]
    capsys.readouterr()
    again = f"fit --model TokenClassification --data.train answers.json --run again {tiny}"
    assert main([*again.split(), "--data.validation", "export.jsonl"]) == 0
    assert "with predictions of Label Studio and no annotations" in capsys.readouterr().out
