"""A snapshot's document, made from the rows that the filter shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui import __version__, formats, safe_text
from tcptop_tui.export.alert_text import alert_text
from tcptop_tui.export.schema import (
    SCHEMA_VERSION,
    Alert,
    Bucket,
    Connection,
    Connects,
    Destination,
    Document,
    LossCounts,
    Meta,
    Rtt,
    Session,
    Transition,
)
from tcptop_tui.fields import BY_KEY, RecordKinds, RowContext, document_fields
from tcptop_tui.model import alert_kinds
from tcptop_tui.model import connect_list as model
from tcptop_tui.model.histogram import bucket_bounds, summarize
from tcptop_tui.records import RTT_SLOTS, Rows
from tcptop_tui.stream.batches import Loss


@dataclass(frozen=True, slots=True)
class DocumentInput:
    """What a snapshot is made from: the rows that the filter shows, in display order."""

    table: RowContext
    transitions: RowContext
    ended: RowContext
    """Ended connections, oldest first; listeners are none."""
    hist: NDArray[np.uint64]
    hist_sum_us: int
    loss: Loss
    utc_ns: int
    host: str
    kernel: str
    backend: str
    backend_note: str
    filter_text: str
    hidden_text: str
    """The filter of what is not shown besides."""
    alerts: tuple[alert_kinds.Alert, ...]
    connections_total: int
    connects: model.Connects = field(default_factory=model.Connects)
    """Outcomes of connect() that the filter wants."""
    since_ns: int = 0
    """CLOCK_MONOTONIC from which on everything was counted; 0: nothing was yet. So for those below."""
    transitions_since_ns: int = 0
    sessions_since_ns: int = 0
    behind_s: int = 0


def _rows(kind: Any, records: RecordKinds, context: RowContext) -> list[Any]:
    columns = [field.values(context) for field in document_fields(records)]
    return [kind(*row) for row in zip(*columns, strict=True)]


def _rtt(given: DocumentInput) -> Rtt:
    summary = summarize(given.hist, given.hist_sum_us)
    return Rtt(
        unit="us",
        count=summary.count,
        avg=summary.avg_us,
        p50=summary.p50_us,
        p90=summary.p90_us,
        p99=summary.p99_us,
        buckets=[Bucket(*bucket_bounds(slot), count=int(given.hist[slot])) for slot in range(RTT_SLOTS)],
    )


def _moment(given: DocumentInput, mono_ns: int) -> str | None:
    return formats.iso_time(given.table.utc_ns(mono_ns)) if mono_ns else None


def _where(destinations: Rows) -> Iterable[tuple[Any, Any, Any]]:
    context = RowContext(destinations, 0)
    raddr, ifindex, rport = (BY_KEY[key].values(context) for key in ("raddr", "ifindex", "rport"))
    return zip(raddr, ifindex, rport, strict=True)


def _connects(given: DocumentInput) -> Connects:
    made = given.connects
    return Connects(
        connects=made.connects,
        failed=made.failed,
        waiting=made.waiting,
        connected_since=_moment(given, made.succeeded_since_ns),
        failed_since=_moment(given, made.since_ns),
        beyond=made.beyond,
        destinations=[
            Destination(
                raddr,
                ifindex,
                rport,
                connects=int(row["connects"]),
                failed=int(row["failed"]),
                waiting=int(row["waiting"]),
                avg_ms=None if np.isnan(row["avg_ns"]) else round(float(row["avg_ns"]) / 1e6, 6),
            )
            for (raddr, ifindex, rport), row in zip(_where(made.destinations), made.destinations, strict=True)
        ],
    )


def build_document(given: DocumentInput) -> Document:
    """The document of one moment."""
    return Document(
        schema_version=SCHEMA_VERSION,
        meta=Meta(
            tool="tcptop-tui",
            version=__version__,
            time=formats.iso_time(given.utc_ns),
            host=safe_text.clean(given.host),
            kernel=safe_text.clean(given.kernel),
            backend=safe_text.clean(given.backend),
            backend_note=safe_text.clean(given.backend_note),
            filter=safe_text.clean(given.filter_text),
            hidden=safe_text.clean(given.hidden_text),
            connections_total=given.connections_total,
            connections_shown=len(given.table.rows),
            since=_moment(given, given.since_ns),
            transitions_since=_moment(given, given.transitions_since_ns),
            sessions_since=_moment(given, given.sessions_since_ns),
            behind_s=given.behind_s,
        ),
        loss=LossCounts(lost=given.loss.lost, **asdict(given.loss)),
        rtt=_rtt(given),
        connections=_rows(Connection, RecordKinds.TABLE, given.table),
        transitions=_rows(Transition, RecordKinds.TRANSITIONS, given.transitions),
        sessions=_rows(Session, RecordKinds.ENDED, given.ended),
        connects=_connects(given),
        alerts=[
            Alert(safe_text.clean(alert_text(alert)), safe_text.clean(alert.filter), alert.severe)
            for alert in given.alerts
        ],
    )
