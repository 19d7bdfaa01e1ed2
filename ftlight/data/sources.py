"""A data file or a split of a hub data set, by one name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ftlight.data import delimited, documents, files, hub, json_rows
from ftlight.data.cells import with_nested
from ftlight.run.predictions import Dialect
from ftlight.utils.errors import UserError
from ftlight.utils.paths import user_path


@dataclass(frozen=True)
class Source:
    """Where the rows of a split are.

    Attributes:
        name: a file, a folder of documents, or ``hf:OWNER/REPO[:CONFIG][@REVISION]``.
        split: train, validation or test; empty for rows to predict.
        encoding: encoding of a text file.
        suffixes: suffixes of the files that can be read.
        option: the option that names it, for errors; that of the split if empty.
        quotes: how quotation marks are read in CSV and TSV.
        header: names of the columns of CSV and TSV without a header.
        document: names of the columns of documents.
    """

    name: str
    split: str = ""
    encoding: str = "utf-8"
    suffixes: tuple[str, ...] = files.SUFFIXES
    option: str = ""
    quotes: files.Quotes = "auto"
    header: tuple[str, ...] = ()
    document: documents.Columns = documents.COLUMNS

    @property
    def on_hub(self) -> bool:
        """Whether it is a hub data set."""
        return self.name.startswith(hub.PREFIX)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of documents."""
        return not self.on_hub and user_path(self.name).is_dir()

    @property
    def holds_documents(self) -> bool:
        """Whether it is a folder of documents, or one document."""
        return not self.on_hub and documents.is_place(user_path(self.name))

    @property
    def names_rows(self) -> bool:
        """Whether places of rows may be text: rows are documents, or have no lines of their own."""
        if not self.on_hub and files.suffix(user_path(self.name)) in (".json", ".jsonl"):
            return not json_rows.is_by_line(self.path, self.encoding)
        return self.is_folder

    @property
    def is_tree(self) -> bool:
        """Whether it is a folder or a zip."""
        return self.name.lower().endswith(".zip") or Path(self.name).expanduser().is_dir()

    @property
    def path(self) -> Path:
        """The file or folder.

        Raises:
            UserError: it is missing or of a format that cannot be read.
        """
        option = self.option or (f"data.{self.split}" if self.split else "")
        return files.check(self.name, option, self.suffixes)

    @property
    def suffix(self) -> str:
        """Suffix of the file, without ``.gz``; empty for documents or a hub data set."""
        return "" if self.on_hub or self.holds_documents else files.suffix(self.path)

    def digest(self) -> str:
        """Identifies the content: SHA-256 of the file or documents, or fingerprints of the data."""
        if self.on_hub:
            from ftlight.utils import internals  # not above: it loads torch

            splits = hub.load_hub(self.name).values()
            return "-".join(internals.fingerprint_of(split) for split in splits)
        return documents.digest(self.path) if self.holds_documents else files.sha256(self.path)

    def read(
        self, columns: Sequence[str] = (), optional: Sequence[str] = ()
    ) -> Iterator[files.Row]:
        """Yields the rows of a file as they are, with their dotted columns.

        Args:
            columns: columns that rows should have.
            optional: further ones that may be dotted.
        """
        if self.holds_documents:
            rows = documents.read(self.path, self.encoding, self.split, self.document, columns)
        else:
            rows = files.read(self.path, self.encoding, self.quotes, columns, self.header)
        return with_nested(rows, optional)

    def dialect(self) -> Dialect:
        """How CSV about these rows is written: as their own, or for Excel if that is their form."""
        kind = "" if self.on_hub else files.suffix(user_path(self.name))
        if kind == ".csv":
            return delimited.dialect(self.path, self.encoding)
        return Dialect(mark=kind == ".xlsx")

    def columns(self) -> list[str]:
        """Names of the columns of a hub data set; none for a file, which is read whole."""
        return list(hub.load_split(self.name, self.split).features) if self.on_hub else []

    def rows(
        self, columns: Sequence[str] = (), optional: Sequence[str] = ()
    ) -> Iterator[files.Row]:
        """Yields the rows: those of a file whole, those of a hub data set with these columns alone.

        Args:
            columns: columns that every row must have; dotted ones are taken out of objects.
            optional: columns to read from a hub data set that has them.

        Raises:
            UserError: anything that cannot be read, a missing column, or no rows.
        """
        if self.on_hub:
            whole = hub.read_hub(self.name, self.split, columns, optional)
            rows = with_nested(whole, [*columns, *optional])
        else:
            rows = self.read(columns, optional)
        empty = True
        for row in rows:
            files.need(row, columns, self.name)
            empty = False
            yield row
        if empty:
            raise UserError(f"{self.name} has no rows")
