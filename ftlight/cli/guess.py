"""What a file or folder holds, told by the readers of the tasks; they are named by string only."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ftlight.cli import classes
from ftlight.data import delimited, documents, encoding_guess, files, headers
from ftlight.data.recognition import Content, Look, Shape
from ftlight.data.remarks import collected
from ftlight.data.sources import Source
from ftlight.tasks import HOMES
from ftlight.utils.errors import UserError, join_limited, unknown

# A table may suit several: the first takes it. Any other task only if it is asked for.
ORDER = (
    *("ImageClassification", "TokenClassification", "QuestionAnswering", "CausalLM"),
    *("Retrieval", "Seq2Seq", "TextClassification"),
)
LABELLED = ("ImageClassification", "TextClassification")  # those that --label may mean
SAMPLE = 2000  # rows that tell the task
ENTITIES = (".conll", ".conllu", ".bio", ".iob", ".iob2", ".bioes")
SUFFIXES = (*files.SUFFIXES, *ENTITIES, ".txt", ".zip")
OTHERS = {"validation": ("validation", "valid", "val", "dev"), "test": ("test",)}


class Guess(NamedTuple):
    """What was told of a file.

    Attributes:
        task: the task.
        files: files by split.
        shape: how they are read.
        options: options of reading that the file asks for: its encoding, or names of columns.
        content: what train holds.
        others: what the other splits hold.
        faults: why a file that is named like a split is not used, by split.
    """

    task: str
    files: Mapping[str, str]
    shape: Shape
    options: Mapping[str, Any]
    content: Content
    others: Mapping[str, Content]
    faults: Mapping[str, str]


def guess(name: str, label: str | None, task: str | None) -> Guess:
    """Tells what a file or folder holds, and reads all of it as ``fit`` will.

    Args:
        name: the file or folder.
        label: column of the label; found if None.
        task: name of the task; found if None.

    Raises:
        UserError: it does not read, there is no such task, or the task cannot be told.
    """
    if task is not None and task not in classes.task_names():
        raise UserError(unknown("no task", task, classes.task_names(), "tasks"))
    path = _data_file(files.there(name))
    options, rows = _opened(path)
    source = _source(str(path), "train", options)
    look = Look(source, rows, label, task is not None)
    found, shape = _recognized(look, task)
    reader = _reader(found)
    content = _survey(reader, source, shape.options)
    others: dict[str, Content] = {}
    faults: dict[str, str] = {}
    splits = {} if source.is_tree or content.splits else _other_splits(path)
    for split, file in splits.items():
        try:
            others[split] = _survey(reader, _source(file, split, options), shape.options, content)
        except UserError as error:
            faults[split] = str(error)
    used = {"train": str(path), **{k: v for k, v in splits.items() if k in others}}
    return Guess(found, used, shape, options, content, others, faults)


def _data_file(path: Path) -> Path:
    """The data file of a folder; a folder of images or of folders of documents is itself.

    Raises:
        UserError: it is not clear which file is meant.
    """
    if not path.is_dir() or _reader("ImageClassification").holds_images(str(path)):
        return path
    if any("/" in name for name in documents.names(path)[0]):
        return path
    inside = sorted(p for p in path.iterdir() if p.is_file() and files.suffix(p) in SUFFIXES)
    trains = [p for p in inside if p.name.lower().startswith("train")]
    tables = [p for p in inside if files.suffix(p) != ".txt"]
    for found in (trains, tables, inside):
        if len(found) == 1:
            return found[0]
    if tables:
        names = join_limited(p.name for p in tables)
        raise UserError(f"{path} is a folder; name one of its files ({names})")
    return files.check(str(path))  # says which files there are, if none is a document


def _opened(path: Path) -> tuple[dict[str, Any], list[files.Row]]:
    """Options that a file asks for by its bytes, and the first rows of a table."""
    kind = files.suffix(path)
    if path.is_dir() or kind == ".zip":
        return {}, []
    files.check(str(path), suffixes=SUFFIXES)
    options: dict[str, Any] = {}
    if kind not in (".parquet", ".xlsx"):
        encoding = encoding_guess.guess(path)
        options = {"encoding": encoding} if encoding != "utf-8" else {}
    encoding = options.get("encoding", "utf-8")
    if kind not in files.SUFFIXES:
        return options, []
    if kind in (".csv", ".xlsx") and (names := _made_up_header(path, encoding)):
        options["header"] = names
    with collected():
        found = files.read(path, encoding, header=options.get("header", ()))
        try:
            rows = list(islice(found, SAMPLE))
        except UserError:
            if kind != ".tsv":
                raise
            return options, []  # CoNLL text may be no table
    if not rows:
        raise UserError(f"{path} has a header but no rows")
    return options, rows


def _made_up_header(path: Path, encoding: str) -> list[str]:
    """Names for the columns of a table whose first row is none; empty if it is a header."""
    if files.suffix(path) == ".csv":
        first = delimited.first_rows(path, encoding, tabs=False)
    else:
        with collected():
            rows = list(islice(files.read(path), delimited.SAMPLE))
        cells = [[str(v) for k, v in row.items() if k != files.LINE] for row in rows]
        first = [files.names(rows[0]), *cells] if rows else []
    return headers.made_up(len(first[0])) if first and not headers.names_columns(first) else []


def _source(name: str, split: str, options: Mapping[str, Any]) -> Source:
    header = tuple(options.get("header", ()))
    encoding = options.get("encoding", "utf-8")
    return Source(name, split, encoding, SUFFIXES, header=header)


def _reader(task: str) -> Any:
    """The module of a task that recognizes its files; it imports no torch."""
    return importlib.import_module(f"{HOMES[task].rpartition('.')[0]}.recognize")


def _recognized(look: Look, task: str | None) -> tuple[str, Shape]:
    """The task of a file, and how it is read.

    Raises:
        UserError: it cannot be told.
    """
    order = LABELLED if look.label is not None else ORDER
    for name in [task] if task is not None else order:
        shape: Shape | None = _reader(name).recognize(look)
        if shape is not None:
            return name, shape
    path = look.source.name
    if task is not None:
        raise UserError(f"{path}: nothing that {task} could learn from was found in it")
    if look.source.is_tree and Path(path).is_file():
        raise UserError(f"{path} holds no images; unpack it, and name a file of it or its folder")
    if look.source.is_tree:
        raise UserError(
            f"{path} holds neither images nor documents in folders for classes; of documents alone"
            " --task MaskedLM or CausalLM learns, and predict RUN FOLDER reads them"
        )
    raise UserError(
        f"{path} is plain text: --task MaskedLM adapts an encoder to it, --task CausalLM "
        "teaches a language model to write it; for a label beside each text write a CSV"
    )


def _survey(
    reader: Any, source: Source, options: Mapping[str, Any], train: Content | None = None
) -> Content:
    """What a split holds, with what its readers remark."""
    with collected() as remarks:
        found: Content = reader.survey(source, options, train)
    return found._replace(notes=[*found.notes, *remarks])


def _other_splits(path: Path) -> dict[str, str]:
    """Files beside a training file that are named like further splits."""
    others: dict[str, str] = {}
    for split, names in OTHERS.items() if "train" in path.name else ():
        for name in names:
            other = path.with_name(path.name.replace("train", name))
            if other.is_file():
                others.setdefault(split, str(other))
    return others
