"""What decides across rows: the words of most rows first, errors apart."""

from __future__ import annotations

from ftlight.explain.across import Decider, by_label, choose, deciders, findings
from ftlight.explain.explanation import Explained, Explanation, Side, Word


def row(text: str, label: str, *weights: float) -> Explained:
    words, start = [], 0
    for word, weight in zip(text.split(), weights, strict=True):
        words.append(Word(start, start + len(word), weight))
        start += len(word) + 1
    why = Explanation(label, 0.9, sides=[Side("text", text, words)])
    return Explained(0, {"text": text}, {"prediction": label}, [why])


ROWS = [
    row("Ref hello card", "a", 1.0, 0.1, 0.6),
    row("hello ref, please", "a", 0.1, 1.0, 0.4),
    row("my ref", "a", -0.5, 0.2),
    row("late ref", "b", 0.4, 1.0),
    row("late card", "b", 1.0, 0.1),
    row("nothing here", "b", -1.0, 0.0),
]


def test_words_are_counted_by_answer_and_by_whether_it_is_right() -> None:
    found = deciders(ROWS, [True, True, True, False, True, True])
    assert found[:2] == [Decider("a", "ref", 3, 3, False), Decider("b", "ref", 1, 1, True)]
    assert Decider("a", "card", 1, 3, False) in found
    assert by_label(found, wrong=False)[0] == ("a", ["ref 3/3"])
    assert by_label(found, wrong=True) == [("b", ["ref 1/1"])]
    assert not any(item.word == "nothing" for item in found)


def test_what_decides_much_of_a_class_or_errors_is_a_finding() -> None:
    found = [
        Decider("refund late", "refunds", 9, 9, False),  # of the class's own name
        Decider("a", "card", 5, 20, False),  # a quarter
        Decider("a", "ref", 4, 5, False),
        Decider("b", "ref", 3, 9, True),
        Decider("b", "x", 2, 2, False),  # two rows
    ]
    lines = [finding.line for finding in findings(found, "validation")]
    assert lines == [
        "validation: 'ref' decides a in 4 of 5 explained rows; if the word is no reason, remove it"
        " from the texts",
        "validation: 'ref' decides b in 3 of 9 explained rows that are not; look at rows with 'ref'"
        " in train",
    ]


def test_rows_are_chosen_from_all_classes_and_half_of_them_wrong() -> None:
    labels = ["a"] * 50 + ["b"] * 5 + ["c"] * 5
    right = [i % 3 > 0 for i in range(60)]
    chosen = choose(right, labels, 12)
    assert len(set(chosen)) == 12
    assert sum(not right[i] for i in chosen) == 6
    assert {labels[i] for i in chosen} == {"a", "b", "c"}
    assert sorted(choose(right, labels, 100)) == list(range(60))
    assert choose([True] * 60, labels, 4) == [0, 50, 55, 1]
