"""Audit of a data set by its texts and tables alone: what would spoil training, or its scores."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ftlight.data import personal, shortcuts, subgroups
from ftlight.data.duplicates import DROP, Alike
from ftlight.data.findings import Finding, Rows, count_of, from_json, ordered, to_json
from ftlight.utils.errors import join_limited, shortened
from ftlight.utils.format import counted

FEW = 10  # rows of a class; fewer teach little


class Audit(NamedTuple):
    """What an audit found.

    Attributes:
        findings: the findings, the gravest first.
        twins: for validation and test, how like the nearest row of train each row is, as a Jaccard
            index ``float [rows]``; 1 if they are the same, 0 if none is like it.
        leaked: rows of train that repeat one of validation or test, the same or nearly.
    """

    findings: list[Finding]
    twins: dict[str, np.ndarray]
    leaked: np.ndarray

    def lines(self) -> list[str]:
        """The audit as lines of JSON: a finding each, and last what they do not hold."""
        twins = {name: values.tolist() for name, values in self.twins.items()}
        rest = json.dumps({"twins": twins, "leaked": self.leaked.tolist()})
        return [*map(to_json, self.findings), rest]


def settled(found: Audit) -> Audit:
    """The audit of data whose leaks are taken out of train: they are no decision any more."""
    calm = [f._replace(level="know", option="") if f.option == DROP else f for f in found.findings]
    return found._replace(findings=ordered(calm))


def read(lines: Sequence[str]) -> Audit:
    """The audit that was written as lines of JSON."""
    rest = json.loads(lines[-1])
    twins = {name: np.array(values) for name, values in rest["twins"].items()}
    return Audit(list(map(from_json, lines[:-1])), twins, np.array(rest["leaked"], int))


def audit(splits: Mapping[str, Rows], forbids: bool = False) -> Audit:
    """Audits the splits of a data set.

    Args:
        splits: the rows of each split, train first.
        forbids: whether a row of train in validation or test is to end the run.
    """
    alike = Alike(splits)
    findings = [
        *_shortcuts(splits),
        *_groups(splits),
        *alike.leaks(forbids),
        *alike.conflicts(),
        *_labels(splits),
        *_personal(splits),
        *alike.repeats(),
        *_empty(splits),
        *_sizes(splits),
    ]
    return Audit(ordered(findings), alike.twins, alike.leaked)


def _joined(rows: Rows) -> Sequence[str]:
    """The text of each row, its parts joined."""
    parts = rows.parts or [[]]
    return parts[0] if len(parts) == 1 else [" ".join(texts) for texts in zip(*parts, strict=True)]


def _shortcuts(splits: Mapping[str, Rows]) -> Iterator[Finding]:
    """What alone gives a class away in train."""
    rows = splits.get("train")
    if rows is None or rows.parts is None or rows.labels is None:
        return
    texts, labels = _joined(rows), rows.labels
    by_label: dict[str, list[shortcuts.Word]] = {}
    for word in shortcuts.words(texts, labels):
        by_label.setdefault(word.label, []).append(word)
    for label, words in by_label.items():
        having = [row for row, text in enumerate(texts) if label in labels[row]]
        having = [row for row in having if words[0].word in shortcuts.tokens(texts[row])]
        names = join_limited([repr(word.word) for word in words], 3)
        message = (
            f"{names} alone gives {label!r} away: {words[0].recall:.0%} of its rows have it, and"
            f" {words[0].precision:.0%} of the rows that have it are of it"
        )
        yield Finding(
            *("look", "shortcut", "train", message, len(having), rows.lines(having)),
            repr(shortened(texts[having[0]])),
            "take it out of the texts unless new ones will have it too",
        )
    sizes = [len(text) for text in texts]
    for label, area, is_longer in shortcuts.lengths(sizes, labels):
        count = sum(label in members for members in labels)
        how = "longer" if is_longer else "shorter"
        yield Finding(
            *("look", "length", "train"),
            f"the length alone gives {label!r} away: its {count:,} rows are {how}"
            f" (area under the ROC curve {area:.3f})",
            count,
        )


def _groups(splits: Mapping[str, Rows]) -> Iterator[Finding]:
    """Labels, or numbers, of one group of train that are far from those of the others."""
    rows = splits.get("train")
    if rows is None:
        return
    for column, groups in rows.groups.items():
        if rows.labels is not None:
            for gap in subgroups.of_labels(groups, rows.labels):
                labels = zip(groups, rows.labels, strict=True)
                is_both = [group == gap.group and gap.label in own for group, own in labels]
                yield _group(
                    f"{gap.label!r} falls to {gap.inside:.0%} of the {gap.rows:,} rows with"
                    f" {column} {gap.group!r}, to {gap.outside:.0%} of the others",
                    rows.lines(np.flatnonzero(is_both)),
                )
        if rows.values is not None:
            for gap in subgroups.of_values(groups, rows.values):
                mine = [i for i, group in enumerate(groups) if group == gap.group]
                yield _group(
                    f"the mean of the {gap.rows:,} rows with {column} {gap.group!r} is"
                    f" {gap.inside:.4g}, that of the others {gap.outside:.4g}",
                    rows.lines(mine),
                )


def _group(message: str, lines: Sequence[object]) -> Finding:
    way_out = "see whether the world is so, or how the rows were gathered"
    return Finding("look", "group", "train", message, len(lines), lines, option=way_out)


def _labels(splits: Mapping[str, Rows]) -> Iterator[Finding]:
    """Classes of few rows, and how many rows classes have."""
    rows = splits.get("train")
    if rows is None or rows.labels is None:
        return
    counts = Counter(label for members in rows.labels for label in members)
    if len(counts) < 2:
        return
    few = sorted((count, label) for label, count in counts.items() if count < FEW)
    if few:
        such = {label for _, label in few}
        found = [i for i, members in enumerate(rows.labels) if such & set(members)]
        names = join_limited((f"{label} {count}" for count, label in few), 4)
        what = "1 label has" if len(few) == 1 else f"{len(few)} of {len(counts)} labels have"
        yield Finding(
            *("look", "few", "train"),
            f"{what} fewer than {FEW} rows ({names})",
            *(len(found), rows.lines(found)),
        )
    (most, high), (least, low) = counts.most_common(1)[0], counts.most_common()[-1]
    yield Finding(
        *("know", "balance", "train"),
        f"{len(counts)} labels, of {low:,} rows ({least}) to {high:,} ({most})",
        len(rows.labels),
    )


def _personal(splits: Mapping[str, Rows]) -> Iterator[Finding]:
    """What looks like personal data; none of it is shown."""
    for name, rows in splits.items():
        found: dict[str, list[int]] = {}
        for row, text in enumerate(_joined(rows)):
            for kind in personal.kinds(text):
                found.setdefault(kind, []).append(row)
        for kind, having in sorted(found.items()):
            yield Finding(
                *("look", "personal", name),
                f"{count_of(len(having), len(rows.places))} have what looks like {kind}",
                *(len(having), rows.lines(having)),
            )


def _empty(splits: Mapping[str, Rows]) -> Iterator[Finding]:
    """Rows without an input; a reader says so too, and what to do."""
    for name, rows in splits.items():
        found = [row for row, key in enumerate(rows.keys or ()) if not key]
        if found:
            message = f"{count_of(len(found), len(rows.places))} are empty"
            yield Finding("know", "empty", name, message, len(found), rows.lines(found))


def _sizes(splits: Mapping[str, Rows]) -> Iterator[Finding]:
    """How many rows there are, and how long."""
    for name, rows in splits.items():
        about = f"{counted(len(rows.places), 'row')}"
        if rows.parts is not None and len(rows.places):
            sizes = np.array([len(text) for text in _joined(rows)])
            low, middle, high = np.quantile(sizes, [0, 0.5, 1]).astype(int).tolist()
            about += f" of {low:,} to {high:,} characters (median {middle:,})"
        yield Finding("know", "size", name, about, len(rows.places))
