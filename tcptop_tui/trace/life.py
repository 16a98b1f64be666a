"""``trace life``: every connection when it has ended, as tcplife prints it, with the close reason."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tcptop_tui.fields import RecordKinds
from tcptop_tui.filters import Filter
from tcptop_tui.model.ended_order import has_peer
from tcptop_tui.records import ENDED, Mask, Rows
from tcptop_tui.row_copy import concat, copied, picked
from tcptop_tui.stream.batches import Batch, EndedConnections, LateEndings, Loss, Table
from tcptop_tui.stream.late_endings import apply_late_endings, is_half_closed
from tcptop_tui.trace import columns as c
from tcptop_tui.trace.columns import Column
from tcptop_tui.trace.output import Form, Output
from tcptop_tui.trace.stream_loop import LineContext

_MAX_WAIT_NS = 2 * 10**9
"""How long the line of a half-closed connection waits for a late ending."""
_MAX_WAITING_ROWS = 16_384


def _kilobytes(value: int) -> str:
    """Whole kilobytes as tcplife prints them; less than one has two digits, because it is not 0."""
    return str(value // 1024) if value >= 1024 or value == 0 else f"{value / 1024:.2f}"


TX_KB = c.field_column("tx_bytes", "TX_KB", _kilobytes, width=6)
RX_KB = c.field_column("rx_bytes", "RX_KB", _kilobytes, width=6)
MS = c.field_column("lived", show=c.ms2, width=9)
OPENED = c.field_column("opened", width=7)


def columns(form: Form, *, wide: bool, clock: tuple[Column, ...]) -> tuple[Column, ...]:
    """The columns of a form. CSV has those of tcplife, and with ``-w`` ours behind them."""
    if form == "json":
        return c.json_columns(RecordKinds.ENDED)
    connection = (c.LADDR if form == "csv" else c.LOCAL, c.LPORT, c.RADDR, c.RPORT, TX_KB, RX_KB, MS)
    more = (c.UID, c.NETNS, c.RETRANS, OPENED) if wide else ()
    if form == "csv":
        return (*clock, c.PID, c.COMM, c.IP, *connection, *more, *((c.CGROUP, c.WHY, c.DEV) if wide else ()))
    version = (c.IP,) if wide else ()
    return (*clock, c.PID, c.COMM, *version, *connection, *more, c.WHY)


@dataclass(slots=True)
class LifeStream:
    """A line for each ended connection that the filter matches; listeners are no connections.

    A half-closed connection, which this host has closed and the peer has not, may still end by a reset. Its line waits
    for that, two seconds at most.
    """

    output: Output
    filter: Filter
    _waiting: Rows = field(default_factory=lambda: np.zeros(0, ENDED))
    """Half-closed connections whose lines wait, dtype ENDED, the oldest first."""

    def start(self) -> None:
        """See ``LineStream``."""
        self.output.header()

    def write_batch(self, batch: Batch, context: LineContext) -> None:
        """See ``LineStream``."""
        if isinstance(batch, EndedConnections):
            half_closed = is_half_closed(batch.rows["close_flags"])
            self._write(picked(batch.rows, ~half_closed), context)
            waiting = concat(ENDED, self._waiting, picked(batch.rows, half_closed))
            self._write_waiting(waiting, np.arange(len(waiting)) < len(waiting) - _MAX_WAITING_ROWS, context)
        elif isinstance(batch, LateEndings) and len(self._waiting):
            waiting = copied(self._waiting)
            self._write_waiting(waiting, apply_late_endings(waiting, batch.rows), context)
        elif isinstance(batch, Table) and len(self._waiting):
            self._write_waiting(
                self._waiting, self._waiting["end_ns"] + np.uint64(_MAX_WAIT_NS) <= batch.now_ns, context
            )

    def _write_waiting(self, waiting: Rows, which: Mask, context: LineContext) -> None:
        """Write those of ``waiting`` that ``which`` marks; the others go on waiting."""
        self._waiting = picked(waiting, ~which)
        self._write(picked(waiting, which), context)

    def _write(self, rows: Rows, context: LineContext) -> None:
        matches = picked(rows, has_peer(rows) & self.filter.matches(context.row_context(rows)))
        self.output.lines(context.line_rows(matches))

    def lost(self, loss: Loss) -> int:
        """See ``LineStream``."""
        return loss.sessions_ring_full

    def finish(self, context: LineContext) -> None:
        """See ``LineStream``."""
        self._write_waiting(self._waiting, np.ones(len(self._waiting), np.bool_), context)
