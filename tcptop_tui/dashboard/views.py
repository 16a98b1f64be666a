"""The dashboard's views: which is open, how its list is sorted, what connections are grouped by."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import cached_property
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.widgets import ContentSwitcher

from tcptop_tui.dashboard.live import VIEWS, Dashboard
from tcptop_tui.errors import UsageError
from tcptop_tui.fields import BY_KEY, FIELDS, Field
from tcptop_tui.filters import parse
from tcptop_tui.model.board import BOARD_STATES
from tcptop_tui.model.grouping import GROUPINGS
from tcptop_tui.model.sorting import SortOrder
from tcptop_tui.widgets.dialogs.sort import SortDialog
from tcptop_tui.widgets.lists.listing import Listing
from tcptop_tui.widgets.views.board import MORE, BoardView
from tcptop_tui.widgets.views.connections import GROUPING_TITLES, ConnectionTable
from tcptop_tui.widgets.views.connects import ConnectsTable
from tcptop_tui.widgets.views.ended import EndedTable
from tcptop_tui.widgets.views.rtt import RttView

_DESCENDING = {*(field.key for field in FIELDS if field.descending), *(state.name.lower() for state in BOARD_STATES)}

SORTED_LISTS: dict[str, type[Listing]] = {
    "connections": ConnectionTable, "connects": ConnectsTable, "sessions": EndedTable, "board": BoardView,
}  # fmt: skip


class ViewApp(Dashboard):
    """Views by number, their order and their groups."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "view(0)", "Views", key_display="1-6", tooltip="Connections", priority=True),
        Binding("2", "view(1)", "Connects: outcomes, latency, counts by destination", show=False, priority=True),
        Binding("3", "view(2)", "Closed: ended connections and why they ended", show=False, priority=True),
        Binding("4", "view(3)", "RTT: histograms side by side", show=False, priority=True),
        Binding("5", "view(4)", "Ping: processes that echo requests interrupt", show=False, priority=True),
        Binding("6,b", "view(5)", "Stuck: processes by state, with ages and growth", show=False, priority=True),
        Binding("l", "log", "Show or hide the log and the histogram", show=False),
        Binding("t,f5", "group", "Group", tooltip="Group by process, address, port or state", key_display="F5"),
        Binding("f6", "pick_sort", "Sort", tooltip="Choose the sort column", key_display="F6"),
        Binding("less_than_sign", "sort_next(-1)", "Sort by the previous column", show=False),
        Binding("greater_than_sign", "sort_next(1)", "Sort by the next column", show=False),
        Binding("I", "invert", "Reverse the sort order", show=False),
        Binding("T", "time_wait", "Show or hide TIME_WAIT in the list", show=False),
    ]

    exporting = False
    """A snapshot is being made: it has every field."""

    @cached_property
    def detailed(self) -> asyncio.Event:
        """Set while there are details of sockets."""
        return asyncio.Event()

    async def tick(self) -> None:
        """Show what is new, and say whether details of sockets are wanted: who looks at none does not pay for them."""
        await super().tick()
        self.want_details()
        if len(self._store.details):
            self.detailed.set()
        else:
            self.detailed.clear()

    def want_details(self) -> None:
        """Have them for the columns on the screen, for filter and order, and for exports."""
        shown = self.panel(ConnectionTable).placed_columns if self.view_options.view == "connections" else ()
        keys = {*(placed.column.key for placed in shown), *self.view_options.keys}
        self._feed.want_details(wanted=self.exporting or any(BY_KEY[key].detail for key in keys if key in BY_KEY))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Sort only what can be sorted."""
        if action in {"pick_sort", "sort_next", "invert"}:
            return self.view_options.view in SORTED_LISTS
        return super().check_action(action, parameters)

    # -- views --------------------------------------------------------------------------------

    def action_view(self, number: int) -> None:
        """Open a view."""
        self.query_one("#views", ContentSwitcher).current = VIEWS[number]
        self.set_view_options(replace(self.view_options, view=VIEWS[number]))
        self.refresh_bindings()
        self.focus_view()

    def focus_view(self) -> None:
        """Give the keys to the view that is open."""
        main = self.screen_stack[0]
        main.set_focus(next((one for one in (self.view, *self.view.query("*")) if one.can_focus), None))

    def show_filtered(self, text: str, view: str) -> None:
        """Open a view, one of ``VIEWS``, with another filter in force and no groups."""
        try:
            wanted = parse(text)
        except UsageError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        self.set_view_options(replace(self.view_options, filter=wanted, group=""))
        self.action_view(VIEWS.index(view))

    def action_log(self) -> None:
        """Give the view the whole height, or the log its part of it."""
        below = self.screen_stack[0].query_one("#below")
        below.display = not below.display

    def action_time_wait(self) -> None:
        """Leave TIME_WAIT out of the list of connections, or have it there again."""
        self.set_view_options(replace(self.view_options, show_time_wait=not self.view_options.show_time_wait))
        if self.view_options.view != "connections":
            self.action_view(0)

    # -- groups -------------------------------------------------------------------------------

    def action_group(self) -> None:
        """Group by the next thing, after the last by nothing."""
        if self.view_options.view != "connections":
            self.action_view(0)
        by = GROUPINGS[(GROUPINGS.index(self.view_options.group) + 1) % len(GROUPINGS)]
        self.set_view_options(replace(self.view_options, group=by, folded=frozenset()))
        self.notify(f"grouped by {GROUPING_TITLES[by]}" if by else "not grouped", timeout=2)

    @on(ConnectionTable.Folded)
    def _group_folded(self, event: ConnectionTable.Folded) -> None:
        tree = self.frame.tree
        if event.group_id is not None:
            self.set_view_options(replace(self.view_options, folded=self.view_options.folded ^ {event.group_id}))
        elif tree is not None:
            every = frozenset(int(group) for group in tree.group_ids)
            self.set_view_options(
                replace(self.view_options, folded=frozenset() if every <= self.view_options.folded else every)
            )

    @on(RttView.GroupingChanged)
    def _rtt_grouped(self, event: RttView.GroupingChanged) -> None:
        self.set_view_options(replace(self.view_options, rtt_by=event.by))

    # -- sort ---------------------------------------------------------------------------------

    @property
    def _columns(self) -> tuple[Field, ...]:
        """Of the list that is open."""
        kind = SORTED_LISTS.get(self.view_options.view)
        return () if kind is None else self.panel(kind).available_columns

    def sort_by(self, key: str | None) -> None:
        """Sort by a column; by the one that is sorted by already, the other way round."""
        if key is None or self.view_options.view not in SORTED_LISTS:
            return
        order = self.view_options.order
        descending = not order.descending if key == order.key else key in _DESCENDING
        self.set_view_options(self.view_options.with_order(SortOrder(key, descending)))

    def action_sort_next(self, step: int) -> None:
        """Sort by the neighbouring column."""
        keys = [column.key for column in self._columns]
        if keys:
            sort_key = self.view_options.order.key
            place = keys.index(sort_key) if sort_key in keys else -min(0, step) - 1
            self.sort_by(keys[(place + step) % len(keys)])

    def action_invert(self) -> None:
        """Turn the order round."""
        if self.view_options.view in SORTED_LISTS:
            self.sort_by(self.view_options.order.key)

    async def action_pick_sort(self) -> None:
        """Choose the column from a list."""
        if self.view_options.view in SORTED_LISTS:
            columns = SORTED_LISTS[self.view_options.view].COLUMNS
            await self.push_screen(SortDialog(columns, self.view_options.order.key), self._sort_picked)

    def _sort_picked(self, key: str | None) -> None:
        if key != self.view_options.order.key:
            self.sort_by(key)

    @on(Listing.HeaderClicked)
    def _header_clicked(self, event: Listing.HeaderClicked) -> None:
        if event.key == MORE:
            self.panel(BoardView).action_columns(1)
        else:
            self.sort_by(event.key)
