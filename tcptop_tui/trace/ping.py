"""``trace ping``: which process the softirq interrupted to answer an ICMP echo request."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tcptop_tui.fields.formatters import address, as_is
from tcptop_tui.fields.readers import plain
from tcptop_tui.records import Rows, is_ipv4
from tcptop_tui.stream.batches import Batch, Loss, Pings
from tcptop_tui.trace import columns as c
from tcptop_tui.trace.columns import Column
from tcptop_tui.trace.output import Form, Output
from tcptop_tui.trace.stream_loop import LineContext

CPU = Column("cpu", "CPU", c.column_values(plain("cpu"), as_is), width=3)
TGID = Column("tgid", "TGID", c.column_values(plain("tgid"), as_is), width=7)
PID = Column("pid", "PID", c.column_values(plain("pid"), as_is), width=7)
COMM = c.field_column("comm", width=16)
SADDR = Column("saddr", "SADDR", c.column_values(plain("saddr"), address), width=15, wide=26)
DADDR = Column("daddr", "DADDR", c.column_values(plain("daddr"), address), width=15, wide=26)
ID = Column("id", "ID", c.column_values(plain("id"), as_is), width=5)
SEQ = Column("seq", "SEQ", c.column_values(plain("seq"), as_is), width=5)


def columns(form: Form, *, wide: bool, clock: tuple[Column, ...]) -> tuple[Column, ...]:
    """The columns of a form. Text and CSV always begin with the time: the probe is there to tell what ran just then."""
    ping = (CPU, TGID, PID, COMM, SADDR, ID, SEQ)
    if form == "json":
        return (c.UTC, *ping, DADDR, c.NETNS)
    return (*(clock or (c.TIME,)), *ping, *((DADDR, c.NETNS) if wide else ()))


@dataclass(slots=True)
class PingStream:
    """A line for each echo request.

    Args:
        output: where lines go.
        ip: 4, 6 or 0 for both.
    """

    output: Output
    ip: int = 0

    def start(self) -> None:
        """See ``LineStream``."""
        self.output.header()

    def write_batch(self, batch: Batch, context: LineContext) -> None:
        """See ``LineStream``."""
        if isinstance(batch, Pings):
            rows = self._matching(batch.rows)
            self.output.lines(context.line_rows(rows))

    def _matching(self, rows: Rows) -> Rows:
        if not self.ip:
            return rows
        matches: Rows = rows[np.where(is_ipv4(rows["saddr"]), 4, 6) == self.ip]
        return matches

    def lost(self, loss: Loss) -> int:
        """See ``LineStream``."""
        return loss.ring_full

    def finish(self, context: LineContext) -> None:
        """See ``LineStream``."""
