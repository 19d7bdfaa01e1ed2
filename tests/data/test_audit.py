"""Faults planted in a data set, and what an audit says of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from conftest import WORDS, each
from scipy import stats
from sklearn.metrics import roc_auc_score

from ftlight.data import duplicates, near, personal, shortcuts, subgroups
from ftlight.data.audit import Audit, audit, read
from ftlight.data.findings import Finding, Rows, from_json, notes, to_json

LABELS = ("refund", "late", "thanks")


def sentences(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=9)) for _ in range(count)]


def rows(texts: Sequence[str], labels: Sequence[str] | None = None, **more: Any) -> Rows:
    members = labels and [[label] for label in labels]
    keys = list(map(duplicates.key, texts))
    return Rows(range(2, len(texts) + 2), None, [texts], keys, labels, members, **more)


def labelled(count: int, seed: int) -> tuple[list[str], list[str]]:
    return sentences(count, seed), [LABELS[i % 3] for i in range(count)]


def of_kind(found: Audit, kind: str, split: str = "train") -> Finding:
    (finding,) = [f for f in found.findings if (f.kind, f.split) == (kind, split)]
    return finding


def test_clean_data_have_nothing_to_look_at() -> None:
    splits = {
        name: rows(*labelled(90, seed)) for seed, name in enumerate(("train", "validation", "test"))
    }
    found = audit(splits)
    assert [f.kind for f in found.findings] == ["balance", "size", "size", "size"]
    assert not len(found.leaked)


def test_leaks_are_found_the_same_or_nearly() -> None:
    texts, labels = labelled(120, 0)
    tests, answers = labelled(40, 1)
    tests[3], tests[5], tests[7] = texts[10].upper(), texts[20], texts[30].replace(" ", "  ")
    tests[11] = f"{texts[40]} now"
    found = audit({"train": rows(texts, labels), "test": rows(tests, answers)})
    leak, like = of_kind(found, "leak", "test"), of_kind(found, "near leak", "test")
    assert (leak.rows, leak.lines, leak.level) == (3, [5, 7, 9], "look")
    assert (like.rows, like.lines) == (1, [13])
    assert "line 13" in like.example
    assert "line 42 of train" in like.example
    assert found.leaked.tolist() == [10, 20, 30, 40]
    assert np.flatnonzero(found.twins["test"] >= 0.8).tolist() == [3, 5, 7, 11]
    assert found.twins["test"][3] == 1


def test_empty_rows_are_said_to_be_empty_and_no_more() -> None:
    texts = {"train": [*sentences(20, 0), "", ""], "test": [*sentences(5, 9), "", "!"]}
    splits = {
        name: rows(own, ["ab"[i % 2] for i in range(len(own))]) for name, own in texts.items()
    }
    found = audit(splits)
    assert not {f.kind for f in found.findings} & {"leak", "near leak", "conflict", "near conflict"}
    assert [f.rows for f in found.findings if f.kind == "empty"] == [2, 1]
    assert found.leaked.tolist() == []
    assert found.twins["test"].max() < near.REPEATS


def test_a_leak_stops_if_that_is_asked_for() -> None:
    texts, labels = labelled(60, 0)
    splits = {"train": rows(texts, labels), "test": rows(texts[:1], labels[:1])}
    assert audit(splits, forbids=True).findings[0].level == "stop"
    assert all(finding.level != "stop" for finding in audit(splits).findings)


def test_a_file_that_is_nearly_all_in_train_stops() -> None:
    texts, labels = labelled(200, 0)
    train = rows(texts, labels)

    def check(count: int, file: str | None, level: str) -> None:
        test = rows(texts[:count] + sentences(5, 9), labels[:count] + ["late"] * 5)
        found = audit({"train": train, "test": test._replace(file=file)}).findings[0]
        assert (found.level, found.kind) == (level, "overlap" if level == "stop" else "leak")

    # fewer than 100 rows may be a try-out, and a share of train repeats what train repeats
    each([(95, "test.csv", "stop"), (94, "test.csv", "look"), (150, None, "look")], check)


def test_other_labels_of_the_same_row_or_nearly() -> None:
    texts, labels = labelled(60, 0)
    texts += [texts[0], f"{texts[1]} now", texts[2]]
    labels += ["late", "refund", labels[2]]
    found = audit({"train": rows(texts, labels)})
    assert of_kind(found, "conflict").lines == [62]
    assert of_kind(found, "near conflict").lines == [63]
    assert of_kind(found, "repeats").lines == [62, 64]
    assert of_kind(found, "near repeats").lines == [63]


def test_a_planted_shortcut_and_group_come_first() -> None:
    texts, labels = labelled(300, 0)
    texts = [
        f"{text} ref 7731" if label == "late" else text
        for text, label in zip(texts, labels, strict=True)
    ]
    draw = random.Random(0)
    groups = ["b" if label == "refund" and draw.random() < 0.8 else "a" for label in labels]
    texts.append(texts[0])
    labels.append("late")
    groups.append("a")
    found = audit({"train": rows(texts, labels, groups={"region": groups})}).findings
    assert [f.kind for f in found[:2]] == ["shortcut", "group"]
    assert "'7731', 'ref' alone gives 'late' away: 99% of its rows have it, and 100%" in (
        found[0].message
    )
    assert "'refund' falls to 100% of" in found[1].message


def test_a_length_that_gives_a_class_away() -> None:
    texts, labels = labelled(120, 0)
    texts = [
        f"{text} {text[::-1]}" if label == "late" else text
        for text, label in zip(texts, labels, strict=True)
    ]
    finding = of_kind(audit({"train": rows(texts, labels)}), "length")
    assert "'late' away: its 40 rows are longer (area under the ROC curve 1.000)" in finding.message


def test_the_area_is_that_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    is_one = draw.random(300) < 0.3
    sizes = (draw.integers(20, 60, 300) + 34 * is_one).tolist()
    labels = [["one"] if flag else ["other"] for flag in is_one]
    areas = {label: area for label, area, _ in shortcuts.lengths(sizes, labels)}
    assert areas["one"] == pytest.approx(roc_auc_score(is_one, sizes))


def test_words_of_the_name_are_no_shortcut() -> None:
    texts = [f"{text} refund" for text in sentences(80, 0)] + sentences(80, 1)
    labels = [["refund_status"]] * 80 + [["late"]] * 80
    texts[:20] = sentences(20, 2)  # about three quarters of the class have the word
    texts[80:] = [text.replace("refund", "x") for text in texts[80:]]
    assert shortcuts.words(texts, labels) == []
    assert [w.word for w in shortcuts.words(texts, [["a"]] * 80 + [["b"]] * 80)] == ["refund"]


def test_gaps_between_groups_are_no_chance() -> None:
    """Alarms under the null in about 1 of 100 draws, and the p-value of scipy."""
    draw = np.random.default_rng(0)
    alarms = 0
    for _ in range(100):
        groups = draw.choice(["a", "b", "c", ""], 400).tolist()
        labels = [[label] for label in draw.choice(["x", "y"], 400)]
        alarms += bool(subgroups.of_labels(groups, labels))
    assert alarms <= 3
    groups = ["a"] * 100 + ["b"] * 300
    labels = [["x"] if i % 100 < 60 else ["y"] for i in range(100)]
    labels += [["x"] if i % 100 < 30 else ["y"] for i in range(300)]
    gap = subgroups.of_labels(groups, labels)[0]
    table = np.array([[60, 40], [90, 210]])
    assert gap.p == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue)
    assert (gap.inside, gap.outside) == (0.6, 0.3)


def test_numbers_of_a_group_that_are_far_off() -> None:
    draw = np.random.default_rng(0)
    values = draw.normal(size=200)
    groups = ["a"] * 100 + ["b"] * 100
    assert subgroups.of_values(groups, values.tolist()) == []
    values[:100] += 1
    gap = subgroups.of_values(groups, values.tolist())[0]
    test = stats.ttest_ind(values[:100], values[100:], equal_var=False)
    assert gap.p == pytest.approx(test.pvalue, rel=0.5)  # by the normal distribution


def test_a_pair_of_texts_and_rows_without_any() -> None:
    texts, others = sentences(40, 0), sentences(40, 1)
    texts[30:32], others[30:32] = [texts[0], texts[1]], [others[0], others[9]]
    keys = [*map(duplicates.key, texts, others)]
    train = Rows(range(2, 42), None, [texts, others], keys, ["a"] * 40)
    found = audit({"train": train})
    assert of_kind(found, "repeats").lines == [32]
    images = Rows(["a.png", "b.png", "c.png"], None, None, ["1", "2", "1"], ["x", "x", "y"])
    found = audit({"train": images})
    assert of_kind(found, "conflict").example == "a.png and c.png"
    assert audit({"train": Rows(range(3))}).findings[0].message == "3 rows"


def test_personal_data_are_counted_and_not_shown() -> None:
    texts = [*sentences(3, 0), "write to ann@example.org", "call +44 20 7946 0958"]
    found = audit({"train": rows(texts)})
    personal_data = [f for f in found.findings if f.kind == "personal"]
    assert [(f.rows, f.lines) for f in personal_data] == [(1, [5]), (1, [6])]
    assert all("ann" not in f.line and "7946" not in f.line for f in personal_data)


def test_what_looks_like_personal_data() -> None:
    none = set[str]()

    def check(text: str, kinds: set[str]) -> None:
        assert personal.kinds(text) == kinds

    each(
        [
            ("Mail: first.last+x@sub.example.co.uk!", {"mail addresses"}),
            ("@someone liked 1234567 posts", none),
            ("4111 1111 1111 1111 is my card", {"card numbers"}),
            ("4111-1111-1111-1112", none),  # its check digit is wrong
            ("order 0000000000000000", none),
            ("DE89 3704 0044 0532 0130 00", {"account numbers"}),
            ("DE89 3704 0044 0532 0130 01", none),
            ("account no. 12345678", {"account numbers"}),
            ("Konto 1234 567 890", {"account numbers"}),
            ("+49 (0)171 1234567", {"phone numbers"}),
            ("0049 30 123456", {"phone numbers"}),
            ("(555) 123-4567 or 555.123.4567", {"phone numbers"}),
            ("020 7946 0958", {"phone numbers"}),
            ("due 04-11-2004 at 10:15:00", none),
            ("1,234,567,890 of 192.168.100.200", none),
            ("3.14159265358979", none),
            ("ISBN 978-3-16-148410-0", none),
        ],
        check,
    )


def test_an_audit_is_read_as_it_was_written() -> None:
    texts, labels = labelled(60, 0)
    found = audit({"train": rows(texts, labels), "test": rows(texts[:4], labels[:4])})
    again = read(found.lines())
    assert [f.line for f in again.findings] == [f.line for f in found.findings]
    assert again.twins["test"].tolist() == found.twins["test"].tolist()
    assert again.leaked.tolist() == found.leaked.tolist()


def test_what_mends_several_findings_is_said_once() -> None:
    one = Finding("look", "leak", "test", "2 of 9 rows are in train too", 2, [3, 4], option="drop")
    other = one._replace(split="validation", lines=["a.png"])
    assert notes([one, other]) == [
        "test: 2 of 9 rows are in train too (lines 3, 4); drop",
        "validation: 2 of 9 rows are in train too (a.png)",
    ]
    assert from_json(to_json(one)) == one
