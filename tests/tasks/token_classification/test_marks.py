"""Exports of annotation tools, units of offsets, spellings of tags, CoNLL-U."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import each

from ftlight.data.remarks import collected
from ftlight.data.sources import Source
from ftlight.tasks.token_classification import offsets, readers, spelling
from ftlight.tasks.token_classification.layout import Layout
from ftlight.tasks.token_classification.marks import Mark
from ftlight.utils.errors import UserError

Found = list[list[tuple[str, str]]]
TEXT = "Anna lives in New York"
SPANS = [("PER", 0, 4), ("LOC", 14, 22)]
EXPECTED = [[("PER", "Anna"), ("LOC", "New York")]]


def read(path: Path, **layout: Any) -> tuple[Found, list[str]]:
    """Entities of each row of a file, and the remarks about it."""
    source = Source(str(path), "train", suffixes=readers.SUFFIXES)
    with collected() as remarks:
        rows = list(readers.read_rows(source, Layout(**layout), "", ""))
    for row in rows:
        for span in row["spans"]:
            assert row["text"][span["start"] : span["end"]] == span["text"]
    return [[(s["type"], s["text"]) for s in row["spans"]] for row in rows], remarks


def write(path: Path, *rows: Any) -> Path:
    """Writes rows as JSON lines, or as one array if the file is .json."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(json.dumps(rows, indent=1) if path.suffix == ".json" else lines)
    return path


def result(kind: str, start: int, end: int, text: str = TEXT, **more: Any) -> dict[str, Any]:
    """One result of Label Studio."""
    value = {"start": start, "end": end, "text": text[start:end], "labels": [kind]}
    return {"value": value, "from_name": "label", "to_name": "text", "type": "labels", **more}


def task(*annotations: dict[str, Any], text: str = TEXT, name: str = "text") -> dict[str, Any]:
    """A task of Label Studio."""
    return {"id": 1, "data": {name: text, "n": 3}, "annotations": list(annotations)}


RESULTS = [result(*span) for span in SPANS]
TRIPLES = [[start, end, kind] for kind, start, end in SPANS]
OFFSETS = [
    {"id": i, "label": k, "start_offset": a, "end_offset": b} for i, (k, a, b) in enumerate(SPANS)
]
MINIMAL = [item["value"] for item in RESULTS]
OBJECTS = [{"start": a, "end": b, "label": k} for k, a, b in SPANS]
TOKENS = [{"text": "Anna", "start": 0, "end": 4, "id": 0, "ws": True}]
PRODIGY = [{**span, "token_start": 0, "token_end": 0} for span in OBJECTS]


def test_exports_are_read_without_an_option(tmp_path: Path) -> None:
    other = {"type": "relation", "from_id": "a", "to_id": "b"}
    hyper = result("PER", 0, 4, type="hypertextlabels")
    hyper["value"]["hypertextlabels"] = hyper["value"].pop("labels")
    cases = [
        {"text": TEXT, "label": TRIPLES, "Comments": []},
        {"text": TEXT, "labels": TRIPLES},
        {"data": TEXT, "label": TRIPLES},
        {"text": TEXT, "entities": OFFSETS, "relations": [], "Comments": []},
        {"text": TEXT, "entities": TRIPLES},
        {"text": TEXT, "label": MINIMAL, "annotator": 1},
        {"review": TEXT, "label": MINIMAL, "annotator": 1},
        {"text": TEXT, "spans": PRODIGY, "tokens": TOKENS, "answer": "accept"},
        {"text": TEXT, "spans": [], "label": TRIPLES},
        task({"result": RESULTS, "was_cancelled": False}),
        task({"result": [*RESULTS, other]}),
        task({"result": [hyper, RESULTS[1]]}, name="review"),
        {"data": {"text": TEXT}, "completions": [{"result": RESULTS}]},
    ]

    def check(row: dict[str, Any]) -> None:
        for name in ("x.jsonl", "x.json"):
            assert read(write(tmp_path / name, row, row))[0] == EXPECTED * 2
        document, _ = readers.document(row, Layout(), "x.jsonl:1")
        assert document == TEXT  # to predict

    each(cases, check)


def test_a_row_to_predict_may_have_marks_of_any_kind() -> None:
    answers: list[Any] = [
        *("x", 3, ["x"], [{"result": "x"}], [{"result": 3}], [{"result": ["x"]}]),
        *([{"result": [{}]}], [{"result": [{"value": None}]}], [{"result": [{"value": "start"}]}]),
    ]

    def check(given: Any) -> None:
        row = {"data": {"review": TEXT}, "annotations": given}
        assert readers.document(row, Layout(), "x.jsonl:1")[0] == TEXT

    each([(given,) for given in answers], check)


def test_a_row_of_an_export_may_have_no_entity(tmp_path: Path) -> None:
    cases = [
        {"text": "none", "label": []},
        {"text": "none", "annotator": 1, "annotation_id": 7},
        {"text": "none", "answer": "accept", "_input_hash": 5},
        {"text": "none", "spans": None},
        task({"result": []}, text="none"),
    ]
    each(cases, lambda row: none(read(write(tmp_path / "x.jsonl", row))[0]))


def none(found: Found) -> None:
    assert found == [[]]


def test_what_the_annotator_refused_is_not_gold(tmp_path: Path) -> None:
    good = {"result": RESULTS}
    bad: dict[str, Any] = {"result": [result("LOC", 0, 4)]}
    skipped = {**bad, "was_cancelled": True}
    answers = [{"text": TEXT, "spans": OBJECTS, "answer": a} for a in ("accept", "reject")]
    ignored = {**answers[0], "answer": "ignore"}
    cases: list[tuple[list[dict[str, Any]], str]] = [
        ([answers[1], answers[0], ignored, ignored], "3 rows left out: their answer is reject or"),
        ([task(skipped), task(good), task(skipped)], "2 rows left out: cancelled in Label Studio"),
        ([task(), task(good)], "1 row left out: not annotated yet"),
        ([task(skipped, good)], ""),
        ([task(good, bad)], "1 row with several annotations"),
        ([task(bad, {**good, "ground_truth": True})], "1 row with several annotations"),
        ([{"text": TEXT, "label": TRIPLES, "was_cancelled": True}, task(good)], "cancelled"),
        ([{"text": TEXT, "entities": OFFSETS, "relations": [{"id": 1}]}], "1 row with relations"),
    ]

    def check(rows: list[dict[str, Any]], words: str) -> None:
        found, remarks = read(write(tmp_path / "x.jsonl", *rows))
        assert found == EXPECTED
        assert len(remarks) == bool(words)
        assert words in "".join(remarks)

    each(cases, check)
    # an answer of another kind is a column like any other
    assert read(write(tmp_path / "x.jsonl", {**answers[0], "answer": "no"}))[0] == EXPECTED
    with pytest.raises(UserError, match="has no row to learn from: 2 rows left out: their"):
        read(write(tmp_path / "x.jsonl", ignored, ignored))


SMILE = "😀😀 hello from Anna in Zürich"


def test_offsets_in_other_units_are_found_and_read(tmp_path: Path) -> None:
    def counted(unit: str, text: str, word: str) -> tuple[int, int]:
        def size(part: str) -> int:
            if unit == "UTF-16 units":
                return len(part.encode("utf-16-le")) // 2
            return len(part.encode()) if unit == "UTF-8 bytes" else len(part)

        start = text.index(word)
        return size(text[:start]), size(text[: start + len(word)])

    def check(unit: str, copied: bool) -> None:
        rows = []
        for text in (SMILE, "plain Anna in Rome", "Ünal and Anna in Zürich", "Anna 😀 Zürich"):
            spans = []
            for kind, word in (("PER", "Anna"), ("LOC", text.split()[-1])):
                start, end = counted(unit, text, word)
                span = {"start": start, "end": end, "label": kind}
                spans.append({**span, "text": word} if copied else span)
            rows.append({"text": text, "spans": spans})
        rows.append({"text": "no word ends inside: Annabel", "spans": [[21, 25, "PER"]]})
        found, remarks = read(write(tmp_path / "x.jsonl", *rows))
        cities = ("Zürich", "Rome", "Zürich", "Zürich")
        assert found == [*[[("PER", "Anna"), ("LOC", city)] for city in cities], [("PER", "Anna")]]
        rows_moved = {"characters": 0, "UTF-16 units": 2, "UTF-8 bytes": 3}[unit]
        said = f"x.jsonl: {rows_moved} rows with spans counted in {unit}, and read so"
        assert remarks == ([said] if rows_moved else [])

    each([(unit, copied) for unit in offsets.UNITS for copied in (False, True)], check)


def test_the_text_of_a_span_tells_the_unit_of_its_row(tmp_path: Path) -> None:
    characters = {"start": 14, "end": 18, "label": "PER", "text": "Anna"}
    units = {"start": 16, "end": 20, "label": "PER", "text": "Anna"}
    rows = [{"text": SMILE, "spans": [span]} for span in (characters, units)]
    found, remarks = read(write(tmp_path / "x.jsonl", *rows))
    assert found == [[("PER", "Anna")]] * 2
    assert len(remarks) == 1
    with pytest.raises(UserError, match=r"x.jsonl:1: span 16 to 20 is 'na i' in the text, not 'An"):
        read(write(tmp_path / "x.jsonl", {"text": SMILE, "spans": [{**units, "text": "An"}]}))


def test_spans_inside_words_are_no_other_unit() -> None:
    inside = [Mark("A", 10, 13)]  # "o f" or, in UTF-16, "lo "
    assert offsets.unit_of([(SMILE, inside)]) == "characters"
    assert offsets.unit_of([("Annabel", [Mark("A", 0, 4)])]) == "characters"
    assert offsets.unit_of([]) == "characters"
    # an emoji in few rows decides, however many spans of others lie inside words
    others = [("Ünalabel", [Mark("A", 2, 4)])] * 50
    assert offsets.unit_of([*others, (SMILE, [Mark("A", 16, 20)])]) == "UTF-16 units"
    # in Chinese each character is a word, so nothing tells
    assert offsets.unit_of([("😀我们在北京", [Mark("A", 4, 6)])]) == "characters"


def test_bad_spans_stop_the_file_with_their_line(tmp_path: Path) -> None:
    cases = [
        ([[4, 4, "A"]], "x.jsonl:1: span 4 to 4 is not within the 22 characters"),
        ([[4, 99, "A"]], "x.jsonl:1: span 4 to 99 is not within"),
        ([[-1, 3, "A"]], "x.jsonl:1: span -1 to 3 is not within"),
        ([{"start_offset": 0, "end_offset": 4}], "x.jsonl:1: expected a span such as"),
        ([{"start": 0, "end": 4, "labels": []}], "x.jsonl:1: expected a span such as"),
        ([[0]], "x.jsonl:1: expected a span such as"),
        (["good"], "x.jsonl:1: expected a span such as"),
    ]

    def check(label: list[Any], words: str) -> None:
        with pytest.raises(UserError) as info:
            read(write(tmp_path / "x.jsonl", {"text": TEXT, "label": label}))
        assert words in str(info.value)

    each(cases, check)


def test_tags_in_other_forms_are_read_as_their_types(tmp_path: Path) -> None:
    forms = {
        "B_LOC I_LOC B_PER": "B_LOC",
        "LOC-B LOC-I PER-B": "LOC-B",
        "LOC_B LOC_I PER_S": "LOC_B",
        "b-LOC i-LOC b-PER": "b-LOC",
        "B:LOC L:LOC U:PER": "B:LOC",
        "B|LOC E|LOC S|PER": "B|LOC",
        "I_LOC I_LOC I_PER": "I_LOC",
        "B-LOC I-LOC B-PER": "",
        "LOC LOC PER": "",
    }

    def check(form: str, example: str) -> None:
        outside = "o" if form.islower() else "O"
        new, york, anna = form.split()
        lines = [f"in {outside}", f"New {new}", f"York {york}", "", f"Anna {anna}", ""]
        path = tmp_path / "x.conll"
        path.write_text("\n".join(lines))
        found, remarks = read(path)
        assert found == [[("LOC", "New York")], [("PER", "Anna")]]
        said = f"x.conll: 2 rows with tags such as {example}, which are read as "
        assert len(remarks) == bool(example)
        assert all(line.startswith(said) for line in remarks)
        rows = [{"tokens": ["in", "New", "York"], "tags": ["O", "B LOC", "I LOC"]}]
        assert read(write(tmp_path / "x.jsonl", *rows))[0] == [[("LOC", "New York")]]

    each(forms.items(), check)


def test_types_that_look_like_another_form_stay() -> None:
    cases = [
        ["E_MAIL", "PER", "O"],
        ["S_DATE", "E_DATE"],
        ["B-LOC", "I-LOC", "B_PER", "X"],
        ["B-creative_work", "I-creative_work"],
        ["B-A_B", "I-A_B"],
        ["HENRY-I", "GEORGE-I"],
        ["B", "I"],
        ["O", ""],
        [],
    ]

    def check(tags: list[str]) -> None:
        assert spelling.standard(tags) == {}

    each([(case,) for case in cases], check)


CONLLU = """# sent_id = 1
# text = Anna va du Mans
1\tAnna\tAnna\tPROPN\t_\t_\t2\tnsubj\t_\tB-PER
2\tva\taller\tVERB\t_\t_\t0\troot\t_\tO
3-4\tdu\t_\t_\t_\t_\t_\t_\t_\t_
3\tde\tde\tADP\t_\t_\t5\tcase\t_\tO
4\tle\tle\tDET\t_\t_\t5\tdet\t_\tB-LOC
5\tMans\tMans\tPROPN\t_\t_\t2\tobl\t_\tI-LOC
5.1\tva\taller\tVERB\t_\t_\t_\t_\t2:conj\t_

1-2\tDu\t_\t_\t_\t_\t_\t_\t_\t_
1\tDe\tde\tADP\t_\t_\t3\tcase\t_\tO
2\tle\tle\tDET\t_\t_\t3\tdet\t_\tO
3\tthé\tthé\tNOUN\t_\t_\t0\troot\t_\tO
"""


def test_conllu_is_read_by_words(tmp_path: Path) -> None:
    for name in ("x.conllu", "x.conll"):
        path = tmp_path / name
        path.write_text(CONLLU)
        found, remarks = read(path)
        assert found == [[("PER", "Anna"), ("LOC", "le Mans")], []]
        assert remarks == [
            f"{name}: 3 lines of CoNLL-U hold several words or none (1-2, 1.1) and are left out"
        ]
    kinds, _ = read(path, token=1, tag=3)
    assert kinds[1] == [("ADP", "De"), ("DET", "le"), ("NOUN", "thé")]
    path.write_text(CONLLU.replace("\tO\n", "\t_\n"))
    assert read(path)[0] == found
    path.write_text(CONLLU.replace("\tO\n", "\tSpaceAfter=No\n"))
    with pytest.raises(UserError, match=r"x.conll:4: the last column of CoNLL-U holds SpaceAfter"):
        read(path)
    # a word of an ordinary file may look like that
    path.write_text("1-2 B-SCORE\nwon O\n")
    assert read(path) == ([[("SCORE", "1-2")]], [])
