"""Forms with files, as browsers and curl send them (RFC 7578), taken apart in memory."""

from __future__ import annotations

from email.message import Message
from email.parser import BytesHeaderParser
from typing import NamedTuple

from ftlight.utils.errors import UserError

MOST = 2000  # parts of a form


class Part(NamedTuple):
    """A field of a form.

    Attributes:
        name: its name.
        data: its bytes.
        is_file: whether it is a file.
    """

    name: str
    data: bytes
    is_file: bool


def parts(body: bytes, kind: str) -> list[Part]:
    r"""The fields of a form in order.

    Args:
        body: the form.
        kind: its content type, which names the boundary.

    Raises:
        UserError: it is no such form, or was cut off.

    >>> body = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n'
    >>> parts(body, "multipart/form-data; boundary=x")
    [Part(name='a', data=b'b', is_file=False)]
    """
    head = Message()
    head["content-type"] = kind
    boundary = head.get_boundary("")
    if head.get_content_type() != "multipart/form-data" or not boundary:
        raise UserError("form: expected multipart/form-data with a boundary")
    mark = f"\r\n--{boundary}".encode("utf-8", "replace")
    pieces = (b"\r\n" + body).split(mark, MOST)[1:]
    found: list[Part] = []
    for piece in pieces:
        if piece.startswith(b"--"):
            return found
        found.append(_part(piece))
    raise UserError(f"form: cut off, or of more than {MOST:,} fields; its last boundary is missing")


def _part(piece: bytes) -> Part:
    """A field: headers, an empty line, its bytes."""
    _, _, piece = piece.partition(b"\r\n")
    headers, divider, data = piece.partition(b"\r\n\r\n")
    disposition = BytesHeaderParser().parsebytes(headers + b"\r\n")
    name = disposition.get_param("name", "", "content-disposition")
    if not divider or not name:
        raise UserError("form: a field has no name")
    file = disposition.get_param("filename", None, "content-disposition")
    return Part(str(name), data, file is not None)
