"""Writes a document as JSON, CSV or text, and names the files."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import msgspec

from tcptop_tui import formats
from tcptop_tui.export.plain_text import provenance, to_text
from tcptop_tui.export.schema import Connection, Document

__all__ = ["FORMATS", "default_name", "format_of", "json_schema", "to_csv", "to_json", "to_text"]

FORMATS = ("json", "csv", "txt", "svg")

_FORMULA = ("=", "+", "-", "@", "\t", "＝", "＋", "－", "＠")
"""A cell that starts with one of these is a formula to a spreadsheet (OWASP, "CSV Injection")."""


def format_of(path: str) -> str | None:
    """The format that a file's suffix stands for; None: there is none."""
    suffix = Path(path).suffix.removeprefix(".").lower()
    return suffix if suffix in FORMATS else None


def default_name(host: str, utc_ns: int, kind: str) -> str:
    """``tcptop-HOST-20261120T225235Z.json``."""
    stamp = re.sub(r"[-:]|\.\d+", "", formats.iso_time(utc_ns))
    return f"tcptop-{re.sub(r'[^A-Za-z0-9.-]', '_', host)[:64] or 'host'}-{stamp}.{kind}"


def to_json(document: Document) -> bytes:
    """The whole document, indented."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def json_schema() -> bytes:
    """The JSON Schema of every snapshot."""
    return msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Document)), indent=1) + b"\n"


def csv_cell(value: Any) -> Any:
    """A value as CSV has it: unknown is empty, and a text that a spreadsheet would run gets an apostrophe."""
    if isinstance(value, dict):
        return " ".join(f"{name}={count}" for name, count in value.items())
    if isinstance(value, list):
        return " ".join(f"{holder.pid}={holder.comm or ''}" for holder in value)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value


def _commented(value: str) -> str:
    """A comment that is safe in a spreadsheet, which takes it for a row and splits it at separators."""
    return re.sub(rf"([,;]\s*)([{re.escape(''.join(_FORMULA))}])", r"\1'\2", value)


def to_csv(document: Document) -> bytes:
    """The table as CSV. Host, filter, time and loss are above it in lines that begin with ``#``.

    Texts are quoted, so that readers that skip comments do not take a ``#`` in a process name for one. Unknown is
    empty. A text that a spreadsheet would run as a formula has an apostrophe in front.
    """
    out = io.StringIO()
    for name, value in provenance(document):
        out.write(f"# {name}: {_commented(value)}\n")
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(Connection.__struct_fields__)
    for row in document.connections:
        writer.writerow([csv_cell(getattr(row, name)) for name in Connection.__struct_fields__])
    return out.getvalue().encode()
