"""Writes a document as text for people, with numbers as on the screen."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from rich.cells import cell_len

from tcptop_tui import formats
from tcptop_tui.export.document import DocumentInput, build_document
from tcptop_tui.export.log2_text import log2_lines
from tcptop_tui.export.schema import Document, Rtt
from tcptop_tui.fields import Field, RecordKinds, RowContext, formatters, list_fields
from tcptop_tui.safe_text import fit


def provenance(document: Document) -> list[tuple[str, str]]:
    """Names and values of ``meta`` and ``loss``, for formats that have only lines."""
    meta = msgspec.to_builtins(document.meta)
    loss = msgspec.to_builtins(document.loss)
    return [(name, str(value)) for name, value in {**meta, **loss}.items()]


_TABLE = list_fields(RecordKinds.TABLE)
_TRANSITIONS = list_fields(
    RecordKinds.TRANSITIONS, time={"title": "TIME (UTC)", "show": formatters.time}, ms={"title": "AFTER"}
)


def _table(fields: Sequence[Field], context: RowContext) -> list[str]:
    """Aligned lines with a title, without optional columns in which every value is unknown.

    A rich Table would take a minute for 65,536 rows, this takes a second.
    """
    columns = [field for field in fields if not field.optional or field.read(context).is_known.any()]
    lines = zip(*(_cells(field, context) for field in columns), strict=True)
    return ["  ".join(cells).rstrip() for cells in lines]


def _cells(field: Field, context: RowContext) -> list[str]:
    """The title and every row's text, all of one width."""
    texts = [field.title, *field.texts(context)]
    width = max(map(cell_len, texts))
    return [fit(text, width, right=field.right) for text in texts]


def _histogram(rtt: Rtt) -> list[str]:
    lines = list(log2_lines([bucket.count for bucket in rtt.buckets], "usecs", open_bound="..."))
    return lines or ["no round-trip time yet"]


def _summary(rtt: Rtt) -> str:
    values = {"avg": rtt.avg, "p50": rtt.p50, "p90": rtt.p90, "p99": rtt.p99}
    texts = (f"{name} {formats.UNKNOWN if us is None else formats.rtt_us(us)}" for name, us in values.items())
    return "  ".join((f"{formats.count(rtt.count)} samples", *texts))


def to_text(inputs: DocumentInput) -> str:
    """Provenance and losses, alerts, connections, transitions, histogram. Lines are as long as the longest row."""
    document = build_document(inputs)
    return "\n".join(
        [
            *(f"{name}: {value}".rstrip() for name, value in provenance(document)),
            *(f"alert: {alert.text}" for alert in document.alerts),
            "",
            "Connections",
            *_table(_TABLE, inputs.table),
            "",
            "Transitions",
            *_table(_TRANSITIONS, inputs.transitions),
            "",
            f"Round-trip times: {_summary(document.rtt)}",
            *_histogram(document.rtt),
            "",
        ]
    )
