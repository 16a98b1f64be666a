"""What the page of one connection says, as text and tables."""

from __future__ import annotations

import numpy as np
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tcptop_tui import formats, text
from tcptop_tui.export.values import opened, retrans_in
from tcptop_tui.model.facts import Facts
from tcptop_tui.model.frame import Frame, Rtt
from tcptop_tui.model.samples import Summed
from tcptop_tui.model.trends import SAMPLES, trend
from tcptop_tui.reasons import reason_text, reasons
from tcptop_tui.records import ROW, UNKNOWN_NS, UNKNOWN_UID, Rows
from tcptop_tui.source.identity import life, tuple_hash
from tcptop_tui.widgets.columns import COLUMNS, Cell, ends
from tcptop_tui.widgets.spark import spark

_HISTORY_ROWS = 200
_TREND_CELLS = 20
"""Name and largest value, beside the line."""


def title(row: Rows) -> str:
    """``nginx 10.0.0.1:443 ↔ 10.0.0.2:5555`` of a row, shape (1,)."""
    return f"{text.clean(bytes(row['comm'][0]))} {ends(row[0])}"


def own_history(row: Rows, log: Rows) -> Rows:
    """The transitions of this connection: by its socket, or by addresses and ports before that."""
    same = log["skaddr"] == row["skaddr"][0] if row["skaddr"][0] else np.zeros(len(log), np.bool_)
    same &= log["born_ns"] == row["born_ns"][0]
    same |= tuple_hash(log) == tuple_hash(row)[0]
    same &= log["ts_ns"] >= row["born_ns"][0]  # what had these addresses and ports before is another one
    own: Rows = log[same][-_HISTORY_ROWS:]
    return own


def own_samples(row: Rows, facts: Facts) -> Summed:
    """Of this connection, whether it still has some or left them when it ended."""
    mine = Summed.of(row, np.zeros(1, np.intp), facts.hists)
    if mine.connections:
        return mine
    sessions = facts.sessions
    return Summed.of(sessions, np.flatnonzero(life(sessions) == life(row)[0])[-1:])


def round_trips(row: Rows, samples: Summed, facts: Facts) -> Rtt:
    """What the histogram of this connection shows."""
    heat = facts.heat
    return Rtt(samples.hist, samples.sum_us, heat=heat.chosen(life(row)), heat_whole=heat.whole)


def trend_lines(row: Rows, frame: Frame, width: int) -> Text:
    """Sparklines of RTT and rates, with the largest value of each."""
    values = trend(frame.facts.trends, int(row["id"][0]))
    cells = max(10, min(SAMPLES, width - _TREND_CELLS))
    lines = ["", f"The last {cells} seconds"]
    for name, part in zip(("RTT", "TX/s", "RX/s"), values, strict=True):
        known = part[-cells:][~np.isnan(part[-cells:])]
        said = formats.rtt_us if name == "RTT" else formats.rate
        most = f" up to {said(float(known.max()))}" if len(known) else ""
        lines.append(f"{name:<6}{spark(part.tolist(), cells)}{most}")
    return Text("\n".join(lines))


def facts_table(cell: Cell, *, alive: bool) -> RenderableType:
    """Every column of the table, and what has no column, two pairs a line."""
    uid = int(cell.row["uid"])
    pairs = [(column.title, column.text(cell)) for column in COLUMNS]
    pairs += [
        ("UID", formats.UNKNOWN if uid == UNKNOWN_UID else str(uid)),
        ("OPENED BY", opened(cell.row) or formats.UNKNOWN),
        ("HANDSHAKE", _handshake(cell.row)),
        ("WHY", "" if alive else _why(cell.row)),
        ("RESET IN", formats.state_name(int(cell.row["reset_in"])) if cell.row["reset_in"] else formats.UNKNOWN),
        ("RETR IN", " ".join(f"{name} {count}" for name, count in retrans_in(cell.row).items()) or formats.UNKNOWN),
        ("SKADDR", f"{int(cell.row['skaddr']):x}" if cell.row["skaddr"] else formats.UNKNOWN),
        ("", "" if alive else "this connection has ended"),
    ]
    table = Table(box=None, show_header=False, pad_edge=False)
    half = (len(pairs) + 1) // 2
    for left, right in zip(pairs[:half], [*pairs[half:], ("", "")], strict=False):
        table.add_row(Text(left[0], "bold"), Text(left[1]), Text(right[0], "bold"), Text(right[1]))
    return table


def _handshake(row: np.void) -> str:
    """From the first SYN to ESTABLISHED."""
    if not (row["born_ns"] and row["established_ns"]):
        return formats.UNKNOWN
    return formats.duration_ns(int(row["established_ns"]) - int(row["born_ns"]))


def _why(row: np.void) -> str:
    one = np.array([row])
    return reason_text(int(reasons(one)[0]), int(row["err"])) or formats.UNKNOWN


def as_row(session: np.void) -> Rows:
    """An ended connection as a row of the table, shape (1,)."""
    row = np.zeros(1, ROW)
    for name in ROW.names or ():
        if name in (session.dtype.names or ()):
            row[name] = session[name]
    return row


def history_table(rows: Rows, frame: Frame) -> RenderableType:
    """A line for each transition that is still kept."""
    table = Table(title=Text("History"), title_justify="left", box=None, pad_edge=False)
    for name in ("TIME", "OLD", "NEW", "IN OLD"):
        table.add_column(name)
    for row in rows:
        spent_ns = int(row["spent_ns"])
        table.add_row(
            formats.clock(frame.facts.wall.utc_ns(int(row["ts_ns"]))),
            formats.state_name(int(row["oldstate"])),
            formats.state_name(int(row["newstate"])),
            formats.UNKNOWN if spent_ns == UNKNOWN_NS else formats.duration_ns(spent_ns),
        )
    if not len(rows):
        table.add_row("nothing since we started", "", "", "")
    return table
