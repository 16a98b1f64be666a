"""A document as text for people, with the numbers as the screen has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from rich.cells import cell_len

from tcptop_tui import formats
from tcptop_tui.export.schema import Connection, Document, Rtt, Transition
from tcptop_tui.text import fit

_BAR_CELLS = 40

_Row = TypeVar("_Row", Connection, Transition)


@dataclass(frozen=True, slots=True)
class _Column(Generic[_Row]):
    title: str
    value: Callable[[_Row], Any]
    """None: not known."""
    form: Callable[[Any], str] = str
    right: bool = False

    def cells(self, rows: Sequence[_Row]) -> list[str]:
        """The title and every row's text, all of one width."""
        told = [self.title, *(self._text(self.value(row)) for row in rows)]
        width = max(map(cell_len, told))
        return [fit(cell, width, right=self.right) for cell in told]

    def _text(self, value: Any) -> str:
        return formats.UNKNOWN if value is None else self.form(value)


def provenance(document: Document) -> list[tuple[str, str]]:
    """Names and values of ``meta`` and ``loss``, for formats that have no place for structures."""
    meta = msgspec.to_builtins(document.meta)
    loss = msgspec.to_builtins(document.loss)
    return [(name, str(value)) for name, value in {**meta, **loss}.items()]


def _process(row: Connection) -> str | None:
    return formats.shared_name(row.comm, len(row.holders or ())) if row.comm else None


def _local_address(row: Connection | Transition) -> str:
    return row.laddr if row.dev is None else f"{row.laddr}%{row.dev}"


def _span(seconds: float) -> str:
    return formats.duration_ns(round(seconds * 1e9))


def _milliseconds(span_ms: float) -> str:
    return formats.duration_ns(round(span_ms * 1e6))


def _note(row: Transition) -> str:
    return " ".join(word for word, true in (("delayed", row.delayed), ("polled", row.polled)) if true)


_CONNECTIONS: tuple[_Column[Connection], ...] = (
    _Column("PID", lambda row: row.pid, right=True),
    _Column("PROCESS", _process),
    _Column("USER", lambda row: row.uid if row.user is None else row.user),
    _Column("NETNS", lambda row: row.netns, right=True),
    _Column("LADDR", _local_address, right=True),
    _Column("LPORT", lambda row: row.lport, right=True),
    _Column("RADDR", lambda row: row.raddr, right=True),
    _Column("RPORT", lambda row: row.rport, right=True),
    _Column("STATE", lambda row: row.state),
    _Column("IN STATE", lambda row: row.state_age_s, _span, right=True),
    _Column("AGE", lambda row: row.age_s, _span, right=True),
    _Column("TX", lambda row: row.tx_bytes, formats.size_bytes, right=True),
    _Column("RX", lambda row: row.rx_bytes, formats.size_bytes, right=True),
    _Column("TX/s", lambda row: row.tx_bytes_per_s, formats.rate, right=True),
    _Column("RX/s", lambda row: row.rx_bytes_per_s, formats.rate, right=True),
    _Column("RTT", lambda row: row.srtt_us, formats.rtt_us, right=True),
    _Column("RETR", lambda row: row.retrans, right=True),
)

_TRANSITIONS: tuple[_Column[Transition], ...] = (
    _Column("TIME (UTC)", lambda row: row.time),
    _Column("PID", lambda row: row.pid, right=True),
    _Column("PROCESS", lambda row: row.comm),
    _Column("LADDR", _local_address, right=True),
    _Column("LPORT", lambda row: row.lport, right=True),
    _Column("RADDR", lambda row: row.raddr, right=True),
    _Column("RPORT", lambda row: row.rport, right=True),
    _Column("FROM", lambda row: row.oldstate),
    _Column("TO", lambda row: row.newstate),
    _Column("AFTER", lambda row: row.ms, _milliseconds, right=True),
    _Column("TX", lambda row: row.tx_bytes, formats.size_bytes, right=True),
    _Column("RX", lambda row: row.rx_bytes, formats.size_bytes, right=True),
    _Column("NOTE", _note),
)


def _table(columns: Sequence[_Column[_Row]], rows: Sequence[_Row]) -> list[str]:
    """Aligned lines. Not a rich Table: that takes a minute for 65,536 rows, this a second."""
    lines = zip(*(column.cells(rows) for column in columns), strict=True)
    return ["  ".join(cells).rstrip() for cells in lines]


def _histogram(rtt: Rtt) -> list[str]:
    """As bcc's tools print it (``_print_log2_hist``, src/python/bcc/table.py), but the last slot is open."""
    used = [index for index, bucket in enumerate(rtt.buckets) if bucket.count]
    if not used:
        return ["no round-trip time yet"]
    most = max(bucket.count for bucket in rtt.buckets)
    lines = [f"     {'usecs':<19} : count     distribution"]
    for bucket in rtt.buckets[: used[-1] + 1]:
        stars = "*" * (bucket.count * _BAR_CELLS // most)
        high = "..." if bucket.high is None else bucket.high
        lines.append(f"{bucket.low:>10} -> {high:<10} : {bucket.count:<8} |{stars:<{_BAR_CELLS}}|")
    return lines


def _summary(rtt: Rtt) -> str:
    values = {"avg": rtt.avg, "p50": rtt.p50, "p90": rtt.p90, "p99": rtt.p99}
    told = (f"{name} {formats.UNKNOWN if us is None else formats.rtt_us(us)}" for name, us in values.items())
    return "  ".join((f"{formats.count(rtt.count)} samples", *told))


def to_text(document: Document) -> str:
    """Provenance and losses, connections, transitions, histogram; as wide as the widest row."""
    return "\n".join(
        [
            *(f"{name}: {value}".rstrip() for name, value in provenance(document)),
            *(f"alert: {alert.text}" for alert in document.alerts),
            "",
            "Connections",
            *_table(_CONNECTIONS, document.connections),
            "",
            "Transitions",
            *_table(_TRANSITIONS, document.transitions),
            "",
            f"Round-trip times: {_summary(document.rtt)}",
            *_histogram(document.rtt),
            "",
        ]
    )
