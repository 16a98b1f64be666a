"""Makes the document of an export: typed structures with the rows that the filter chooses."""

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
    """What a document is made from: the rows that the filter chooses, in display order."""

    table: RowContext
    transitions: RowContext
    ended: RowContext
    """Ended connections, oldest first, without listeners."""
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
    """The filter whose rows are hidden; empty: none are."""
    alerts: tuple[alert_kinds.Alert, ...]
    connections_total: int
    connects: model.Connects = field(default_factory=model.Connects)
    """The connect() calls that the filter chooses."""
    since_ns: int = 0
    """From this time on (CLOCK_MONOTONIC) everything was counted; 0: nothing was counted yet."""
    transitions_since_ns: int = 0
    """From this time on ``transitions`` has all of them."""
    sessions_since_ns: int = 0
    """From this time on ``ended`` has all of them."""
    behind_s: int = 0


def _structures(struct: Any, records: RecordKinds, context: RowContext) -> list[Any]:
    """A ``struct`` for each row, with the fields that documents have of ``records``."""
    columns = [field.values(context) for field in document_fields(records)]
    return [struct(*row) for row in zip(*columns, strict=True)]


def _rtt(inputs: DocumentInput) -> Rtt:
    summary = summarize(inputs.hist, inputs.hist_sum_us)
    return Rtt(
        unit="us",
        count=summary.count,
        avg=summary.avg_us,
        p50=summary.p50_us,
        p90=summary.p90_us,
        p99=summary.p99_us,
        buckets=[Bucket(*bucket_bounds(slot), count=int(inputs.hist[slot])) for slot in range(RTT_SLOTS)],
    )


def _iso_time(inputs: DocumentInput, mono_ns: int) -> str | None:
    return formats.iso_time(inputs.table.utc_ns(mono_ns)) if mono_ns else None


def _endpoint_values(destinations: Rows) -> Iterable[tuple[Any, Any, Any]]:
    """``raddr``, ``ifindex`` and ``rport`` of each destination (dtype DESTINATION) as documents have them."""
    context = RowContext(destinations, 0)
    raddr, ifindex, rport = (BY_KEY[key].values(context) for key in ("raddr", "ifindex", "rport"))
    return zip(raddr, ifindex, rport, strict=True)


def _connects(inputs: DocumentInput) -> Connects:
    connects, destinations = inputs.connects, inputs.connects.destinations
    return Connects(
        connects=connects.connects,
        failed=connects.failed,
        waiting=connects.waiting,
        connected_since=_iso_time(inputs, connects.succeeded_since_ns),
        failed_since=_iso_time(inputs, connects.since_ns),
        beyond=connects.beyond,
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
            for (raddr, ifindex, rport), row in zip(_endpoint_values(destinations), destinations, strict=True)
        ],
    )


def build_document(inputs: DocumentInput) -> Document:
    """The document of one moment. Texts of strangers are cleaned of what a terminal would obey."""
    return Document(
        schema_version=SCHEMA_VERSION,
        meta=Meta(
            tool="tcptop-tui",
            version=__version__,
            time=formats.iso_time(inputs.utc_ns),
            host=safe_text.clean(inputs.host),
            kernel=safe_text.clean(inputs.kernel),
            backend=safe_text.clean(inputs.backend),
            backend_note=safe_text.clean(inputs.backend_note),
            filter=safe_text.clean(inputs.filter_text),
            hidden=safe_text.clean(inputs.hidden_text),
            connections_total=inputs.connections_total,
            connections_shown=len(inputs.table.rows),
            since=_iso_time(inputs, inputs.since_ns),
            transitions_since=_iso_time(inputs, inputs.transitions_since_ns),
            sessions_since=_iso_time(inputs, inputs.sessions_since_ns),
            behind_s=inputs.behind_s,
        ),
        loss=LossCounts(lost=inputs.loss.lost, **asdict(inputs.loss)),
        rtt=_rtt(inputs),
        connections=_structures(Connection, RecordKinds.TABLE, inputs.table),
        transitions=_structures(Transition, RecordKinds.TRANSITIONS, inputs.transitions),
        sessions=_structures(Session, RecordKinds.ENDED, inputs.ended),
        connects=_connects(inputs),
        alerts=[
            Alert(safe_text.clean(alert_text(alert)), safe_text.clean(alert.filter), alert.severe)
            for alert in inputs.alerts
        ],
    )
