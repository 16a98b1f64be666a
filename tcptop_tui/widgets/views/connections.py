"""View 1: every connection a row, or in groups that unfold."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.message import Message

from tcptop_tui.filters import Filter, Subject
from tcptop_tui.host.hostnames import HostNames
from tcptop_tui.model.frame import Frame
from tcptop_tui.model.grouping import COLUMN, TITLES
from tcptop_tui.records import Mask, Rows, State
from tcptop_tui.widgets.lists.columns import COLUMNS, Cell, Column, titled
from tcptop_tui.widgets.lists.listing import Listing
from tcptop_tui.widgets.lists.sheet import Sheet
from tcptop_tui.widgets.panels.panel import counted, instead
from tcptop_tui.widgets.states import STATE_CLASSES, state_style


class ConnectionTable(Listing):
    """Shows ``Frame.order``, or ``Frame.tree`` while it is grouped."""

    VIEW = 0
    HELP = "Every TCP connection of this host."
    COLUMNS = COLUMNS
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--header", "table--sorted", "table--cursor", "table--group", "table--gone", *STATE_CLASSES,
    }  # fmt: skip
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open"),
        Binding("space", "fold", "Fold or unfold the group", show=False),
        Binding("asterisk", "fold_all", "Fold or unfold all groups", show=False),
    ]

    class Opened(Message):
        """The user wants to see one connection."""

        def __init__(self, connection_id: int) -> None:
            self.connection_id = connection_id
            super().__init__()

    class Folded(Message):
        """The user wants a group folded or unfolded; None: all of them."""

        def __init__(self, group: int | None) -> None:
            self.group = group
            super().__init__()

    def __init__(self, hosts: HostNames, *, id: str) -> None:
        super().__init__(id=id)
        self._hosts = hosts
        self._frame = Frame()

    def show(self, frame: Frame) -> None:
        """Paint ``frame``."""
        self._frame = frame
        title = f"Connections {counted(frame.facts, len(frame.present))}"
        if frame.time_waits:
            title += f", {frame.time_waits:,} TIME_WAIT hidden (T)"
        if frame.tree is not None:
            title += f" in {len(frame.tree.groups):,} groups by {TITLES[frame.look.group]}"
        self.retitle(title)
        ids, order = (frame.ids, frame.order) if frame.tree is None else (frame.tree.rows["id"], frame.tree.order)
        look = frame.look
        told = instead(frame.facts, "no connection matches the filter" if look.filter.text else "no connection")
        self.show_sheet(Sheet(order, ids, self._cell, look.sort, look.descending, told, look, self._matches))

    def _matches(self, wanted: Filter) -> Mask:
        frame, tree = self._frame, self._frame.tree
        parts = (frame.facts, frame.gone) if tree is None else (tree,)
        now_ns, names = frame.facts.now_ns, frame.facts.names
        found = [wanted.matches(Subject(part.rows, now_ns, part.tx_rate, part.rx_rate, names)) for part in parts]
        matches: Mask = np.concatenate(found)
        if tree is not None:
            matches[len(tree.rows) - len(tree.groups) :] = False
        return matches

    def _cell(self, row: int) -> Cell:
        facts, tree = self._frame.facts, self._frame.tree
        if tree is None:
            shown, tx_rate, rx_rate = self._frame.row(row)
        else:
            shown, tx_rate, rx_rate = tree.rows[row], float(tree.tx_rate[row]), float(tree.rx_rate[row])
        if gone_ns := self._frame.gone_ns(row):
            shown, tx_rate, rx_rate = _closed(shown, gone_ns), math.nan, math.nan
        common = COLUMN[tree.by] if tree is not None and tree.is_group(row) else ""
        label = "" if tree is None else tree.label(row)
        look = self._frame.look
        hosts = self._hosts if look.names else None
        return Cell(
            shown, facts.now_ns, tx_rate, rx_rate, facts.names, label, common, rtt_unit=look.rtt_unit, hosts=hosts
        )

    def tone(self, row: int) -> object:
        """Groups and what has ended have a style of their own."""
        tree = self._frame.tree
        return self._frame.gone_ns(row) != 0, tree is not None and tree.is_group(row)

    def title(self, column: Column) -> str:
        """With the unit of round-trip times that was chosen."""
        return titled(column, self._frame.look.rtt_unit)

    def cell_style(self, row: int, key: str) -> Style | None:
        """States in their colours, groups in theirs."""
        tree = self._frame.tree
        if tree is not None and tree.is_group(row):
            return self.get_component_rich_style("table--group", partial=True)
        if self._frame.gone_ns(row):
            return self.get_component_rich_style("table--gone", partial=True)
        if key != "state":
            return None
        shown = self._frame.row(row)[0] if tree is None else tree.rows[row]
        return state_style(self, int(shown["state"]))

    @property
    def selected_connection(self) -> Rows | None:
        """The connection under the cursor, dtype ROW, shape (1,); None on a group, or one that has ended."""
        row, tree = self.selected_row, self._frame.tree
        if row is None or self._frame.gone_ns(row) or (tree is not None and tree.is_group(row)):
            return None
        rows = self._frame.facts.rows if tree is None else tree.rows
        return rows[row : row + 1].copy()

    def action_open(self) -> None:
        """Open the connection under the cursor, or the group."""
        row = self.selected_row
        if row is None or self.selected_id is None:
            return
        if self._frame.tree is not None and self._frame.tree.is_group(row):
            self.action_fold()
        else:
            self.post_message(self.Opened(self.selected_id))

    def action_fold(self) -> None:
        """Fold or unfold the group that the cursor is in."""
        row, tree = self.selected_row, self._frame.tree
        if row is not None and tree is not None:
            group = tree.group_of(row)
            self._select(self._sheet.position_of(group) or 0)
            self.post_message(self.Folded(group))

    def action_fold_all(self) -> None:
        """Fold all groups, or unfold them when all are folded."""
        if self._frame.tree is not None:
            self._select(0)
            self.post_message(self.Folded(None))


def _closed(row: np.void, gone_ns: int) -> np.void:
    """A connection as it is after its end."""
    after: np.void = row.copy()
    after["state"], after["state_ns"] = State.CLOSE, gone_ns
    return after
