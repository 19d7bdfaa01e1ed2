"""Tag schemes, readers of entities and span scores; seqeval is the judge."""

from __future__ import annotations

import itertools
import json
import math
import random
import warnings
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import seqeval.metrics as judge
from conftest import each
from seqeval.metrics.sequence_labeling import get_entities

from ftlight.data.sources import Source
from ftlight.metrics import spans as metrics
from ftlight.tasks.token_classification import conll
from ftlight.tasks.token_classification import readers as entities
from ftlight.tasks.token_classification import tags as spans
from ftlight.tasks.token_classification.layout import Layout
from ftlight.utils.errors import UserError

TYPES = ["LOC", "MISC", "PER"]


def random_tags(seed: int, letters: str, rows: int = 40) -> list[list[str]]:
    """Any letter after any other, most of it malformed; rows of 0 to 12 words."""
    rng = random.Random(seed)
    tags = ["O", *(f"{letter}-{name}" for letter in letters for name in TYPES)]
    return [[rng.choice(tags) for _ in range(rng.randrange(13))] for _ in range(rows)]


def random_spans(seed: int, words: int = 30) -> list[spans.Span]:
    rng = random.Random(seed)
    found = []
    place = 0
    while place < words:
        length = min(rng.randrange(1, 5), words - place)
        if rng.random() < 0.6:
            found.append((rng.choice(TYPES), place, place + length))
        place += length
    return found


# Spans of tags


def test_spans_are_those_of_seqeval() -> None:
    def check(letters: str, seed: int) -> None:
        for tags in random_tags(seed, letters):
            assert spans.find(tags) == [
                (name, first, last + 1) for name, first, last in get_entities(tags)
            ]

    each(itertools.product(["BI", "IE", "BIES", "I", "B", "ES", "BIE"], range(20)), check)


def test_spans_of_plain_cases() -> None:
    cases = [
        ["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O", "B-PER", "I-PER"],
        ["B-creative-work", "I-creative-work", "O"],
        ["I-A", "I-B", "B-B", "I-B"],
        ["S-A", "I-A", "E-A", "E-A"],
        [],
    ]

    def check(tags: list[str]) -> None:
        assert spans.find(tags) == [
            (name, first, last + 1) for name, first, last in get_entities(tags)
        ]

    each(cases, check)


def test_letters_of_other_schemes_are_read_too() -> None:
    three = [("A", 0, 3), ("A", 3, 4), ("A", 4, 5)]
    assert spans.find(["B-A", "I-A", "L-A", "U-A", "U-A"]) == three
    assert spans.find(["B-A", "M-A", "E-A", "S-A", "W-A"]) == three
    plain = [("PER", 0, 2), ("LOC", 3, 4), ("PER", 4, 5)]
    assert spans.find(["PER", "PER", "O", "LOC", "PER"]) == plain
    assert spans.find(["B", "I", "O"]) == [(spans.UNNAMED, 0, 2)]


def test_written_tags_are_read_back_and_told_apart() -> None:
    cases = itertools.product([s for s in get_args(spans.Scheme) if s != "plain"], range(20))

    def check(scheme: spans.Scheme, seed: int) -> None:
        rows = [random_spans(seed * 100 + i) for i in range(10)]
        tags = [spans.write(row, 30, scheme) for row in rows]
        assert [spans.find(row) for row in tags] == rows
        assert spans.scheme(tags) == scheme

    each(cases, check)


def test_plain_types_touching_become_one() -> None:
    assert spans.write([("A", 0, 2), ("B", 2, 3)], 4, "plain") == ["A", "A", "B", "O"]
    assert spans.scheme([["A", "A", "B", "O"]]) == "plain"


def test_scheme() -> None:
    cases = [
        (["I-A", "O", "I-A"], "IOB1"),
        (["I-A", "B-A", "O"], "IOB1"),
        (["B-A", "I-A", "O"], "IOB2"),
        (["B-A", "O", "I-A"], "IOB2"),  # a mistake in IOB2: a B- that follows nothing is never IOB1
        (["B-A", "E-A"], "BIOES"),
        (["B-A", "L-A"], "BILOU"),
        (["O", "O"], "IOB2"),
        (["B", "I"], "IOB2"),
        (["A", "O"], "plain"),
    ]

    def check(tags: list[str], scheme: str) -> None:
        assert spans.scheme([tags]) == scheme

    each(cases, check)


def test_overlaps_give_way_to_the_longest() -> None:
    overlapping = [("A", 0, 2), ("B", 1, 5), ("C", 4, 6), ("D", 6, 7), ("E", 6, 7)]
    assert spans.apart(overlapping) == [("B", 1, 5), ("D", 6, 7)]


# Scores


def check_scores(gold: list[list[str]], found: list[list[str]], types: list[str]) -> None:
    table = metrics.counts([spans.find(t) for t in gold], [spans.find(t) for t in found], types)
    values = metrics.scores(table, types)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = judge.classification_report(gold, found, output_dict=True, zero_division=0)
        expected = {
            "f1": judge.f1_score(gold, found),
            "precision": judge.precision_score(gold, found),
            "recall": judge.recall_score(gold, found),
            **{f"f1_{name}": report[name]["f1-score"] for name in types if name in report},
        }
    for name, value in expected.items():
        ours = values[name]
        assert (0.0 if math.isnan(ours) else ours) == pytest.approx(float(value), abs=1e-12), name
    assert all(math.isnan(values[f"f1_{name}"]) for name in types if name not in report)


def test_scores_are_those_of_seqeval() -> None:
    def check(letters: str, seed: int) -> None:
        gold = random_tags(seed, letters)
        rng = random.Random(seed)
        others = gold[1] or ["O"]

        def spoiled(row: list[str]) -> list[str]:
            return [tag if rng.random() < 0.8 else rng.choice(others) for tag in row]

        check_scores(gold, [spoiled(row) for row in gold], [*TYPES, "NEVER"])

    each(itertools.product(["BI", "I", "IE", "BIES"], range(15)), check)


def test_the_cases_of_seqevals_own_tests() -> None:
    cases = [
        (
            ["O O O B-MISC I-MISC I-MISC O", "B-PER I-PER O"],
            ["O O B-MISC I-MISC I-MISC I-MISC O", "B-PER I-PER O"],
        ),
        (
            ["O O O B-MISC I-MISC O B-ORG", "B-PER I-PER O"],
            ["O O B-MISC I-MISC I-MISC O O", "B-PER I-PER O"],
        ),
        (["B-A B-B O B-A"], ["O B-B B-C B-A"]),
        (["B-PER I-PER"], ["O O"]),
        (["B-PER"], ["B-ORG"]),
    ]

    def check(gold: list[str], found: list[str]) -> None:
        types = ["A", "B", "C", "MISC", "ORG", "PER"]
        check_scores([row.split() for row in gold], [row.split() for row in found], types)

    each(cases, check)


def test_what_is_not_defined_is_not_a_number() -> None:
    values = metrics.scores(metrics.counts([[], [("A", 0, 1)]], [[], []], ["A", "B"]), ["A", "B"])
    assert (values["f1"], values["recall"], values["f1_A"]) == (0, 0, 0)
    assert math.isnan(values["precision"])
    assert math.isnan(values["f1_B"])


# CoNLL text


def read(text: str, tagged: bool = True, **layout: Any) -> list[dict[str, Any]]:
    lines = enumerate(text.split("\n"), 1)
    return list(conll.sentences(lines, "x.conll", Layout(**layout), tagged))


def test_any_column_layout() -> None:
    cases = [
        ("in\tO\nRome\tB-LOC\n\nnow\tO\n", {}),
        ("in O\nRome B-LOC\n\nnow O", {}),
        ("-DOCSTART- -X- -X- O\n\nin IN O O\nRome NNP I-NP B-LOC\n\n\nnow RB O O\n", {}),
        ("-DOCSTART-\tO\nin\tO\nRome\tB-LOC\n\t\nnow\tO\n", {}),
        ("O\t1\tin\nB-LOC\t2\tRome\n \nO\t1\tnow", {"token": -1, "tag": 0}),
        ("# id 1 domain=en\nin _ _ O\nRome _ _ B-LOC\n\n# id 2 domain=en\nnow _ _ O", {}),
        ("# text = in Rome O\nin\tO\nRome\tB-LOC\n\n# now O\nnow\tO", {}),
        ("#begin document (x); part 0\nin  O\nRome   B-LOC\n\nnow  O\n\n#end", {}),
    ]

    def check(text: str, layout: dict[str, Any]) -> None:
        found = read(text, **layout)
        assert [row["tokens"] for row in found] == [["in", "Rome"], ["now"]]
        assert [row["tags"] for row in found] == [["O", "B-LOC"], ["O"]]
        lines = text.split("\n")
        assert "in" in lines[found[0]["__line__"] - 1]
        assert "now" in lines[found[1]["__line__"] - 1]

    each(cases, check)


def test_a_word_may_be_a_hash_or_a_hard_space() -> None:
    found = read("#\tO\n#tag\tB-X\n\n#first\tO\n\na\u00a0b\tO\n\tO\n")
    assert [row["tokens"] for row in found] == [["#", "#tag"], ["#first"], ["a\u00a0b", ""]]


def test_words_alone_are_enough_to_predict() -> None:
    assert [r["tokens"] for r in read("#a\nb\n\n# c\nd", tagged=False)] == [["#a", "b"], ["d"]]
    assert read("a\tO\nb\tB-X", tagged=False) == [{"tokens": ["a", "b"], "__line__": 1}]


def test_faults_name_their_line() -> None:
    cases = [
        ("in O\nNew York B-LOC", {}, "x.conll:2: 3 columns, the lines before have 2"),
        ("in\tO\nRome\t", {}, "x.conll:2: the word 'Rome' has no tag"),
        ("in\nRome", {}, "x.conll:1: the word and its tag are both column 0"),
        ("in O", {"token": 3}, "x.conll:1: no column 3, the lines have 2; set data.token"),
    ]

    def check(text: str, layout: dict[str, Any], words: str) -> None:
        with pytest.raises(UserError) as info:
            read(text, **layout)
        assert words in str(info.value)

    each(cases, check)


# Words in characters


def test_words_of_a_text() -> None:
    cases = [
        ("Dr. O'Neil, 3.5km", ["Dr", ".", "O", "'", "Neil", ",", "3", ".", "5km"]),
        ("東京 is 大きい", ["東", "京", "is", "大", "き", "い"]),
        ("ไปกรุง", ["ไ", "ป", "ก", "รุ", "ง"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("café e\u0301te\u0301", ["café", "e\u0301te\u0301"]),
        ("a\u00a0b\tc\nd", ["a", "b", "c", "d"]),
        ("ok👍🏽!", ["ok", "👍", "🏽", "!"]),
        ("", []),
        (" \n", []),
    ]

    def check(text: str, words: list[str]) -> None:
        found = spans.split(text)
        assert [text[a:b] for a, b in found] == words
        assert "".join(words) == "".join(text.split())

    each(cases, check)


def test_spans_of_whole_words_come_back() -> None:
    def check(seed: int) -> None:
        rng = random.Random(seed)
        text = "".join(rng.choice("ab ,.東é-\n") for _ in range(60))
        words = spans.split(text)
        given = [
            (name, words[a][0], words[b - 1][1]) for name, a, b in random_spans(seed, len(words))
        ]
        assert spans.align(given, words) == (random_spans(seed, len(words)), 0, 0)

    each(range(20), check)


def test_spans_take_the_words_they_touch() -> None:
    words = spans.split("in Newcastle upon Tyne")
    assert spans.align([("A", 6, 15)], words) == ([("A", 1, 3)], 1, 0)
    spaced = ("A", 2, 13)  # white space at its ends is no word
    assert spans.align([spaced], words) == ([("A", 1, 2)], 0, 0)
    assert spans.align([("A", 2, 3)], words) == ([], 0, 1)


# Files


def source(name: str) -> Source:
    return Source(name, "train", suffixes=entities.SUFFIXES)


def rows_of(path: Path, **layout: Any) -> list[dict[str, Any]]:
    return list(entities.read_rows(source(str(path)), Layout(**layout), "", ""))


def golds(rows: list[dict[str, Any]]) -> list[list[tuple[str, str]]]:
    return [[(s["type"], s["text"]) for s in row["spans"]] for row in rows]


EXPECTED = [[("LOC", "New York")], [("PER", "Ann")]]
TOKENS = [["in", "New", "York", "now"], ["Ann", "."]]
TAGS = [["O", "B-LOC", "I-LOC", "O"], ["B-PER", "O"]]
TEXTS = ["in New York now", "Ann."]
CHARACTERS = [[(3, 11, "LOC")], [(0, 3, "PER")]]


def test_every_form_gives_the_same(tmp_path: Path) -> None:
    cases = "tags ner_tags numbers parquet spans entities lists types conll conll.gz".split()

    def check(form: str) -> None:
        path = tmp_path / "x.jsonl"
        layout: dict[str, Any] = {}
        names = ["O", "B-LOC", "I-LOC", "B-PER"]
        if form in ("tags", "ner_tags"):
            rows = [{"tokens": w, form: t} for w, t in zip(TOKENS, TAGS, strict=True)]
        elif form in ("numbers", "parquet"):
            numbers = [[names.index(tag) for tag in tags] for tags in TAGS]
            rows = [{"words": w, "t": n} for w, n in zip(TOKENS, numbers, strict=True)]
            layout = {"tokens": "words", "tags": ("t",), "tag_names": tuple(names)}
        elif form == "lists":
            rows = [{"body": t, "marks": s} for t, s in zip(TEXTS, CHARACTERS, strict=True)]
            layout = {"text": "body", "spans": ("marks",)}
        else:
            key = "type" if form == "types" else "label"
            column = form if form == "entities" else "spans"
            marks = [[{"start": a, "end": b, key: c} for a, b, c in row] for row in CHARACTERS]
            rows = [{"text": t, column: s} for t, s in zip(TEXTS, marks, strict=True)]
        if form == "parquet":
            path = tmp_path / "x.parquet"
            pq.write_table(pa.Table.from_pylist(rows), path)
        elif form.startswith("conll"):
            import gzip

            path = tmp_path / f"x.{form}"
            text = ""
            for words, tags in zip(TOKENS, TAGS, strict=True):
                text += "\n".join(f"{w} {t}" for w, t in zip(words, tags, strict=True)) + "\n\n"
            path.write_bytes(gzip.compress(text.encode()) if form.endswith("gz") else text.encode())
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        found = rows_of(path, **layout)
        assert golds(found) == EXPECTED
        marked = [[(s["type"], s["start"], s["end"]) for s in row["__gold"]] for row in found]
        assert marked == [[("LOC", 1, 3)], [("PER", 0, 1)]]
        for row in found:
            for s in row["spans"]:
                assert row["text"][s["start"] : s["end"]] == s["text"]

    each(cases, check)


def test_faults_of_rows_name_their_line(tmp_path: Path) -> None:
    cases = [
        ({"tokens": ["a"], "tags": ["O", "O"]}, "x.jsonl:1: 2 tags for 1 words"),
        (
            {"tokens": ["a"], "tags": [3]},
            "x.jsonl:1: the tags are numbers; name them in order: data.tag_names",
        ),
        ({"tokens": "a b", "tags": ["O", "O"]}, "x.jsonl:1: column tokens holds no list of words"),
        (
            {"tokens": ["a"], "tgs": ["O"]},
            'x.jsonl:1: no column tags or ner_tags; did you mean "tgs"?',
        ),
        ({"txt": "a"}, 'x.jsonl:1: no column tokens (words) or text (text); did you mean "txt"?'),
        (
            {"text": "a", "label": "good"},
            "x.jsonl:1: no column spans or entities (columns: text, label); set data.spans",
        ),
        (
            {"text": "abc", "spans": [[0, 9, "A"]]},
            "x.jsonl:1: span 0 to 9 is not within the 3 characters",
        ),
        ({"text": "abc", "spans": [[2, 2, "A"]]}, "x.jsonl:1: span 2 to 2 is not within"),
        ({"text": "abc", "spans": [{"start": 0, "end": 1}]}, "x.jsonl:1: expected a span such as"),
        (
            {"text": "abc", "spans": [{"start": 0, "end": 1, "label": "A", "text": "ab"}]},
            "span 0 to 1 is 'a' in the text, not 'ab'",
        ),
        ({"text": "abc", "spans": ["A"]}, "x.jsonl:1: expected a span such as"),
    ]

    def check(row: dict[str, Any], words: str) -> None:
        (tmp_path / "x.jsonl").write_text(json.dumps(row) + "\n")
        with pytest.raises(UserError) as info:
            rows_of(tmp_path / "x.jsonl")
        assert words in str(info.value)

    each(cases, check)


def test_a_hub_data_set_with_numbered_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    from ftlight.data import hub

    features = {"id": datasets.Value("string"), "tokens": datasets.List(datasets.Value("string"))}
    names = ["O", "B-LOC", "I-LOC", "B-PER"]
    features["ner_tags"] = datasets.List(datasets.ClassLabel(names=names))
    rows = {"id": ["0", "1"], "tokens": TOKENS, "ner_tags": [[0, 1, 2, 0], [3, 0]]}
    table = datasets.Dataset.from_dict(rows, datasets.Features(features))
    monkeypatch.setattr(hub, "load_hub", lambda name: {"train": table})
    found = list(entities.read_rows(source("hf:some/set"), Layout(), "", ""))
    assert golds(found) == EXPECTED
