"""How columns of labels are read: which kind, which form, what is said of it."""

from __future__ import annotations

import pytest
from conftest import each

from ftlight.data import label_forms, label_kinds, labels, numerals, spelling
from ftlight.utils.errors import UserError


def texts(cells: list[str], kind: str = "auto", separator: str | None = None) -> list[str]:
    """Cells as they are read."""
    form = label_kinds.read(dict.fromkeys(cells, 9), "a.csv", kind, separator).form  # type: ignore[arg-type]
    return [form.text(cell) for cell in cells]


def kind(cells: list[str]) -> str:
    return label_kinds.read(dict.fromkeys(cells, 9), "a.csv").kind


def test_kinds() -> None:
    cases = [
        (["0", "1"], "single"),
        (["1", "2", "3", "4", "5"], "single"),
        (["-1", "0", "1"], "single"),
        (["01", "1"], "single"),
        (["good", "bad"], "single"),
        (["0.5", "2"], "regression"),
        (["1.0", "2.0"], "single"),
        (["97.0", "12.0"], "regression"),
        (["1.0", "2.5"], "regression"),
        (["-0.5", "3"], "regression"),
        (["1e5", "2"], "regression"),
        (["2", "1E-3"], "regression"),
        (["0.5", "inf"], "single"),
        (["0.5", "-Infinity"], "single"),
        (["0.5", "high"], "single"),
        (["nan"], "single"),
        (["e", "f"], "single"),
        (["a|b", "a"], "multi"),
        (["a|", "b|"], "multi"),
        (["|"], "multi"),
        (["1|2", "3"], "multi"),
        (["0.5", "a|b"], "multi"),
        (["3", "high"], "single"),
        (["['a']", "[]"], "multi"),
        (["a,b", "b", "a", "c,a", "c"], "multi"),
        (["Books, new", "Music, live", "Toys"], "single"),
        (["0 1 0", "1 1 0"], "multi"),
        (["3,5", "2,25"], "regression"),
        (["1.234,5", "12"], "regression"),
    ]

    def check(cells: list[str], wanted: str) -> None:
        assert kind(cells) == wanted
        assert kind(cells[::-1]) == wanted

    each(cases, check)


def test_several_labels_in_every_form() -> None:
    cases = [
        (["['joy', 'fear']", "['joy']", "[]"], ["joy|fear|", "joy|", "|"]),
        (['["joy", "fear"]', '["joy"]'], ["joy|fear|", "joy|"]),
        (["['joy' 'fear']", "['anger']"], ["joy|fear|", "anger|"]),
        (["[joy, fear]", "[joy]", "[anger]"], ["joy|fear|", "joy|", "anger|"]),
        (["('joy', 'fear')", "('joy',)", "()"], ["joy|fear|", "joy|", "|"]),
        (["{'joy', 'fear'}", "{'joy'}"], ["joy|fear|", "joy|"]),
        (["['it\\'s', \"a, b\"]", "['x']"], ["it's|a, b|", "x|"]),
        (["[1, 2]", "[2]", "[]"], ["1|2|", "2|", "|"]),
        (["[1.0, 2.0]", "[2.0]"], ["1|2|", "2|"]),
        (
            ["joy,fear", "fear, anger", "joy", "anger"],
            ["joy|fear|", "fear|anger|", "joy|", "anger|"],
        ),
        (
            ["joy; fear", "fear;anger", "joy", "anger"],
            ["joy|fear|", "fear|anger|", "joy|", "anger|"],
        ),
        (["joy|fear", "fear"], ["joy|fear", "fear"]),
        (["[0, 1, 0]", "[1, 1, 0]"], ["class_1|", "class_0|class_1|"]),
        (["0 1 0", "0 0 0"], ["class_1|", "|"]),
        (["0,1,1", "1,0,0"], ["class_1|class_2|", "class_0|"]),
        (["[0. 1.]", "[1. 0.]"], ["class_1|", "class_0|"]),
        (["0|1|0|", "1|0|1|"], ["class_1|", "class_0|class_2|"]),  # lists in JSON lines
        (["[True, False]", "[False, True]"], ["class_0|", "class_1|"]),
    ]

    def check(cells: list[str], wanted: list[str]) -> None:
        assert kind(cells) == "multi"
        assert texts(cells) == wanted

    each(cases, check)


def test_a_separator_that_is_given() -> None:
    assert texts(["a / b", "c"], separator="/") == ["a|b|", "c|"]
    assert texts(["a b", "c"], separator=" ") == ["a|b|", "c|"]
    assert texts(["Books, new", "Toys"], "multi") == ["Books|new|", "Toys|"]
    assert texts(["Books, new", "Toys"], "single") == ["Books, new", "Toys"]
    assert texts(["['a', 'b']", "['a']"], "single") == ["['a', 'b']", "['a']"]


def test_names_of_a_vector() -> None:
    form = label_kinds.read({"1 0 1": 3, "0 0 0": 2}, "a.csv").form
    named = label_forms.named(form, ["joy", "fear", "anger"], "column y")
    assert named.text("1 0 1") == "joy|anger|"
    assert named.text("1 0") == "1 0|"  # unknown to encode, whose error names the line
    with pytest.raises(UserError, match=r"data\.labels: 2 names, but column y holds 0 or 1"):
        label_forms.named(form, ["joy", "fear"], "column y")


def test_numbers_in_every_notation() -> None:
    cases = [
        (["3,5", "12", "-0,25"], ["3.5", "12", "-0.25"]),
        (["1.234,5", "12,0"], ["1234.5", "12.0"]),
        (["1,234.5", "1,000"], ["1234.5", "1000"]),
        (["1 234,5", "12"], ["1234.5", "12"]),
        (["1\u202f234", "12"], ["1234", "12"]),
        (["1'234.50", "7"], ["1234.50", "7"]),
        (["−3.5", "2"], ["-3.5", "2"]),
        (["1,234,567", "12"], ["1234567", "12"]),
        (["3.5", "2"], ["3.5", "2"]),
    ]

    def check(cells: list[str], wanted: list[str]) -> None:
        assert texts(cells, "regression") == wanted
        assert texts(cells) == wanted

    each(cases, check)


def test_what_could_be_read_in_two_ways_is_one_line() -> None:
    cases = [
        (["1,234", "2,500"], r"may have commas for decimals or for thousands; write them"),
        (["1", "2", "1,2"], r"'1,2' may be numbers with a decimal comma or several labels"),
        (["[0.1, 0.9]", "[0.5, 0.5]"], r"rows hold several numbers, such as '\[0.1, 0.9\]'"),
        (["0.1|0.9|", "0.5|0.5|"], r"rows hold several numbers"),
    ]

    def check(cells: list[str], said: str) -> None:
        with pytest.raises(UserError, match=said):
            kind(cells)

    each(cases, check)


def test_notes() -> None:
    cases = [
        (["1.0", "0.0"], ["kind of task: single, by column y (data.kind); 1.0 is class 1;"]),
        (
            ["3,5", "4"],
            ["kind of task: regression, by column y (data.kind); numbers such as '3,5'"],
        ),
        (["['a']", "[]"], ["kind of task: multi, by column y (data.kind); lists such as"]),
        (["a,b", "a", "b"], ["kind of task: multi, by column y (data.kind); labels joined by ','"]),
        (
            ["Books, new", "Toys"],
            ["kind of task: single", "column y: labels such as 'Books, new' are a class each;"],
        ),
        (
            ["a/b", "b/c", "c/a", "a"],
            ["kind", "column y: labels such as 'a/b', 'b/c' and 1 more are"],
        ),
        (["a b", "c d", "e"], ["kind of task: single, by column y (data.kind)"]),
        (["[a]", "b", "c"], ["kind", "column y: labels such as '[a]' look like lists, but most"]),
        (["0 1", "1 1"], ["kind of task: multi, by column y (data.kind); 0 or 1 for each of 2"]),
    ]

    def check(cells: list[str], starts: list[str]) -> None:
        reading = label_kinds.read(dict.fromkeys(cells, 9), "a.csv")
        notes = reading.notes(cells, "column y", told=True)
        assert len(notes) == len(starts), notes
        for note, start in zip(notes, starts, strict=True):
            assert note.startswith(start), note

    each(cases, check)


def test_missing_numbers() -> None:
    assert numerals.are_missing({"1.5", "nan", "N/A", "2"}) == {"nan", "N/A"}
    assert numerals.are_missing({"1,5", "None"}) == {"None"}
    assert numerals.are_missing({"none", "favor", "NA"}) == set()
    assert numerals.are_missing({"nan"}) == set()


def test_classes_with_decimals() -> None:
    assert texts(["0.0", "1.0", "2"]) == ["0", "1", "2"]
    assert texts(["10.0", "20.0"], "single") == ["10", "20"]
    assert texts(["1.0", "good"], "single") == ["1.0", "good"]
    names = ["0", "1", "2"]
    assert labels.known_as(["0.0", "2", "3.0"], "single", names) == ["0", "2", "3.0"]
    assert labels.known_as(["0", "1"], "single", ["0.0", "1.0"]) == ["0.0", "1.0"]
    assert labels.known_as(["0.0|2|", "|"], "multi", names) == ["0|2|", "|"]


def test_spellings() -> None:
    same = [
        ("Joy", "joy"),
        ("card  arrival", "card\u00a0arrival"),
        ("caf\u00e9", "cafe\u0301"),
        ("fear\u200b", "fear"),
        ("STRASSE", "straße"),
    ]

    def check(one: str, other: str) -> None:
        assert spelling.key(one) == spelling.key(other)
        assert spelling.alike({one: 1, other: 2}) == [[other, one]]
        assert set(spelling.folded({one: 1, other: 2}).values()) == {other}

    each(same, check)
    assert spelling.alike({"joy": 1, "fear": 2, "x2": 1, "x²": 1}) == []
