"""``trace ping``: whom the softirq interrupted to answer an ICMP echo request."""

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

CPU = Column("cpu", "CPU", c.values(plain("cpu"), as_is), width=3)
TGID = Column("tgid", "TGID", c.values(plain("tgid"), as_is), width=7)
PID = Column("pid", "PID", c.values(plain("pid"), as_is), width=7)
COMM = c.of("comm", width=16)
SADDR = Column("saddr", "SADDR", c.values(plain("saddr"), address), width=15, wide=26)
DADDR = Column("daddr", "DADDR", c.values(plain("daddr"), address), width=15, wide=26)
ID = Column("id", "ID", c.values(plain("id"), as_is), width=5)
SEQ = Column("seq", "SEQ", c.values(plain("seq"), as_is), width=5)


def columns(form: Form, *, wide: bool, clock: tuple[Column, ...]) -> tuple[Column, ...]:
    """The time always stands first: the probe is for finding out what ran just then."""
    facts = (CPU, TGID, PID, COMM, SADDR, ID, SEQ)
    if form == "json":
        return (c.UTC, *facts, DADDR, c.NETNS)
    return (*(clock or (c.TIME,)), *facts, *((DADDR, c.NETNS) if wide else ()))


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

    def write_batch(self, batch: Batch, moment: LineContext) -> None:
        """See ``LineStream``."""
        if isinstance(batch, Pings):
            rows = self._matching(batch.rows)
            self.output.lines(moment.lines(rows))

    def _matching(self, rows: Rows) -> Rows:
        if not self.ip:
            return rows
        wanted: Rows = rows[np.where(is_ipv4(rows["saddr"]), 4, 6) == self.ip]
        return wanted

    def lost(self, loss: Loss) -> int:
        """See ``LineStream``."""
        return loss.ring_full

    def finish(self, moment: LineContext) -> None:
        """See ``LineStream``."""
