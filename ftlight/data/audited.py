"""The audit of a data module's splits, cached with them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import datasets

from ftlight.data import (
    audit,
    duplicates,
    files,
    findings,
    near,
    personal,
    shortcuts,
    subgroups,
    tables,
)
from ftlight.data.remarks import collected
from ftlight.data.sources import Source
from ftlight.data.splits import Splits
from ftlight.data.tables import Columns
from ftlight.utils import internals
from ftlight.utils.errors import UserError
from ftlight.utils.paths import is_line

CODE = (audit, duplicates, findings, near, personal, shortcuts, subgroups)


class Audited(Splits):
    """The part of :class:`ftlight.DataModule` that audits its splits.

    Attributes:
        check: whether the data are audited before training.
        on_leak: what is done with rows of train that are in validation or test too.
        group_columns: columns that tell which group a row belongs to.
        keeps_rows: whether each row is one of its file, as no window, sentence or user is.
    """

    keeps_rows: ClassVar[bool] = False
    check: Literal["fast", "off"]
    on_leak: Literal["keep", "drop", "stop"]
    group_columns: tuple[str, ...]

    @functools.cached_property
    def audited(self) -> audit.Audit:
        """What an audit of all splits found, cached by their rows."""
        names = [split for split in ("train", "validation", "test") if self.has(split)]
        splits = {name: self.load_split(name) for name in names}
        mark = [(name, internals.fingerprint_of(table)) for name, table in splits.items()]
        code = files.code(*CODE) + files.package_code(type(self).row_texts)
        forbids = self.on_leak == "stop"
        asked = self.files, forbids, self.group_columns
        key = datasets.fingerprint.Hasher.hash([mark, asked, code])

        def run() -> Iterator[Columns]:
            rows = {name: self._audit_rows(name, table) for name, table in splits.items()}
            yield {"line": audit.audit(rows, forbids).lines()}

        features = datasets.Features({"line": tables.TEXT})
        found = audit.read(tables.column(tables.cached_table(key, run, features), "line"))
        return audit.settled(found) if self.on_leak == "drop" else found

    def _audit_rows(self, split: str, table: datasets.Dataset) -> findings.Rows:
        """The rows of a split as an audit sees them."""
        keys = self.duplicate_keys(table)  # before the texts, which it reads too and lets go
        return findings.Rows(
            self.places(split),
            self.files[split],
            self.row_texts(table),
            keys,
            self.duplicate_labels(table),
            self.row_labels(table),
            self.row_values(table),
            self.group_values(split) if split == "train" else {},
        )

    def places(self, split: str) -> Sequence[Any]:
        """Where each row of a split was read: its line, or the name of its image."""
        table = self.load_split(split)
        if "image" in table.column_names:
            return tables.column(table, "image")
        if "line" in table.column_names:
            found = tables.column(table, "line")
            return [int(place) if is_line(place) else place for place in found]
        return range(1, len(table) + 1)

    def group_values(self, split: str) -> dict[str, list[str]]:
        """The group of each row of a split in each column of data.groups; empty if unknown.

        Raises:
            UserError: there is no such column, or rows are no lines of a table.
        """
        if not self.group_columns:
            return {}
        table = self.load_split(split)
        if "line" not in table.column_names:
            raise UserError(f"data.groups: rows of {self.file_of(split)} are no lines of a table")
        origin = split if self.files[split] else "train"
        source, columns = self.source_of(origin), self.group_columns
        key = [self.digests[origin], source, columns, files.code(Source, tables.cached_table)]

        def read() -> Iterator[Columns]:
            rows = (
                {"line": row[files.LINE], **{c: files.cell(row, c, source.name) for c in columns}}
                for row in source.rows(columns)
            )
            return tables.gathered(rows, ["line", *columns])

        mark = datasets.fingerprint.Hasher.hash([*key, files.code_of_readers()])
        whole = tables.cached_table(mark, read)
        row_at = {str(line): row for row, line in enumerate(tables.column(whole, "line"))}
        rows = [row_at[str(line)] for line in tables.column(table, "line")]
        found = {}
        for column in columns:
            values = tables.column(whole, column)
            found[column] = [values[row] for row in rows]
        return found

    def beside(self, split: str, rows: Sequence[files.Row]) -> list[files.Row]:
        """The other columns of rows of a split in its file, such as an id; none that are lists.

        None at all of what is no table with these rows, or of a data set of the hub.
        """
        source = self.source_of(split if self.files[split] else "train")
        if not self.keeps_rows or source.on_hub or files.suffix(source.path) not in files.SUFFIXES:
            return [{} for _ in rows]
        places = {str(row["line"]) for row in rows}
        with collected():
            found = {
                str(row[files.LINE]): {
                    name: row[name]
                    for name in files.names(row)
                    if not isinstance(row[name], (list, dict, bytes))
                }
                for row in source.read()
                if str(row[files.LINE]) in places
            }
        return [found.get(str(row["line"]), {}) for row in rows]

    def _audit(self) -> None:
        """Notes what an audit found, and takes rows out of train that are in other splits.

        Raises:
            UserError: scores would say nothing, or data.on_leak: stop forbids such rows.
        """
        if self.check == "off":
            if self.on_leak != "keep":
                raise UserError(f"data.on_leak: {self.on_leak} needs data.check: fast")
            return
        found = self.audited
        for finding in found.findings:
            if finding.level == "stop":
                raise UserError(f"{self.files[finding.split]}: {finding.line}")
        asked_for = "few" if self.shots else ""  # few rows of each class
        self.notes += findings.notes(f for f in found.findings if f.kind != asked_for)
        if self.on_leak == "drop" and len(found.leaked):
            self.dropped = found.leaked.tolist()
            rows = len(self._raw["train"])
            self._drop()
            for twins in found.twins.values():
                twins[twins >= near.REPEATS] = 0  # theirs are gone, and no others repeat them
            self.notes.append(
                f"train: {findings.count_of(len(self.dropped), rows)} taken out, since they are in"
                " validation or test too (data.on_leak)"
            )

    def hold_out(self, share: float) -> None:
        """Holds another share of train out for validation than what was asked for."""
        super().hold_out(share)
        self.__dict__.pop("audited", None)
