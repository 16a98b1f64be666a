"""``trace connect``: every connect() with its outcome, as tcpconnect prints them, failures included."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

import numpy as np

from tcptop_tui import formats
from tcptop_tui.fields import BY_KEY, RecordKinds
from tcptop_tui.fields.connect_results import is_failure, result_codes
from tcptop_tui.filters import Filter
from tcptop_tui.model.connect_attempts import connect_outcomes, waiting_connects
from tcptop_tui.records import TRANSITION, Rows
from tcptop_tui.stream.batches import Batch, Loss, Table, Transitions
from tcptop_tui.trace import columns as c
from tcptop_tui.trace.columns import Column, LineRows
from tcptop_tui.trace.output import Form, Output
from tcptop_tui.trace.stream_loop import LineContext
from tcptop_tui.trace.summary import print_note

_MAX_KEYS = 65_536
"""Keys of ``ConnectCounts`` that are counted one by one; connects with further keys are only counted together."""

Words: TypeAlias = tuple[int, int]
"""The halves of an address in its IPv6 form."""
_Key: TypeAlias = tuple[Words, Words, int, str | None]
"""Local address, remote address, remote port, device."""


class LookedUpNames(Protocol):
    """Where the names that were looked up are known; ``probes.DnsLookups`` is one."""

    def name_of(self, words: Words, ts_ns: int) -> tuple[str, float] | None:
        """The name whose answer held this address, and how many seconds before ``ts_ns`` it came."""
        ...

    def refresh(self) -> None:
        """Take in the DNS answers that have come since the last call."""
        ...

    @property
    def lost(self) -> int:
        """DNS answers that were lost."""
        ...


SADDR = c.field_column("laddr", "SADDR", width=16, wide=26)
_LOCAL = Column("laddr", "SADDR", c.local_address, width=16, wide=26)
DADDR = c.field_column("raddr", "DADDR", width=16, wide=26)


def _no_values(lines: LineRows) -> list[Any]:  # noqa: ARG001
    """Columns of ``Output.table`` get their values with the table."""
    return []


DPORT = c.field_column("rport", "DPORT", width=6)
MS = c.field_column("ms", show=c.ms3, width=9)
RESULT = c.field_column("result", width=11)
QUERY = Column("query", "QUERY", c.looked_up_names, foreign=True)
COUNTS = (
    Column("laddr", "LADDR", _no_values, width=25),
    Column("raddr", "RADDR", _no_values, width=25),
    Column("rport", "RPORT", _no_values, width=20),
    Column("connects", "CONNECTS", _no_values, width=10),
    Column("failed", "FAILED", _no_values, width=6),
)
_COUNTED_DEVICE = Column("dev", "DEV", _no_values)


def columns(
    form: Form, *, wide: bool, clock: tuple[Column, ...], lport: bool, uid: bool, dns: bool
) -> tuple[Column, ...]:
    """Tcpconnect's columns, then the outcome; names that were looked up come last, because they have any length."""
    query = (QUERY,) if dns else ()
    if form == "json":
        return (*c.json_columns(RecordKinds.CONNECTS), *query)
    saddr = SADDR if form == "csv" else _LOCAL
    source = (saddr, c.LPORT) if lport else (saddr,)
    start = (*clock, *((c.UID,) if uid else ()), c.PID, c.COMM, c.IP, *source, DADDR, DPORT)
    if form == "csv":
        return (*start, *((MS, RESULT, c.NETNS, c.CGROUP, c.DEV) if wide else ()), *query)
    return (*start, MS, *((c.NETNS,) if wide else ()), RESULT, *query)


@dataclass(slots=True)
class ConnectCounts:
    """Connects by local address, remote address, remote port and device: fe80::1 is another host on another link."""

    connects: Counter[_Key] = field(default_factory=Counter)
    failed: Counter[_Key] = field(default_factory=Counter)
    beyond_limit: int = 0
    """Connects that are in no key, because there are ``_MAX_KEYS`` already."""

    def add(self, lines: LineRows) -> None:
        """Count connects, dtype TRANSITION."""
        rows = lines.rows
        failures = is_failure(result_codes(rows)).tolist()
        addresses = zip(rows["laddr"].tolist(), rows["raddr"].tolist(), rows["rport"].tolist(), strict=True)
        devices = BY_KEY["dev"].values(lines)
        for (laddr, raddr, rport), device, is_failed in zip(addresses, devices, failures, strict=True):
            key = (tuple(laddr), tuple(raddr), rport, device)
            if key not in self.connects and len(self.connects) >= _MAX_KEYS:
                self.beyond_limit += 1
                continue
            self.connects[key] += 1
            self.failed[key] += is_failed

    def columns(self) -> tuple[Column, ...]:
        """Tcpconnect's columns, and the device if any socket was bound to one."""
        has_devices = any(key[3] is not None for key in self.connects)
        return (*COUNTS, _COUNTED_DEVICE) if has_devices else COUNTS

    def rows(self) -> list[dict[str, Any]]:
        """A document for each key, the most frequent first."""
        return [
            {
                "laddr": formats.address(key[0]),
                "dev": key[3],
                "raddr": formats.address(key[1]),
                "rport": key[2],
                "connects": count,
                "failed": self.failed[key],
            }
            for key, count in self.connects.most_common()
        ]


def _query_texts(names: LookedUpNames, rows: Rows) -> list[str | None]:
    """As tcpconnect writes them: the name, with the answer's age if it is older than 0.1 s; None: no name."""
    names.refresh()
    queries: list[str | None] = []
    for words, ts_ns in zip(rows["raddr"].tolist(), rows["ts_ns"].tolist(), strict=True):
        name, age_s = names.name_of(tuple(words), ts_ns) or (None, 0.0)
        queries.append(f"{name} ({age_s:.1f}s ago)" if age_s > 0.1 else name)
    return queries


@dataclass(slots=True)
class ConnectStream:
    """A line for each connect() when its outcome is known; those without one at the end.

    Args:
        output: where lines go.
        filter: which connects are shown.
        tally: counts connects instead of writing lines, for ``-c``; None: lines are written.
        queries: where looked-up names come from, for ``-d``; None: there are no names.
    """

    output: Output
    filter: Filter
    tally: ConnectCounts | None = None
    queries: LookedUpNames | None = None
    _waiting: Rows = field(default_factory=lambda: np.zeros(0, TRANSITION))
    """Connects without an outcome in the latest table, dtype TRANSITION."""

    def start(self) -> None:
        """See ``LineStream``; counts are written with their titles at the end."""
        if self.tally is None:
            self.output.header()
        else:
            self.output.write_comment(b"Tracing connect ... Hit Ctrl-C to end.\n")

    def write_batch(self, batch: Batch, context: LineContext) -> None:
        """See ``LineStream``."""
        if isinstance(batch, Table):
            self._waiting = waiting_connects(batch.rows, batch.now_ns)
        if isinstance(batch, Transitions):
            self._write(connect_outcomes(batch.rows), context)

    def _write(self, rows: Rows, context: LineContext) -> None:
        rows = rows[self.filter.matches(context.row_context(rows))]
        if self.tally is not None:
            self.tally.add(context.line_rows(rows))
            return
        lines = context.line_rows(rows)
        if self.queries is not None and len(rows):
            lines = replace(lines, queries=_query_texts(self.queries, rows))
        self.output.lines(lines)

    def lost(self, loss: Loss) -> int:
        """See ``LineStream``."""
        return loss.ring_full + loss.skipped

    def finish(self, context: LineContext) -> None:
        """Write the counts, or the connects that nobody has answered yet."""
        if self.tally is None:
            self._write(self._waiting, context)
        else:
            self.output.table(self.tally.columns(), self.tally.rows())
            if self.tally.beyond_limit:
                print_note(
                    f"{self.tally.beyond_limit:,} connects to other destinations are not listed: there are too many"
                )
        if self.queries is not None and self.queries.lost:
            print_note(f"{self.queries.lost:,} DNS answers were lost: names may be missing")
