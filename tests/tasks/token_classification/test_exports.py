"""Predicted entities in files for what comes next, read back by our own readers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import each

from ftlight.data import files
from ftlight.data.remarks import collected
from ftlight.data.sources import Source
from ftlight.run import predictions
from ftlight.tasks.token_classification import exports, marks, readers
from ftlight.tasks.token_classification import tags as spans
from ftlight.tasks.token_classification.data import TokenData
from ftlight.tasks.token_classification.layout import Layout

# An emoji is two units in JavaScript, CRLF two characters; an entity may hold a line break.
TEXT = "😀 Anna,\r\nin New\r\nYork 👩‍👩‍👧 and Köln"
SPANS = [("PER", "Anna"), ("LOC", "New\r\nYork"), ("LOC", "Köln")]
WORDS = ["Anna", "#1", "in\tNew", "York"]


def entities(text: str, found: list[tuple[str, str]], **more: Any) -> list[dict[str, Any]]:
    made = []
    for kind, part in found:
        start = text.index(part)
        span = {"type": kind, "text": part, "start": start, "end": start + len(part)}
        made.append({**span, "score": 0.75, **more})
    return made


def predicted(row: dict[str, Any], found: list[dict[str, Any]]) -> exports.Predicted:
    text, words = readers.document(row, Layout(), "a:1")
    return exports.Predicted(row, text, words, {"prediction": found, "score": 0.5})


DOCUMENT = {"file": "a/1.txt", "text": TEXT, files.LINE: "a/1.txt"}
LISTED = {"id": 7, "tokens": WORDS, "tags": ["O"] * 4, "note": {"a": 1}, files.LINE: 3}
FOUND = [
    predicted(DOCUMENT, entities(TEXT, SPANS)),
    predicted(LISTED, entities(" ".join(WORDS), [("LOC", "in\tNew York")])),
]


def write(suffix: str, found: list[exports.Predicted]) -> Path:
    content = exports.content(suffix, found, Layout())
    assert content is not None
    path = Path(f"out{suffix}")
    predictions.write_predictions(path, [], [], False, content)
    return path


def read(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    source = Source(str(path), "train", suffixes=readers.SUFFIXES)
    with collected() as remarks:
        return list(readers.read_rows(source, Layout(), "", "")), remarks


def expected(item: exports.Predicted) -> list[dict[str, Any]]:
    names = ("type", "text", "start", "end")
    return [{name: entity[name] for name in names} for entity in item.answer["prediction"]]


def test_tools_and_our_readers_find_the_same_spans() -> None:
    def check(suffix: str, said: str) -> None:
        rows, remarks = read(write(suffix, FOUND))
        assert [row["text"] for row in rows] == [item.text for item in FOUND]
        assert [row["spans"] for row in rows] == [expected(item) for item in FOUND]
        assert said in "".join(remarks)
        assert len(remarks) == bool(said)

    each([(".jsonl", ""), (".json", marks.PREDICTED)], check)


def test_a_line_of_doccano_holds_the_prediction_too() -> None:
    first, second = map(json.loads, write(".jsonl", FOUND).read_text().splitlines())
    label = [[e["start"], e["end"], e["type"]] for e in FOUND[0].answer["prediction"]]
    assert [TEXT[start:end] for start, end, _ in label] == [text for _, text in SPANS]
    assert first == {"text": TEXT, "label": label, "file": "a/1.txt", **FOUND[0].answer}
    assert list(second) == [
        "text",
        "label",
        "id",
        "tokens_",
        "tags_",
        "note",
        "prediction",
        "score",
    ]


def test_a_task_of_label_studio_is_named_as_in_its_template() -> None:
    first, second = json.loads(write(".json", FOUND).read_text())
    assert first["data"] == {"text": TEXT, "file": "a/1.txt"}
    (prediction,) = first["predictions"]
    assert prediction["score"] == 0.5
    result = prediction["result"][1]
    start = TEXT.index("New")
    assert result == {
        "id": "1-2",
        "from_name": "label",
        "to_name": "text",
        "type": "labels",
        "value": {"start": start, "end": start + 9, "text": "New\r\nYork", "labels": ["LOC"]},
        "score": 0.75,
    }
    assert second["data"]["id"] == 7


def test_a_task_of_label_studio_keeps_the_names_of_its_labelling_config() -> None:
    value = {"start": 2, "end": 6, "text": "Anna", "hypertextlabels": ["PER"]}
    marked = {"from_name": "who", "to_name": "letter", "type": "hypertextlabels", "value": value}
    other = {"from_name": "where", "to_name": "letter", "type": "labels"}
    other["value"] = {"start": 2, "end": 6, "labels": ["LOC"]}
    rows = [
        {"id": 8, "data": {"mail": TEXT, "n": "1"}, "annotations": [{"result": [marked, other]}]},
        {"id": 9, "data": {"mail": TEXT}, "annotations": [], "predictions": []},
    ]
    found = [predicted({**row, files.LINE: 1}, entities(TEXT, SPANS)) for row in rows]
    path = write(".json", found)
    tasks = json.loads(path.read_text())
    for task, row in zip(tasks, rows, strict=True):
        assert (task["id"], task["data"]) == (row["id"], row["data"])
    for task in tasks:
        person, place, _ = task["predictions"][0]["result"]
        assert (person["from_name"], person["to_name"], person["type"]) == (
            "who",
            "letter",
            "hypertextlabels",
        )
        assert person["value"]["hypertextlabels"] == ["PER"]
        assert (place["from_name"], place["value"]["labels"]) == ("where", ["LOC"])
    assert [row["spans"] for row in read(path)[0]] == [expected(item) for item in found]


def test_a_task_without_marks_has_its_text_where_the_others_have_it() -> None:
    marked = {"start": 2, "end": 6, "text": "Anna", "labels": ["PER"]}
    result = {"type": "labels", "from_name": "who", "to_name": "letter", "value": marked}
    data = {"mail": TEXT, "sender": "x"}
    rows = [
        {"data": data, "predictions": [{"result": []}]},
        {"data": data, "predictions": [{"result": [result]}]},
    ]
    Path("a.json").write_text(json.dumps(rows))
    assert [row["text"] for row in read(Path("a.json"))[0]] == [TEXT, TEXT]


def test_a_run_keeps_the_names_of_the_export_that_it_learned_from(tmp_path: Path) -> None:
    marked = {"start": 2, "end": 6, "text": "Anna", "labels": ["PER"]}
    result = {"type": "labels", "from_name": "who", "to_name": "letter", "value": marked}
    data = {"mail": TEXT, "sender": "x"}
    Path("a.json").write_text(json.dumps([{"data": data, "annotations": [{"result": [result]}]}]))
    TokenData("a.json").save_state(tmp_path)
    module = TokenData()
    module.load_state(tmp_path)
    # tasks that nobody has marked yet, and documents
    Path("new.json").write_text(json.dumps([{"data": data}]))
    for row in [*module.read_predict("new.json"), DOCUMENT]:
        text, words = module.document(row)
        item = exports.Predicted(
            row, text, words, {"prediction": entities(TEXT, SPANS), "score": 1}
        )
        content = exports.content(".json", [item], module.predicted_layout, module.config)
        assert content is not None
        (task,) = json.loads(content)
        assert task["data"]["mail"] == TEXT
        assert list(task["data"].values()).count(TEXT) == 1
        names = {(r["from_name"], r["to_name"]) for r in task["predictions"][0]["result"]}
        assert names == {("who", "letter")}
    TokenData().save_state(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_task_of_label_studio_holds_the_text_once() -> None:
    layout = Layout(text="message")
    row = {"message": TEXT, "note": "Anna", files.LINE: 1}
    for spans_ in (entities(TEXT, SPANS), []):
        item = exports.Predicted(row, TEXT, [], {"prediction": spans_, "score": 0.5})
        content = exports.content(".json", [item], layout)
        assert content is not None
        (task,) = json.loads(content)
        assert task["data"] == {"text": TEXT, "note": "Anna"}
        assert marks.plain(task, layout)["message"] == TEXT  # what the run reads


def test_conll_has_the_words_and_tags() -> None:
    path = write(".conll", FOUND)
    assert path.read_text().splitlines()[:3] == ["😀\tO", "Anna\tB-PER", ",\tO"]
    rows, _ = read(path)
    for row, item in zip(rows, FOUND, strict=True):
        words = [" ".join(item.text[a:b].split()) for a, b in item.words]
        assert [row["text"][a:b] for a, b in row["__words"]] == words
        given = [(e["type"], e["start"], e["end"]) for e in item.answer["prediction"]]
        aligned = spans.align(given, item.words).spans
        assert [(s["type"], s["start"], s["end"]) for s in row["__gold"]] == aligned


def test_a_table_has_a_row_for_each_entity() -> None:
    rows = list(files.read(write(".csv", FOUND)))
    assert list(files.read(write(".tsv", FOUND))) == rows
    sheet = list(files.read(write(".xlsx", FOUND)))
    assert [{**row, files.LINE: 0} for row in sheet] == [{**row, files.LINE: 0} for row in rows]
    assert [name for name in rows[0] if name != files.LINE] == [*exports.FIELDS, "id"]
    assert [(r["type"], r["text"]) for r in rows] == [*SPANS, ("LOC", "in\tNew York")]
    for row, item in zip(rows, [FOUND[0]] * 3 + [FOUND[1]], strict=True):
        assert item.text[int(row["start"]) : int(row["end"])] == row["text"]
        assert row["score"] == "0.75"
    assert [row["document"] for row in rows] == ["a/1.txt"] * 3 + ["3"]
    assert [row["id"] for row in rows] == ["", "", "", "7"]
    empty = [predicted(DOCUMENT, [])]
    assert write(".csv", empty).read_text() == "document,type,text,start,end,score\n"


def test_unsure_entities_are_marked_or_left_out() -> None:
    sure, unsure = entities(TEXT, SPANS[:1], unsure=False), entities(TEXT, SPANS[1:2], unsure=True)
    found = [predicted(DOCUMENT, sure + unsure)]
    (line,) = map(json.loads, write(".jsonl", found).read_text().splitlines())
    assert len(line["label"]) == 1
    assert [e["unsure"] for e in line["prediction"]] == [False, True]
    assert [r["unsure"] for r in files.read(write(".csv", found))] == ["False", "True"]
    for suffix in (".json", ".conll"):
        rows, _ = read(write(suffix, found))
        assert [s["type"] for s in rows[0]["spans"]] == ["PER"]


def test_the_gold_of_an_export_does_not_come_back_as_the_prediction() -> None:
    """Rows to predict may be exports themselves, with entities of their own."""
    gold = [[0, 1, "GOLD"]]
    value = {"start": 0, "end": 1, "labels": ["GOLD"]}
    results = [{"value": value, "type": "labels"}]
    cases = [
        {"text": TEXT, "label": gold},
        {"text": TEXT, "entities": [{"start_offset": 0, "end_offset": 1, "label": "GOLD"}]},
        {"text": TEXT, "spans": [{"start": 0, "end": 1, "label": "GOLD"}], "answer": "reject"},
        {"data": {"text": TEXT, "x": 1}, "annotations": [{"result": results}]},
        {"data": {"text": TEXT}, "predictions": [{"result": results}], "was_cancelled": True},
        {"text": TEXT, "tokens": [{"text": "a", "start": 0, "end": 1}], "score": 3},
    ]

    def check(row: dict[str, Any]) -> None:
        found = [predicted({**row, files.LINE: 1}, entities(TEXT, SPANS))]
        for suffix in (".jsonl", ".json"):
            (back,), _ = read(write(suffix, found))
            assert back["spans"] == expected(found[0])
        line = json.loads(write(".jsonl", found).read_text())
        kept = [line.get(f"{name}_", line.get(name)) for name in row if name != "text"]
        assert kept == [row[name] for name in row if name != "text"]  # nothing is lost

    each([(row,) for row in cases], check)


def test_other_suffixes_are_tables_of_rows() -> None:
    assert exports.content(".xyz", FOUND, Layout()) is None


def test_predictions_of_label_studio_are_no_gold_beside_annotations() -> None:
    prediction = {"result": [{"value": {"start": 2, "end": 6, "labels": ["PER"]}}]}
    row = {"data": {"text": TEXT}, "annotations": [], "predictions": [prediction]}
    Path("a.json").write_text(json.dumps([row]))
    with pytest.raises(files.UserError, match="not annotated yet in Label Studio"):
        read(Path("a.json"))


def test_a_table_of_entities_is_written_as_the_one_that_was_read() -> None:
    content = exports.content(".csv", FOUND, Layout())
    predictions.write_predictions(
        Path("out.csv"), [], [], False, content, predictions.Dialect(";", mark=True)
    )
    assert Path("out.csv").read_bytes().startswith(b"\xef\xbb\xbfdocument;type;text;")
    assert [row["text"] for row in files.read(Path("out.csv"))] == [
        "Anna",
        "New\r\nYork",
        "Köln",
        "in\tNew York",
    ]
    assert predictions.are_in(Path("out.csv"))
