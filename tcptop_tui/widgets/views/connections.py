"""View 1: every connection a row, or in groups that unfold."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.message import Message

from tcptop_tui.fields import Field, RecordKinds, list_fields
from tcptop_tui.filters import Filter
from tcptop_tui.host.hostnames import HostNames
from tcptop_tui.model.frame import Frame
from tcptop_tui.model.grouping import COLUMN, TITLES
from tcptop_tui.records import Mask, Rows
from tcptop_tui.widgets.lists.list_content import ListContent
from tcptop_tui.widgets.lists.listing import Listing
from tcptop_tui.widgets.lists.page import RowTexts, from_row_context
from tcptop_tui.widgets.panels.panel import count_text, empty_text
from tcptop_tui.widgets.state_style import STATE_CLASSES, state_style


class ConnectionTable(Listing):
    """Shows ``Frame.row_order``, or ``Frame.tree`` while it is grouped."""

    VIEW = 0
    HELP = "Every TCP connection of this host."
    COLUMNS = list_fields(RecordKinds.TABLE)
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
        title = f"Connections {count_text(frame.snapshot, len(frame.live_order))}"
        if frame.hidden_time_waits:
            title += f", {frame.hidden_time_waits:,} TIME_WAIT hidden (T)"
        if frame.tree is not None:
            title += f" in {len(frame.tree.groups):,} groups by {TITLES[frame.view_options.group]}"
        self.set_title(title)
        ids, order = (frame.ids, frame.row_order) if frame.tree is None else (frame.tree.rows["id"], frame.tree.order)
        look = frame.view_options
        told = empty_text(frame.snapshot, "no connection matches the filter" if look.filter.text else "no connection")
        self.show_sheet(ListContent(order, ids, self._page, look.sort, look.descending, told, look, self._matches))

    def _matches(self, wanted: Filter) -> Mask:
        frame, tree = self._frame, self._frame.tree
        if tree is None:
            return np.concatenate([wanted.matches(part.row_context) for part in (frame.snapshot, frame.lingering)])
        matches = wanted.matches(tree.row_context(frame.snapshot))
        matches[len(tree.rows) - len(tree.groups) :] = False
        return matches

    def _page(self, rows: NDArray[np.intp]) -> RowTexts:
        frame, tree = self._frame, self._frame.tree
        if tree is None:
            return from_row_context(frame.row_context(rows), frame.view_options, self._hosts)
        page = from_row_context(tree.row_context(frame.snapshot).select(rows), frame.view_options, self._hosts)
        common = [COLUMN[tree.group_by] if tree.is_group(row) else "" for row in rows.tolist()]
        return replace(page, tree_labels=[tree.label(row) for row in rows.tolist()], group_common=common)

    def row_style_key(self, row: int) -> object:
        """Groups and what has ended have a style of their own."""
        tree = self._frame.tree
        return self._frame.ended_ns(row) != 0, tree is not None and tree.is_group(row)

    def title(self, column: Field) -> str:
        """With the unit of round-trip times that was chosen."""
        return column.title_with_unit(self._frame.view_options.rtt_unit)

    def cell_style(self, row: int, key: str) -> Style | None:
        """States in their colours, groups in theirs."""
        tree = self._frame.tree
        if tree is not None and tree.is_group(row):
            return self.get_component_rich_style("table--group", partial=True)
        if self._frame.ended_ns(row):
            return self.get_component_rich_style("table--gone", partial=True)
        if key != "state":
            return None
        shown = self._frame.row(row)[0] if tree is None else tree.rows[row]
        return state_style(self, int(shown["state"]))

    @property
    def selected_connection(self) -> Rows | None:
        """The connection under the cursor, dtype ROW, shape (1,); None on a group, or one that has ended."""
        row, tree = self.selected_row, self._frame.tree
        if row is None or self._frame.ended_ns(row) or (tree is not None and tree.is_group(row)):
            return None
        rows = self._frame.snapshot.rows if tree is None else tree.rows
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
