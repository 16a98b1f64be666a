"""What a repaint costs: what has not changed is not made, laid out or drawn again."""

from __future__ import annotations

from typing import Any

import pytest
from textual.screen import Screen

from tcptop_tui.model.store import Store
from tcptop_tui.records import State
from tcptop_tui.stream.batches import EndedConnections, Table
from tcptop_tui.widgets.lists.columns import place_columns
from tcptop_tui.widgets.lists.line_cache import LineCache
from tcptop_tui.widgets.lists.list_rows import ListRows
from tcptop_tui.widgets.views.connections import ConnectionTable
from tests.support.dashboard import Dashboard, dashboard, numbered_table
from tests.support.samples import NOW, SECOND, connections, sessions


def counted(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> list[Any]:
    """Arguments of every call from now on."""
    calls: list[Any] = []
    original = getattr(owner, name)

    def noted(self: Any, *arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        return original(self, *arguments, **named)

    monkeypatch.setattr(owner, name, noted)
    return calls


def later(of: Table, seconds: float, **fields: object) -> Table:
    """The same connections, some time later; ``fields`` of the first one changed."""
    rows = of.rows.copy()
    for name, value in fields.items():
        rows[name][0] = value
    return Table(rows, of.now_ns + int(seconds * SECOND), of.utc_ns + int(seconds * SECOND))


async def quiet(board: Dashboard) -> Table:
    """Ages that are not known, so that they do not count up, and rates that are."""
    rows = numbered_table().rows.copy()
    rows["born_ns"] = rows["state_ns"] = 0
    given = Table(rows, NOW + SECOND, NOW + SECOND)
    for seconds in range(3):
        given = later(given, 1 + seconds)
        await board.deliver(given)
    return given


async def test_what_does_not_change_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    async with dashboard() as board:
        given = await quiet(board)
        drawn = counted(monkeypatch, ConnectionTable, "render_line")
        await board.deliver(later(given, 1))
        assert drawn == []
        await board.deliver(later(given, 2, retrans=77))
        assert len(drawn) == 1


async def test_a_key_does_not_wait_for_anything_newer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with dashboard() as board:
        given = await quiet(board)
        asked = counted(monkeypatch, Store, "snapshot")
        before = board.app.frame
        await board.pilot.press("I")
        await board.pilot.pause()
        assert (board.app.frame.view_options.order.descending, before.view_options.order.descending) == (False, True)
        assert board.app.frame.snapshot is before.snapshot
        assert asked == []
        await board.deliver(later(given, 1))
        assert len(asked) == 1


async def test_a_longer_list_is_no_other_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    async with dashboard() as board:
        given = await quiet(board)
        laid_out = counted(monkeypatch, Screen, "_refresh_layout")
        drawn = counted(monkeypatch, ConnectionTable, "render_line")
        last = given.rows[-1:].copy()
        last["id"] += 1
        more = Table(connections(*({} for _ in range(101))), given.now_ns + SECOND, given.utc_ns + SECOND)
        more.rows[:-1], more.rows[-1:] = given.rows, last
        await board.deliver(more)
        panel = board.app.panel(ConnectionTable)
        assert "Connections 101" in str(panel.border_title)
        assert laid_out == []
        assert len(drawn) < 5
        await board.press("G")
        assert panel.selected_id == int(last["id"][0])


async def test_what_has_ended_is_dimmed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    async with dashboard() as board:
        given = await quiet(board)
        await board.press("slash", *"lport:22", "enter")
        gone = given.rows["id"] == given.rows["id"][0]
        end = sessions({})
        for name in set(end.dtype.names or ()) & set(given.rows.dtype.names or ()):
            end[name] = given.rows[name][gone]
        end["end_ns"] = given.now_ns + SECOND
        drawn = counted(monkeypatch, ConnectionTable, "refresh")
        await board.deliver(
            EndedConnections(end), Table(given.rows[~gone], given.now_ns + SECOND, given.utc_ns + SECOND)
        )
        panel = board.app.panel(ConnectionTable)
        lines = [line for line, text in enumerate(board.lines(ConnectionTable)) if " CLOSE " in text]
        sent = {region.x for regions in drawn for region in regions if [region.y] == lines}
        assert sent == {placed.left for placed in panel.placed_columns}


def cells(rows: Any, now_ns: int) -> tuple[list[int], ListRows]:
    return rows["id"].tolist(), ListRows(rows, now_ns)


def test_lines_kept_are_what_they_would_be_made_anew() -> None:
    rows = numbered_table(20).rows
    columns, cache = place_columns(ConnectionTable.COLUMNS, "comm", 160), LineCache()
    first = cache.lines(*cells(rows, NOW), columns)
    assert first == LineCache().lines(*cells(rows, NOW), columns)
    rows = rows.copy()
    rows["state"][4], rows["srtt_us"][5] = State.LAST_ACK, 12_345
    for change in (1, 7, 3600):
        at_ns = NOW + change * SECOND
        shuffled = rows[::-1] if change == 7 else rows
        assert cache.lines(*cells(shuffled, at_ns), columns) == LineCache().lines(*cells(shuffled, at_ns), columns)
    narrow = place_columns(ConnectionTable.COLUMNS, "comm", 80)
    assert cache.lines(*cells(rows, NOW), narrow) == LineCache().lines(*cells(rows, NOW), narrow)
