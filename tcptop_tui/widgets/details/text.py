"""What the page of one connection says, as text and tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tcptop_tui import formats, safe_text
from tcptop_tui.fields import BY_KEY, FIELDS, RecordKinds, RowContext, list_fields
from tcptop_tui.model.frame import Frame, RttSelection
from tcptop_tui.model.rtt_totals import RttTotals
from tcptop_tui.model.snapshot import Snapshot
from tcptop_tui.model.trends import MAX_SAMPLES, trend
from tcptop_tui.records import ROW, UNKNOWN_NS, Rows
from tcptop_tui.stream.batches import Names
from tcptop_tui.stream.identity import connection_key, tuple_hash
from tcptop_tui.widgets.lists.list_rows import endpoints
from tcptop_tui.widgets.sparkline import sparkline
from tcptop_tui.widgets.time_texts import start_text

_HISTORY_ROWS = 200
_HOLDERS = 32
"""Processes that are named; exports have them all."""
_TWO_PAIRS_CELLS = 64
_TREND_CELLS = 24
"""Name and largest value, beside the line."""


def title(row: Rows, names: Names) -> str:
    """``nginx 10.0.0.1:443 ↔ 10.0.0.2:5555`` of a row, shape (1,)."""
    return f"{safe_text.clean(bytes(row['comm'][0]))} {endpoints(row, names)}"


def connection_transitions(row: Rows, log: Rows) -> Rows:
    """The transitions of this connection: by its socket, or by addresses and ports before that."""
    same = log["skaddr"] == row["skaddr"][0] if row["skaddr"][0] else np.zeros(len(log), np.bool_)
    same &= log["born_ns"] == row["born_ns"][0]
    same |= connection_key(log) == connection_key(row)[0]  # on whatever device it was meanwhile
    same |= tuple_hash(log) == tuple_hash(row)[0]
    same &= log["ts_ns"] >= row["born_ns"][0]  # what had these addresses and ports before is another one
    own: Rows = log[same][-_HISTORY_ROWS:]
    return own


def connection_samples(row: Rows, facts: Snapshot) -> RttTotals:
    """Of this connection, whether it still has some or left them when it ended."""
    mine = RttTotals.from_rows(row, np.zeros(1, np.intp), facts.hists)
    if mine.connections:
        return mine
    sessions = facts.ended_rows
    return RttTotals.from_rows(sessions, np.flatnonzero(connection_key(sessions) == connection_key(row)[0])[-1:])


def round_trips(row: Rows, samples: RttTotals, facts: Snapshot) -> RttSelection:
    """What the histogram of this connection shows."""
    heat = facts.heat_map
    return RttSelection(
        samples.hist,
        samples.sum_us,
        heat_columns=heat.columns_of(connection_key(row)),
        heat_unread=heat.unread_steps,
        heat_complete_steps=heat.complete_steps,
    )


def trend_lines(row: Rows, frame: Frame, width: int) -> Text:
    """Sparklines of RTT and rates, with the largest value of each."""
    values = trend(frame.snapshot.trends, int(row["id"][0]))
    cells = max(10, min(MAX_SAMPLES, width - _TREND_CELLS))
    drawn = Text.assemble((f"\nThe last {cells} seconds\n", "bold"))
    lines = []
    for name, part in zip(("RTT", "sent", "received"), values, strict=True):
        known = part[-cells:][~np.isnan(part[-cells:])]
        said = formats.rtt_us if name == "RTT" else formats.rate
        most = f" up to {said(float(known.max()))}{'' if name == 'RTT' else '/s'}" if len(known) else ""
        lines.append(f"{name:<9}{sparkline(part.tolist(), cells)}{most}")
    return drawn.append("\n".join(lines))


def facts_table(subject: RowContext, holders: Rows, width: int, *, alive: bool) -> RenderableType:
    """Every column of the table, and what has no column; two pairs a line where ``width`` cells hold them.

    Args:
        subject: the connection, one row.
        holders: the processes that have it open, if these are several, dtype HOLDING.
        width: of the table.
        alive: it has not ended.
    """
    columns = (field for field in list_fields(RecordKinds.TABLE) if not field.detail)  # the kernel is asked for those
    fields = (*columns, *(field for field in FIELDS if field.records & RecordKinds.PAGE))
    pairs = [(field.meaning, field.texts(subject)[0]) for field in fields]
    if len(holders):
        told = ", ".join(f"{safe_text.clean(bytes(one['comm']))} {one['pid']}" for one in holders[:_HOLDERS])
        pairs.append(("open in", f"{told}, …" if len(holders) > _HOLDERS else told))
    table = pairs_table(pairs, width)
    return (
        table if alive else Group(Text(f"this connection has ended: {BY_KEY['why'].texts(subject)[0]}", "bold"), table)
    )


def pairs_table(pairs: Sequence[tuple[str, str]], width: int) -> RenderableType:
    """Names and values, read down the left half and then down the right one; one below the other where it is narrow."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    columns = 2 if width >= _TWO_PAIRS_CELLS else 1
    for _ in range(columns):
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
    lines = -(-len(pairs) // columns)
    for line in range(lines):
        there = [pairs[place] for place in range(line, len(pairs), lines)]
        table.add_row(*(Text(part, style) for name, value in there for part, style in ((name, "bold"), (value, ""))))
    return table


def row_from_ended(session: np.void) -> Rows:
    """An ended connection as a row of the table, shape (1,)."""
    row = np.zeros(1, ROW)
    for name in ROW.names or ():
        if name in (session.dtype.names or ()):
            row[name] = session[name]
    return row


def history_table(rows: Rows, frame: Frame) -> RenderableType:
    """A line for each transition that is still kept."""
    table = Table(title=Text("\nHistory", "bold"), title_justify="left", box=None, pad_edge=False)
    for name in ("time", "old state", "new state", "time in old"):
        table.add_column(name, header_style="")
    for row in rows:
        spent_ns = int(row["time_in_state_ns"])
        table.add_row(
            formats.clock(frame.snapshot.wall_clock.utc_ns(int(row["ts_ns"]))),
            formats.state_name(int(row["oldstate"])),
            formats.state_name(int(row["newstate"])),
            formats.UNKNOWN if spent_ns == UNKNOWN_NS else formats.duration_ns(spent_ns),
        )
    if not len(rows):
        return Text.assemble(("\nHistory\n", "bold"), f"no change of state since {start_text(frame.snapshot)}")
    return table
