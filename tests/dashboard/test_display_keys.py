"""Keys that change how it is shown: units, clearing, copying; and connections that have just ended."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest

from tcptop_tui.filters import parse
from tcptop_tui.model.frame import ViewOptions, make_frame
from tcptop_tui.model.sorting import SortOrder
from tcptop_tui.model.store import Store
from tcptop_tui.records import Rows
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import EndedConnections, Table
from tcptop_tui.widgets.panels.histogram import RttPanel
from tcptop_tui.widgets.panels.transitions import TransitionLog
from tcptop_tui.widgets.views.connections import ConnectionTable
from tests.support.dashboard import dashboard, numbered_table, transition_batch, until_painted
from tests.support.samples import NOW, SECOND, UTC, sessions
from tests.support.sockets import listening, pair, port
from tests.support.terminal import Terminal

pytestmark = pytest.mark.host


async def test_units_of_round_trip_times() -> None:
    async with dashboard() as board:
        panel = lambda: str(board.app.panel(RttPanel).render())  # noqa: E731
        assert "usecs" in panel()
        row = next(number for number, line in enumerate(board.lines(ConnectionTable)) if "104µs" in line)
        await board.press("m")
        assert "msecs" in panel()
        assert "0.064 -> 0.127" in panel()
        assert "RTTms" in board.lines(ConnectionTable)[0]
        assert "0.104" in board.lines(ConnectionTable)[row]
        await board.press("m")
        assert "RTTµs" in board.lines(ConnectionTable)[0]
        assert " 104 " in board.lines(ConnectionTable)[row]
        await board.press("m")
        assert "104µs" in board.lines(ConnectionTable)[row]


async def test_clearing_takes_two_presses() -> None:
    async with dashboard() as board:
        await board.press("x")
        assert len(board.app.frame.log_order) == 30
        await board.press("x")
        assert len(board.app.frame.log_order) == 0
        assert len(board.app.frame.snapshot.ended_rows) == 0
        assert board.row_count == 100  # what is there stays
        await board.deliver(transition_batch(3))
        assert len(board.app.frame.log_order) == 3
        assert "Transitions 3" in str(board.app.panel(TransitionLog).border_title)


async def test_the_row_is_copied_whole() -> None:
    async with dashboard((80, 24)) as board:  # where not all columns fit
        await board.press("down", "y")
        copied = board.app.clipboard
        assert copied.startswith("pid=100 process=nginx laddr=10.0.0.1 lport=443 raddr=10.0.1.1 rport=50001")
        assert "rx=1.0K" in copied
        await board.press("slash", *"port:9", "enter", "y")
        assert board.app.clipboard == copied
        assert "nothing to copy" in [*board.app._notifications][-1].message


def test_copying_reaches_the_terminal(bpf_possible: None) -> None:
    with listening() as listener:
        kept, number = pair(listener), port(listener)
        terminal = Terminal("--filter", f"rport:{number}")
        try:
            terminal.shows("Connections 1")
            terminal.type("y")
            terminal.shows("copied:")
        finally:
            terminal.close()
        del kept
    encoded = terminal.output.split(b"\x1b]52;c;", 1)[1].split(b"\x07", 1)[0]
    copied = base64.b64decode(encoded).decode()
    assert f" rport={number} state=ESTABLISHED " in copied


# -- connections that have just ended ---------------------------------------------------------


def ended(rows: Rows, at_ns: int) -> EndedConnections:
    made = sessions(*({} for _ in rows))
    for name in set(made.dtype.names or ()) & set(rows.dtype.names or ()):
        made[name] = rows[name]
    made["end_ns"] = at_ns
    return EndedConnections(made)


@pytest.fixture
def store() -> Store:
    store = Store(Settings(linger_s=5, linger_rows=3))
    store.apply(numbered_table(6))
    return store


def without(*ids: int, later_s: int, count: int = 6) -> Table:
    rows = numbered_table(count).rows
    return Table(rows[~np.isin(rows["id"], ids)], NOW + later_s * SECOND, UTC + later_s * SECOND)


def shown(store: Store, text: str = "") -> list[int]:
    frame = make_frame(store.snapshot(), ViewOptions(parse(text)).with_order(SortOrder("pid")))
    return frame.ids[frame.row_order].tolist()


def test_an_ended_connection_stays_for_some_seconds(store: Store) -> None:
    rows = numbered_table(6).rows
    gone = int(rows["id"][4])
    store.apply(ended(rows[4:5], NOW + SECOND))
    store.apply(without(gone, later_s=1))
    assert gone in shown(store)
    frame = make_frame(store.snapshot(), ViewOptions().with_order(SortOrder("pid")))
    place = int(np.flatnonzero(frame.ids == gone)[0])
    assert frame.ended_ns(place) == NOW + SECOND
    assert gone not in frame.rows["id"].tolist()  # exports and counts have what is there
    assert not frame.ended_ns(0)
    assert gone in shown(store, "state:estab")  # it stays where it was seen
    assert int(frame.rtt.hist.sum()) == 2 * 5 + int(store.snapshot().ended_rows["rtt_hist"].sum())  # counted once
    store.apply(without(gone, later_s=5))
    assert gone in shown(store)
    store.apply(without(gone, later_s=6))
    assert gone not in shown(store)


def test_what_is_only_left_out_has_not_ended(store: Store) -> None:
    gone = int(numbered_table(6).rows["id"][4])
    store.apply(without(gone, later_s=1))
    assert gone not in shown(store)


def test_the_report_of_the_end_may_come_later(store: Store) -> None:
    rows = numbered_table(6).rows
    gone = int(rows["id"][4])
    store.apply(without(gone, later_s=1))
    store.apply(ended(rows[4:5], NOW + SECOND))
    store.apply(without(gone, later_s=2))
    assert gone in shown(store)


def test_what_comes_back_is_there_once(store: Store) -> None:
    rows = numbered_table(6).rows
    gone = int(rows["id"][4])
    store.apply(ended(rows[4:5], NOW + SECOND))
    store.apply(without(gone, later_s=1))
    store.apply(without(later_s=2))  # as TIME_WAIT does
    assert shown(store).count(gone) == 1


def test_there_are_never_too_many(store: Store) -> None:
    rows = numbered_table(6).rows
    store.apply(ended(rows, NOW + SECOND))
    store.apply(without(*rows["id"].tolist(), later_s=1))
    assert sorted(shown(store)) == rows["id"][-3:].tolist()


async def test_an_ended_connection_is_dimmed_and_says_so() -> None:
    async with dashboard() as board:
        rows = numbered_table().rows
        await board.press("down")
        chosen = board.app.panel(ConnectionTable).selected_id
        gone = rows[rows["id"] == chosen]
        await board.deliver(ended(gone, NOW + SECOND), Table(rows[rows["id"] != chosen], NOW + SECOND, UTC + SECOND))
        table_panel = board.app.panel(ConnectionTable)
        assert table_panel.selected_id == chosen
        line = table_panel.render_line(table_panel._cursor - table_panel.scroll_offset.y + 1)
        assert "CLOSE " in line.text
        assert "Connections 99" in str(table_panel.border_title)
        await board.press("up")
        line = table_panel.render_line(table_panel._cursor - table_panel.scroll_offset.y + 2)
        assert all(segment.style and segment.style.dim for segment in line if segment.text.strip())
        await until_painted(board.pilot)


def test_on_the_real_kernel(bpf_possible: None) -> None:
    """A connection that the test closes while it is on the screen."""
    with listening() as listener:
        ours, theirs = pair(listener)
        terminal = Terminal("--filter", f"rport:{port(listener)}", "--backend", "bpf")
        try:
            terminal.shows("ESTABLISHED")
            theirs.close()
            ours.close()
            row = re.compile(rf" {port(listener)} CLOSE +\ds ")
            terminal.until(lambda: "Connections 0" in terminal.text and bool(row.search(terminal.text)))
            terminal.until(lambda: not row.search(terminal.text))
        finally:
            terminal.close()
