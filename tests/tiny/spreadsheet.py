"""Spreadsheets of a few cells, written by hand as Excel writes them."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
KIND = "application/vnd.openxmlformats-officedocument.spreadsheetml"
# Number formats of cells by style: general, a date, a date and time, a time.
STYLES = "".join(f'<xf numFmtId="{number}" applyNumberFormat="1"/>' for number in (0, 14, 22, 21))


def _cell(row: int, column: int, value: Any) -> str:
    place = f'r="{chr(65 + column)}{row}"'
    if value is None:
        return ""
    if isinstance(value, bool):
        return f'<c {place} t="b"><v>{int(value)}</v></c>'
    if isinstance(value, tuple):  # a number and its style
        return f'<c {place} s="{value[1]}"><v>{value[0]}</v></c>'
    if isinstance(value, (int, float)):
        return f"<c {place}><v>{value}</v></c>"
    return f'<c {place} t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'


def write(path: Path, sheets: dict[str, Sequence[Sequence[Any]]], more: str = "") -> str:
    """Writes sheets of rows; ``more`` is XML behind the rows of each. Returns the path."""
    links = [("styles", "styles.xml")]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        for number, rows in enumerate(sheets.values(), 1):
            cells = "".join(
                f'<row r="{r}">{"".join(_cell(r, c, v) for c, v in enumerate(row))}</row>'
                for r, row in enumerate(rows, 1)
            )
            data = f"<sheetData>{cells}{more}</sheetData>"
            sheet = f'<worksheet xmlns="{MAIN}">{data}</worksheet>'
            book.writestr(f"xl/worksheets/sheet{number}.xml", sheet)
            links.append(("worksheet", f"worksheets/sheet{number}.xml"))
        listed = "".join(
            f'<Relationship Id="rId{i}" Type="{LINKS}/{kind}" Target="{target}"/>'
            for i, (kind, target) in enumerate(links)
        )
        names = "".join(
            f'<sheet name="{name}" sheetId="{i}" r:id="rId{i}"/>'
            for i, name in enumerate(sheets, 1)
        )
        parts = {
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
            f"{listed}</Relationships>",
            "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{LINKS}">'
            f"<sheets>{names}</sheets></workbook>",
            "xl/styles.xml": f'<styleSheet xmlns="{MAIN}"><cellXfs count="4">{STYLES}</cellXfs>'
            "</styleSheet>",
            "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="rId1"'
            f' Type="{LINKS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
            "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"><Default'
            ' Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml"'
            f' ContentType="{KIND}.sheet.main+xml"/></Types>',
        }
        for name, text in parts.items():
            book.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{text}')
    return str(path)
