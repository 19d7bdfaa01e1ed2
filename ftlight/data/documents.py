"""Documents as rows: the text, Markdown, Word and PDF files of a folder, or one of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ftlight.data import document_text, docx, pdf
from ftlight.data.cells import LINE, Row
from ftlight.data.document_text import Unreadable
from ftlight.data.folders import SPLITS, by_class, walk
from ftlight.data.remarks import remark
from ftlight.utils.errors import UserError, join_limited
from ftlight.utils.format import counted
from ftlight.utils.paths import place

ALONE = (".md", ".docx", ".pdf")  # of files that are documents by themselves, too
SUFFIXES = (".txt", *ALONE)
HIDDEN = (".", "~$", "__MACOSX")  # of systems; "~$" of Word, for a document that is open
NAMED = 20  # documents named in a line
REASONS = 10  # lines of reasons why some are left out


class Columns(NamedTuple):
    """Names of the columns of documents.

    Attributes:
        text: column of the text.
        label: column of the label, which is the name of a folder.
    """

    text: str = "text"
    label: str = "label"


COLUMNS = Columns()


def is_place(path: Path) -> bool:
    """Whether a path is read as documents: a folder, or a file that is a document by itself."""
    return path.is_dir() or path.suffix.lower() in ALONE


def names(folder: Path) -> tuple[list[str], list[str]]:
    """Paths of the documents below a folder, and of its other files, each sorted.

    Of a document by itself its name alone.
    """
    if not folder.is_dir():
        return [folder.name], []
    found: list[str] = []
    others: list[str] = []
    for name in sorted(walk(folder)):
        is_document = name.lower().endswith(SUFFIXES) and not _is_hidden(name)
        # a pipe would be waited for
        (found if is_document and (folder / name).is_file() else others).append(name)
    return found, others


def splits(folder: Path) -> list[str]:
    """Splits that a folder has folders of documents for; none if there is none for train."""
    divided = by_class(names(folder)[0])
    return [split for split in SPLITS if split in divided] if "train" in divided else []


def digest(folder: Path) -> str:
    """SHA-256 of the names and contents of the documents below a folder, or of one by itself."""
    whole, root = hashlib.sha256(), _root(folder)
    for name in names(folder)[0]:
        try:
            with (root / name).open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            content = "cannot be opened"
        whole.update(f"{name}\0{content}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()


def read(
    folder: Path,
    encoding: str = "utf-8",
    split: str = "",
    columns: Columns = COLUMNS,
    wanted: Sequence[str] = (),
) -> Iterator[Row]:
    """Yields the documents below a folder as rows.

    If its folders are named for splits, those of one split are read. What cannot be read is left
    out, with a line that says what and why, and so are files that are no documents. Text that is
    not UTF-8 is read as its bytes spell, with a line that says so, if no other encoding is given.

    Args:
        folder: the folder, or a document by itself.
        encoding: encoding of text files; one with a byte order mark is read as that says.
        split: train, validation or test; all documents if empty.
        columns: names of the columns.
        wanted: columns that rows must have.

    Yields:
        ``file``, the path below the folder, and the text; the label, if each document lies in a
        folder of a class. Under :data:`LINE` the path, too; 1 for a document by itself.

    Raises:
        UserError: there is no document that can be read, or one lacks a label that is wanted.
    """
    found, others = names(folder)
    chosen = _of_split(found, split)
    if not chosen:
        what = f"documents for {split}" if found else f"documents ({', '.join(SUFFIXES)})"
        raise UserError(f"{folder} holds no {what}")
    alone = next((name for name, label in chosen if not label), None)
    if alone is not None and columns.label in wanted:
        raise UserError(
            f"{place(str(folder), alone)} is in no folder of a class; move it into one, or give a"
            f" table with columns {join_limited(wanted)}"
        )
    faults: dict[str, list[str]] = {}
    guesses: dict[str, list[str]] = {}
    many = folder.is_dir()
    texts = _texts(_root(folder), [name for name, _ in chosen], encoding, faults, guesses)
    for (name, label), text in zip(chosen, texts, strict=True):
        if text is not None:
            labelled = {columns.label: label} if alone is None else {}
            yield {"file": name, **labelled, columns.text: text, LINE: name if many else 1}
    _report(folder, faults, len(chosen))
    _report_guesses(folder, guesses)
    _report_others(folder, others)


def read_text(path: Path, encoding: str, columns: Columns) -> Iterator[Row]:
    """Yields a text file as one document, and says so if its lines may be meant.

    Raises:
        UserError: it cannot be read.
    """
    for row in read(path, encoding, columns=columns):
        if sum(bool(line.strip()) for line in row[columns.text].splitlines()) > 1:
            remark(
                f"{path.name}: read as one document; for a text in each line give it to standard"
                f" input: predict RUN - < {path.name}"
            )
        yield row


def _root(folder: Path) -> Path:
    return folder if folder.is_dir() else folder.parent


def _of_split(found: Sequence[str], split: str) -> list[tuple[str, str]]:
    """The documents of a split with their labels; all of them if it is empty."""
    divided = by_class(found)
    if split and "" not in divided:
        return divided.get(split, [])
    return sorted(document for part in divided.values() for document in part)


def _texts(
    folder: Path,
    chosen: Sequence[str],
    encoding: str,
    faults: dict[str, list[str]],
    guesses: dict[str, list[str]],
) -> Iterator[str | None]:
    """The text of each document; None for one that cannot be read, whose name ``faults`` takes.

    ``guesses`` takes the names of those whose encoding is guessed.
    """
    with pdf.Reader(document_text.MOST) as reader:
        for name in chosen:
            try:
                text, guess = document_text.read(folder / name, encoding, reader)
                if not text.strip():
                    raise Unreadable("no text in it")
            except (Unreadable, docx.Bad, pdf.Bad) as error:
                faults.setdefault(str(error), []).append(name)
                yield None
            else:
                if guess:
                    guesses.setdefault(guess, []).append(name)
                yield text


def _is_hidden(name: str) -> bool:
    return any(part.startswith(HIDDEN) for part in name.split("/"))


def _report(folder: Path, faults: dict[str, list[str]], count: int) -> None:
    """Says which documents are left out, in one line for each reason, at most ten.

    Raises:
        UserError: all are.
    """
    lines = []
    reasons = list(faults.items())
    if len(reasons) > REASONS:
        rest = [name for _, left_out in reasons[REASONS - 1 :] for name in left_out]
        reasons = [*reasons[: REASONS - 1], ("of these each for another reason", rest)]
    for why, left_out in reasons:
        many = f"{len(left_out):,} of {count:,} documents left out"
        what = f"{many} ({join_limited(left_out, NAMED)}): " if folder.is_dir() else ""
        lines.append(f"{folder}: {what}{why}")
    if sum(map(len, faults.values())) == count:
        raise UserError("\n".join(lines))
    for line in lines:
        remark(line)


def _report_guesses(folder: Path, guesses: dict[str, list[str]]) -> None:
    """Says in one line which documents are read in a guessed encoding."""
    if guesses:
        if not folder.is_dir():
            remark(
                f"{folder}: not in UTF-8, read as {next(iter(guesses))} by a guess; look at the"
                " letters with marks"
            )
            return
        told = "; ".join(f"{join_limited(n, NAMED)} as {e}" for e, n in sorted(guesses.items()))
        count = counted(sum(map(len, guesses.values())), "document", "are")
        remark(
            f"{folder}: {count} not in UTF-8, and read in an encoding that is guessed ({told});"
            " look at the letters with marks"
        )


def _report_others(folder: Path, others: Sequence[str]) -> None:
    """Says in one line which files are no documents."""
    if not others:
        return
    kinds = Counter(
        "hidden" if _is_hidden(name) else Path(name).suffix.lower() or "without a suffix"
        for name in others
    )
    told = join_limited(f"{count:,} {kind}" for kind, count in kinds.most_common())
    left = counted(len(others), "file", "are")
    remark(f"{folder}: {left} left out, no documents: {told}")
