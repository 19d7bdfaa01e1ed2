from __future__ import annotations

from collections import Counter

import pytest
from conftest import each

from ftlight.data import labels
from ftlight.utils.errors import UserError


def encode(
    values: list[str], kind: labels.Kind, names: list[str], lines: list[int] | None = None
) -> list[object]:
    return labels.encode(
        values, lines or [*range(2, 2 + len(values))], kind, names, "test.csv", "train.csv"
    )


def fault(
    values: list[str], kind: labels.Kind, names: list[str], lines: list[int] | None = None
) -> str:
    with pytest.raises(UserError) as info:
        encode(values, kind, names, lines)
    return str(info.value)


# Kind


def test_numbers() -> None:
    cases = ["0", "1", "-1", "+2", "0.5", "-.5", "1.", "1e5", "1E-3", "01", "1e+2"]

    def check(value: str) -> None:
        assert labels.is_number(value)

    each(cases, check)


def test_words() -> None:
    cases = [
        "nan",
        "NaN",
        "inf",
        "-inf",
        "infinity",
        "1_000",
        "",
        "1,5",
        "1.2.3",
        "0x1f",
        "one",
        "e5",
        "²",
        "1e999",
    ]

    def check(value: str) -> None:
        assert not labels.is_number(value)

    each(cases, check)


def test_members() -> None:
    cases = [
        ("a", ["a"]),
        ("a|b", ["a", "b"]),
        (" a | b c |", ["a", "b c"]),
        ("|", []),
        ("", []),
        ("b||a", ["b", "a"]),
        ("01|1", ["01", "1"]),
    ]

    def check(value: str, names: list[str]) -> None:
        assert labels.split_labels(value) == names

    each(cases, check)


# Collecting


def collect(rows: dict[str, int], kind: labels.Kind = "single") -> tuple[list[str], list[str]]:
    return labels.collect(rows, kind, "train.csv: column label")


def test_order() -> None:
    cases = [
        (["10", "9", "1", "2"], ["1", "2", "9", "10"]),
        (["b", "a", "C"], ["C", "a", "b"]),
        (["10", "9", "x"], ["10", "9", "x"]),
        (["ä", "z", "a"], ["a", "z", "ä"]),
    ]

    def check(given: list[str], ordered: list[str]) -> None:
        assert collect(dict.fromkeys(given, 9)) == (ordered, [])
        assert collect(dict.fromkeys(given[::-1], 9)) == (ordered, [])

    each(cases, check)


def test_order_of_signed_numbers_and_fractions() -> None:
    cases = [["-2", "-1", "0", "1", "2"], ["-1", "0", "1", "10"], ["0.5", "2.0", "10.0"]]

    def check(ordered: list[str]) -> None:
        assert collect(dict.fromkeys(ordered[::-1], 9))[0] == ordered

    each(cases, check)


def test_labels_that_look_alike_are_kept_apart_with_a_note() -> None:
    names, notes = collect({"1": 9, "01": 9, "2": 9})
    assert names == ["01", "1", "2"]
    assert notes == ["labels '01', '1' look alike and are kept apart"]


def test_labels_that_differ_by_case_have_a_note() -> None:
    names, notes = collect({"good": 9, "Good": 9, "bad": 9, "Bad": 9})
    assert names == ["Bad", "Good", "bad", "good"]
    assert notes == [
        "labels that differ only in capitals, blanks, hyphens, Unicode form or a letter written out"
        " (ue for ü) are kept apart:"
        " 'Bad' (9) and 'bad' (9); 'Good' (9) and 'good' (9);"
        " to join them set data.fold_labels: true"
    ]


def test_labels_that_may_stand_for_none_have_a_note() -> None:
    notes = collect({"good": 9, "nan": 4, "none": 5})[1]
    assert notes == ["label 'nan' (4 rows) may stand for a missing one; here it is a class"]


def test_many_rare_numbers_have_a_note() -> None:
    notes = collect({str(i): 1 for i in range(40)})[1]
    assert notes[-1] == "these labels are numbers, most of them rare: if so, data.kind: regression"
    assert labels.collect({str(i): 1 for i in range(40)}, "single", "", is_asked=True)[1] == []


def test_zeros_alone_are_no_empty_label() -> None:
    assert collect({"0": 9, "00": 9, "x": 9})[1] == [
        "labels '0', '00' look alike and are kept apart"
    ]


def test_single_class() -> None:
    def check(rows: dict[str, int], said: str) -> None:
        with pytest.raises(UserError) as info:
            collect(rows)
        assert (
            str(info.value)
            == f"train.csv: column label holds a single class ({said}); there is nothing to learn"
        )

    each([({"spam": 12}, "spam"), ({}, "none")], check)


def test_a_single_class_beside_those_that_a_run_knows() -> None:
    with pytest.raises(UserError) as info:
        labels.collect({"spam": 12}, "single", "new.csv: column label", ["bad", "good"])
    assert str(info.value) == (
        "new.csv: column label holds a single class (spam); a run forgets what its train lacks:"
        " put rows of the labels that it began with (bad, good) beside these, in one file"
    )
    notes = labels.absent(["a", "new"], "single", ["a", "b", "new"], "train", ["a", "b"])
    assert "1 of the 3 labels (b): what is known of it is forgotten" in notes[0]


def test_multi_counts_members() -> None:
    names, notes = collect(Counter({"b|a": 2, "a": 1, "c|": 1, "|": 5}), "multi")
    assert names == ["a", "b", "c"]
    assert notes == []


def test_multi_with_one_label_is_something_to_learn() -> None:
    assert collect({"a|": 5, "|": 5}, "multi") == (["a"], [])


def test_multi_without_any_label() -> None:
    with pytest.raises(UserError, match=r"single class \(none\)"):
        collect({"|": 5}, "multi")


def test_bars_are_part_of_single_labels() -> None:
    assert collect({"a|b": 5, "c": 5})[0] == ["a|b", "c"]


# Numbers


def test_encode_single() -> None:
    assert encode(["b", "a", "b"], "single", ["a", "b"]) == [1, 0, 1]
    assert encode(["01", "1"], "single", ["1", "01"]) == [1, 0]
    assert encode(["a|b"], "single", ["a|b", "c"]) == [0]


def test_encode_multi() -> None:
    assert encode(["b|a", "a", "|", "c | b"], "multi", ["a", "b", "c"]) == [[1, 0], [0], [], [2, 1]]


def test_encode_regression() -> None:
    assert encode(["0.5", "-2", "1e3"], "regression", []) == [0.5, -2.0, 1000.0]


def test_regression_with_something_else_than_a_number() -> None:
    def check(value: str) -> None:
        message = fault(["0.5", "1", value, "word"], "regression", [], [2, 3, 7, 8])
        assert (
            message
            == f"test.csv:7: label {value!r} is not a number; for classes set data.kind: single"
        )

    each(["high", "nan", "inf", "", "1,5"], check)


def test_unknown_label_names_line_and_list() -> None:
    assert fault(["a", "b", "d", "a"], "single", ["a", "b", "c"], [2, 3, 5, 6]) == (
        "test.csv:5: label 'd' is not in train.csv (1 such: d); labels there: a, b, c."
        " Correct it, take the rows out, or add some to train"
    )


def test_unknown_labels_are_listed_in_the_order_of_the_file() -> None:
    message = fault(["x", "a", "y", "z"], "single", ["a", "b"])
    assert message.startswith("test.csv:2: label 'x' is not in train.csv (3 such: x, y, z);")


def test_first_of_unknown_labels_that_come_again() -> None:
    message = fault(["x", "a", "y", "x"], "single", ["a", "b"])
    assert message.startswith("test.csv:2: label 'x' is not in train.csv (2 such: x, y);")


def test_first_of_two_unknown_labels_in_a_row() -> None:
    message = fault(["a", "x|y"], "multi", ["a", "b"])
    assert message.startswith("test.csv:3: label 'x' is not in train.csv (2 such: x, y);")


def test_many_unknown_labels_are_cut() -> None:
    message = fault([f"u{i}" for i in range(9)], "single", [f"n{i}" for i in range(12)])
    assert "(9 such: u0, u1, u2, u3, u4 and 4 more)" in message
    assert "labels there: n0, n1, n2, n3, n4, n5, n6, n7 and 4 more." in message


def test_an_unknown_label_that_is_written_otherwise_says_how_to_join() -> None:
    message = fault(["Joy "], "single", ["joy", "fear"])
    assert message.endswith(
        "; it differs from 'joy' only in capitals, blanks, hyphens, Unicode form or a letter"
        " written out (ue for ü):"
        " data.fold_labels: true joins them"
    )


def test_unknown_member() -> None:
    assert fault(["a|b", "a|d"], "multi", ["a", "b"]).startswith(
        "test.csv:3: label 'd' is not in train.csv (1 such: d);"
    )
