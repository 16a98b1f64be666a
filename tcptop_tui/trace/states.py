"""``trace states``: every transition as it happens, as tcpstates prints it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tcptop_tui.fields import RecordKinds
from tcptop_tui.fields.formatters import as_is
from tcptop_tui.fields.formatters import name as clean
from tcptop_tui.fields.readers import name, plain
from tcptop_tui.filters import Filter
from tcptop_tui.stream.batches import Batch, Loss, Transitions
from tcptop_tui.trace import columns as c
from tcptop_tui.trace.columns import Column
from tcptop_tui.trace.journal import Journal
from tcptop_tui.trace.output import Form, Output
from tcptop_tui.trace.stream_loop import LineContext
from tcptop_tui.trace.summary import print_note

OLDSTATE = c.field_column("oldstate", width=11)
NEWSTATE = c.field_column("newstate", width=11)
ARROW = Column("", "->", lambda lines: ["->"] * len(lines.rows))
MS = c.field_column("ms", show=c.ms3, width=9)
BYSTANDER = (
    Column("context_pid", "ON-CPU", c.column_values(plain("bystander_pid"), as_is), width=7),
    Column("context_tid", "TID", c.column_values(plain("bystander_tid"), as_is), width=7),
    Column("context_comm", "ON-CPU-COMM", c.column_values(name("bystander_comm"), clean), width=16, foreign=True),
)
_WIDE_CSV = (c.WHY, c.UID, c.NETNS, c.CGROUP, c.DEV)


def columns(form: Form, *, wide: bool, context: bool, clock: tuple[Column, ...]) -> tuple[Column, ...]:
    """The columns of a form. CSV has those of tcpstates, and with ``-w`` ours behind them."""
    bystander = BYSTANDER if context else ()
    if form == "json":
        return (*c.json_columns(RecordKinds.TRANSITIONS), *bystander)
    connection = (c.LADDR if form == "csv" else c.LOCAL, c.LPORT, c.RADDR, c.RPORT)
    start = (*clock, c.SKADDR, c.PID, c.COMM)
    if form == "csv":
        return (*start, c.IP, *connection, OLDSTATE, NEWSTATE, MS, *(_WIDE_CSV if wide else ()), *bystander)
    version = (c.IP,) if wide else ()
    more = (c.UID, c.NETNS, c.CGROUP) if wide else ()
    return (*start, *version, *connection, OLDSTATE, ARROW, NEWSTATE, MS, *bystander, *more, c.WHY)


@dataclass(slots=True)
class StatesStream:
    """A line for each transition that the filter matches, in the systemd journal as well if there is a ``journal``."""

    output: Output
    filter: Filter
    journal: Journal | None = None

    def start(self) -> None:
        """See ``LineStream``."""
        self.output.header()

    def write_batch(self, batch: Batch, context: LineContext) -> None:
        """See ``LineStream``."""
        if not isinstance(batch, Transitions):
            return
        rows: Any = batch.rows[self.filter.matches(context.row_context(batch.rows))]
        if self.journal is not None:
            self.journal.send(context.row_context(rows))
        self.output.lines(context.line_rows(rows))

    def lost(self, loss: Loss) -> int:
        """See ``LineStream``."""
        return loss.ring_full + loss.skipped

    def finish(self, context: LineContext) -> None:  # noqa: ARG002  streams with lines at the end need it
        """See ``LineStream``."""
        if self.journal is not None and self.journal.refused:
            print_note(f"the journal did not take {self.journal.refused:,} of the lines")
