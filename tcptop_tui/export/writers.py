"""A document as JSON, CSV or text."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tcptop_tui.export.document import Connection, Document, Transition, iso_time

FORMATS = ("json", "csv", "txt", "svg")

_FORMULA = ("=", "+", "-", "@", "\t")
"""What a spreadsheet takes for the start of a formula."""

_BAR_CELLS = 40


def format_of(path: str) -> str | None:
    """The format that a file's name asks for."""
    suffix = Path(path).suffix.removeprefix(".").lower()
    return suffix if suffix in FORMATS else None


def default_name(host: str, utc_ns: int, kind: str) -> str:
    """``tcptop-HOST-20261120T225235Z.json``."""
    stamp = re.sub(r"[-:]|\.\d+", "", iso_time(utc_ns))
    return f"tcptop-{re.sub(r'[^A-Za-z0-9.-]', '_', host)[:64] or 'host'}-{stamp}.{kind}"


def to_json(document: Document) -> bytes:
    """Everything, indented."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def json_schema() -> bytes:
    """The JSON Schema that every snapshot keeps to."""
    return msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Document)), indent=1) + b"\n"


def _provenance(document: Document) -> list[tuple[str, str]]:
    meta = msgspec.to_builtins(document.meta)
    loss = msgspec.to_builtins(document.loss)
    return [(name, str(value)) for name, value in {**meta, **loss}.items()]


def _csv_cell(value: Any) -> Any:
    """Unknown is empty; a name that a spreadsheet would run gets an apostrophe."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value


def to_csv(document: Document) -> bytes:
    """The table. Host, filter, time and loss stand above it in lines that begin with ``#``."""
    out = io.StringIO()
    for name, value in _provenance(document):
        out.write(f"# {name}: {value}\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(Connection.__struct_fields__)
    for row in document.connections:
        writer.writerow([_csv_cell(getattr(row, name)) for name in Connection.__struct_fields__])
    return out.getvalue().encode()


def _table(title: str, names: tuple[str, ...], rows: list[Any]) -> Table:
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name.upper(), no_wrap=True)
    for row in rows:
        cells = (getattr(row, name) for name in names)
        table.add_row(*(Text("–" if cell is None else str(cell)) for cell in cells))
    return table


def _histogram(document: Document) -> str:
    """As bcc's tools print it (``print_log2_hist``, src/python/bcc/table.py)."""
    used = [bucket for bucket in document.rtt.buckets if bucket.count]
    if not used:
        return "no round-trip time"
    most = max(bucket.count for bucket in used)
    lines = [f"{'usecs':>24} : count     distribution"]
    for bucket in document.rtt.buckets[: document.rtt.buckets.index(used[-1]) + 1]:
        stars = "*" * (bucket.count * _BAR_CELLS // most)
        high = "..." if bucket.high is None else bucket.high
        lines.append(f"{bucket.low:>10} -> {high:<10} : {bucket.count:<8} |{stars:<{_BAR_CELLS}}|")
    return "\n".join(lines)


def to_text(document: Document) -> str:
    """As on the screen: provenance, connections, transitions, histogram."""
    out = io.StringIO()
    console = Console(file=out, width=400, color_system=None, legacy_windows=False)
    for name, value in _provenance(document):
        console.print(Text(f"{name}: {value}"), soft_wrap=True)
    console.print(_table("Connections", Connection.__struct_fields__, list(document.connections)))
    hidden = {"skaddr", "netns", "delayed", "polled"}
    shown = tuple(name for name in Transition.__struct_fields__ if name not in hidden)
    console.print(_table("Transitions", shown, list(document.transitions)))
    console.print(Text(_histogram(document)))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"
