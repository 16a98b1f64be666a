"""View 1: a row for each connection, or groups of connections that unfold."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.message import Message

from tcptop_tui import formats
from tcptop_tui.fields import RecordKinds, list_fields
from tcptop_tui.filters import Filter
from tcptop_tui.model.frame import Frame
from tcptop_tui.model.grouping import COLUMN, GroupTree
from tcptop_tui.records import Mask, Rows
from tcptop_tui.safe_text import clean
from tcptop_tui.widgets.lists.frame_listing import FrameListing
from tcptop_tui.widgets.lists.list_content import ListContent
from tcptop_tui.widgets.lists.list_rows import ListRows
from tcptop_tui.widgets.panels.panel import count_text, empty_text
from tcptop_tui.widgets.state_style import STATE_CLASSES, state_style

GROUPING_TITLES = {
    "": "nothing", "process": "process", "raddr": "remote address", "port": "service port", "state": "state",
}  # fmt: skip
"""What connections can be grouped by, in words."""


def tree_label(tree: GroupTree, row: int) -> str:
    """What stands in a row's first column: ``▼ 12`` of a group, with its name of a process; of a member its branch."""
    if not tree.is_group(row):
        return "└ " if tree.is_last_member[row] else "├ "
    mark = "▶" if tree.is_folded(row) else "▼"
    count = f"{mark} {tree.member_count(row):,}"
    if tree.group_by != "process":
        return count
    process = tree.rows[row]
    return f"{count} {formats.process(clean(bytes(process['comm'])), int(process['pid']))}"


class ConnectionTable(FrameListing):
    """Shows ``Frame.row_order``, or ``Frame.tree`` while it is grouped."""

    VIEW = 0
    HELP = "Every TCP connection of this host."
    COLUMNS = list_fields(RecordKinds.TABLE)
    COMPONENT_CLASSES: ClassVar[set[str]] = {"table--group", "table--gone", *STATE_CLASSES}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open"),
        Binding("space", "fold", "Fold or unfold the group", show=False),
        Binding("asterisk", "fold_all", "Fold or unfold all groups", show=False),
    ]

    class Opened(Message):
        """The user wants to see the page of the connection with this id."""

        def __init__(self, connection_id: int) -> None:
            self.connection_id = connection_id
            super().__init__()

    class Folded(Message):
        """The user wants the group with this id folded or unfolded; None: all groups."""

        def __init__(self, group_id: int | None) -> None:
            self.group_id = group_id
            super().__init__()

    def _make_content(self, frame: Frame) -> ListContent:
        tree, options = frame.tree, frame.view_options
        title = f"Connections {count_text(frame.snapshot, len(frame.live_order))}"
        if frame.hidden_time_waits:
            title += f", {frame.hidden_time_waits:,} TIME_WAIT hidden (T)"
        if tree is not None:
            title += f" in {len(tree.group_ids):,} groups by {GROUPING_TITLES[options.group]}"
        self.set_title(title)
        nothing = "no connection matches the filter" if options.filter.text else "no connection"
        return ListContent(
            frame.row_order if tree is None else tree.order,
            frame.ids if tree is None else tree.rows["id"],
            self._select_rows,
            options.orders["connections"],
            empty_text(frame.snapshot, nothing),
            options,
            self._matches,
        )

    def _matches(self, search: Filter) -> Mask:
        """The rows that match, by row; a group itself never does."""
        frame, tree = self._frame, self._frame.tree
        if tree is None:
            return np.concatenate([search.matches(part.row_context) for part in (frame.snapshot, frame.lingering)])
        matches = search.matches(tree.row_context(frame.snapshot))
        matches[len(tree.rows) - len(tree.group_ids) :] = False
        return matches

    def _select_rows(self, rows: NDArray[np.intp]) -> ListRows:
        frame, tree = self._frame, self._frame.tree
        if tree is None:
            return self._list_rows(frame.row_context(rows))
        numbers = rows.tolist()
        return replace(
            self._list_rows(tree.row_context(frame.snapshot).select(rows)),
            tree_labels=[tree_label(tree, row) for row in numbers],
            common_keys=[COLUMN[tree.group_by] if tree.is_group(row) else "" for row in numbers],
        )

    def _is_group(self, row: int) -> bool:
        return self._frame.tree is not None and self._frame.tree.is_group(row)

    def row_style_key(self, row: int) -> object:
        """Whether the connection has ended, and whether the row is a group: both have a style of their own."""
        return self._frame.ended_ns(row) != 0, self._is_group(row)

    def cell_style(self, row: int, key: str) -> Style | None:
        """The style of groups and of ended connections, and the colours of states."""
        if self._is_group(row):
            return self.get_component_rich_style("table--group", partial=True)
        if self._frame.ended_ns(row):
            return self.get_component_rich_style("table--gone", partial=True)
        if key != "state":
            return None
        tree = self._frame.tree
        record = self._frame.row(row)[0] if tree is None else tree.rows[row]
        return state_style(self, int(record["state"]))

    @property
    def selected_connection(self) -> Rows | None:
        """The connection under the cursor, dtype ROW, shape (1,); None on a group, or one that has ended."""
        row, tree = self.selected_row, self._frame.tree
        if row is None or self._frame.ended_ns(row) or self._is_group(row):
            return None
        rows = self._frame.snapshot.rows if tree is None else tree.rows
        return rows[row : row + 1].copy()

    def action_open(self) -> None:
        """Open the connection under the cursor, or fold or unfold the group."""
        row = self.selected_row
        if row is None or self.selected_id is None:
            return
        if self._is_group(row):
            self.action_fold()
        else:
            self.post_message(self.Opened(self.selected_id))

    def action_fold(self) -> None:
        """Fold or unfold the group that the cursor is in."""
        row, tree = self.selected_row, self._frame.tree
        if row is not None and tree is not None:
            group_id = tree.group_of(row)
            self._select(self._content.position_of(group_id) or 0)
            self.post_message(self.Folded(group_id))

    def action_fold_all(self) -> None:
        """Fold all groups, or unfold them when all are folded."""
        if self._frame.tree is not None:
            self._select(0)
            self.post_message(self.Folded(None))
