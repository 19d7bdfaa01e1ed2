"""Bodies of requests taken apart: rows, and what is asked about them; nothing is read from disk."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

from ftlight.data.cells import with_nested
from ftlight.data.files import Row
from ftlight.data.json_rows import whole
from ftlight.explain.explanation import Method
from ftlight.serve.limits import Limits, Refused
from ftlight.serve.multipart import parts
from ftlight.utils import json_file
from ftlight.utils.errors import UserError, join_limited, shortened, unknown

OPTIONS = ("model", "fields", "at_least", "coverage", "explain")


class Inputs(NamedTuple):
    """What a run reads.

    Attributes:
        columns: input columns of a row.
        images: those whose cells are images, which come as bytes.
        embeds: whether the run makes vectors of texts.
        chats: whether it replies to chats.
        explains: whether its answers can be explained.
    """

    columns: list[str]
    images: list[str]
    embeds: bool = False
    chats: bool = False
    explains: bool = False

    @property
    def example(self) -> str:
        """A row as JSON."""
        return json.dumps(dict.fromkeys(self.columns, "…"), ensure_ascii=False)


class Asked(NamedTuple):
    """What a request asks.

    Attributes:
        model: name of the run.
        rows: the rows, images as bytes.
        fields: fields of the answers that are wanted; all if empty.
        at_least: share of the answered rows that are to be right, or None.
        coverage: share of rows whose set or range is to hold the truth, or None.
        explain: how answers are explained, or None.
    """

    model: str
    rows: list[Row]
    fields: tuple[str, ...] = ()
    at_least: float | None = None
    coverage: float | None = None
    explain: Method | None = None


def read(body: bytes, kind: str, runs: Mapping[str, Inputs], limits: Limits) -> Asked:
    """What a body asks.

    Args:
        body: the body.
        kind: its content type; all but multipart are read as JSON.
        runs: what the served runs read, by name.
        limits: limits of the server.

    Raises:
        UserError: it cannot be understood.
        Refused: there are too many rows.
    """
    if kind.lower().startswith("multipart/"):
        return _of_form(body, kind, runs, limits)
    given = value_of(body, next(iter(runs.values())).example)
    if isinstance(given, list):
        given = {"rows": given}
    if not isinstance(given, dict):
        raise UserError(f"body: expected an object or a list, got {_kind(given)}")
    return asked(given if "rows" in given else _with_options(given, runs), runs, limits)


def value_of(body: bytes, example: str) -> Any:
    """The value of a body of JSON.

    Raises:
        UserError: it is no JSON.
    """
    try:
        return whole(json_file.parse(body))
    except ValueError as error:
        raise UserError(f"body: {error}; send JSON such as {example}") from None


def _with_options(row: Mapping[str, Any], runs: Mapping[str, Inputs]) -> dict[str, Any]:
    """A row alone as the rows of a request; what is named as an option is one, unless a column."""
    name = row.get("model")
    only = [name] if isinstance(name, str) and name in runs else list(runs)
    columns = runs[only[0]].columns if len(only) == 1 else []
    options = {k: v for k, v in row.items() if k in OPTIONS and k not in columns}
    return {**options, "rows": [{k: v for k, v in row.items() if k not in options}]}


def asked(given: Mapping[str, Any], runs: Mapping[str, Inputs], limits: Limits) -> Asked:
    """What an object with ``rows`` and options asks.

    Raises:
        UserError: an option or row is wrong.
        Refused: there are too many rows.
    """
    for option in given:
        if option not in ("rows", *OPTIONS):
            raise UserError(unknown("body: no option", _short(option), OPTIONS, "options"))
    model = run_of(given.get("model"), runs)
    fields = given.get("fields")
    if fields is not None and not _are_texts(fields):
        raise UserError('fields: expected a list of names, such as ["prediction", "score"]')
    explain = _method(given.get("explain"))
    rows = _rows(given["rows"], runs[model], limits)
    if explain and len(rows) > limits.explained:
        raise Refused(413, f"explain: {len(rows):,} rows; at most {limits.explained} at once")
    at_least, coverage = (_share(given.get(name), name) for name in ("at_least", "coverage"))
    return Asked(model, rows, tuple(fields or ()), at_least, coverage, explain)


def run_of(name: Any, runs: Mapping[str, Any]) -> str:
    """The run that is meant; the only one if none is named.

    Raises:
        UserError: there is none of this name, or none of several is named.
    """
    if name is None:
        if len(runs) == 1:
            return next(iter(runs))
        raise UserError(f"model: name one of the runs: {join_limited(runs)}")
    if not isinstance(name, str):
        raise UserError(f"model: expected a name, got {_kind(name)}")
    if name not in runs:
        raise UserError(unknown("model: no run", _short(name), runs, "runs"))
    return name


def _rows(given: Any, inputs: Inputs, limits: Limits) -> list[Row]:
    if not isinstance(given, list):
        raise UserError(f"rows: expected a list such as [{inputs.example}], got {_kind(given)}")
    if len(given) > limits.rows:
        raise Refused(413, f"rows: {len(given):,}; at most {limits.rows:,} in a request")
    return [_row(cells, f"rows[{number}]", inputs) for number, cells in enumerate(given)]


def _row(cells: Any, where: str, inputs: Inputs) -> Row:
    """A row of a request: a text alone is the first column.

    Raises:
        UserError: it is no row, names an internal column, or an image is not in base64.
    """
    if isinstance(cells, str):
        cells = {inputs.columns[0]: cells}
    if not isinstance(cells, dict):
        raise UserError(f"{where}: expected a text or an object, got {_kind(cells)}")
    for name in cells:
        if name.startswith("__"):  # such columns say where an image lies on this machine
            raise UserError(f"{where}: column {_short(name)}: no column may begin with __")
    row = next(with_nested(iter([cells]), inputs.images))  # else a field could hold a path
    found = {n: _image(row[n], f"{where}: {n}") for n in inputs.images if n in row}
    return {**row, **found}


def _image(given: Any, where: str) -> bytes:
    """The bytes of an image in base64, with what a data URL begins with or without.

    Raises:
        UserError: it is something else, such as a path.
    """
    text = given if isinstance(given, str) else ""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data:
        raise UserError(
            f"{where}: expected the bytes of an image file in base64; no path or address is"
            " opened (a form with files takes them as they are)"
        )
    return data


def _of_form(body: bytes, kind: str, runs: Mapping[str, Inputs], limits: Limits) -> Asked:
    """What a form asks: each file is a row, and its other fields are options.

    Raises:
        UserError: it is no form, or the run reads no images.
    """
    options: dict[str, Any] = {}
    images = []
    for part in parts(body, kind):
        if part.is_file:
            images.append(part.data)
        elif part.name in OPTIONS:
            options[part.name] = _plain(part.name, part.data)
        else:
            what = f"form: {_short(part.name)} is neither a file nor an option"
            raise UserError(f"{what} (options: {join_limited(OPTIONS)})")
    if not images:
        raise UserError("form: it holds no file (curl -F image=@photo.jpg sends one)")
    inputs = runs[run_of(options.get("model"), runs)]
    if len(inputs.columns) != 1 or not inputs.images:
        raise UserError(f"form: the run reads no images; send JSON such as {inputs.example}")
    found = asked({**options, "rows": []}, runs, limits)
    if len(images) > (limits.explained if found.explain else limits.rows):
        raise Refused(413, f"form: {len(images):,} files are too many at once")
    return found._replace(rows=[{inputs.images[0]: data} for data in images])


def _plain(name: str, data: bytes) -> Any:
    """The value of an option in a form: JSON, or a text as it is, which names of runs are."""
    text = data.decode("utf-8", "replace")
    try:
        value = whole(json_file.parse(data))
    except ValueError:
        return text
    return value if name != "model" or isinstance(value, str) else text


def _share(given: Any, name: str) -> float | None:
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if given is not None and not (is_number and 0 < given < 1):
        raise UserError(f"{name}: expected a share between 0 and 1, such as 0.95")
    return given


def _method(given: Any) -> Method | None:
    methods: tuple[Method, ...] = get_args(Method)
    if given is None or given is False:
        return None
    if given is True:
        return methods[0]
    for method in methods:
        if given == method:
            return method
    raise UserError(f"explain: expected true, false or {' or '.join(methods)}")


def _are_texts(given: Any) -> bool:
    return isinstance(given, list) and all(isinstance(item, str) for item in given)


def _kind(value: Any) -> str:
    return json_file.WORDS[None if value is None else type(value)]


def _short(name: str) -> str:
    return shortened(name.replace("\n", " "))
