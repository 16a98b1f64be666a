"""How the user wants to see a snapshot: filter, sort orders, view, grouping, units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from tcptop_tui.config.schema import RttUnit
from tcptop_tui.fields import RowContext
from tcptop_tui.filters import MATCH_ALL, Filter
from tcptop_tui.model.board import BY_STUCK
from tcptop_tui.model.sorting import SortOrder
from tcptop_tui.records import Mask

DEFAULT_ORDERS: Final[Mapping[str, SortOrder]] = MappingProxyType(
    {
        "connections": SortOrder("rx_rate"),
        "connects": SortOrder("time"),
        "sessions": SortOrder("time"),
        "board": SortOrder(BY_STUCK),
    }
)
"""How each view's list is sorted at the start, by name of the view. Views that are not here have no sorted list."""


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """Immutable: a key that changes something makes another one."""

    filter: Filter = MATCH_ALL
    hide_filter: Filter | None = None
    """Rows that match this one are hidden; None hides nothing. The user's own SSH connection is hidden so."""
    orders: Mapping[str, SortOrder] = field(default_factory=lambda: DEFAULT_ORDERS)
    """By name of the view, see ``DEFAULT_ORDERS``."""
    view: str = "connections"
    """The view that is open. What only another view shows is not computed."""
    group: str = ""
    """What connections are grouped by, one of ``grouping.GROUPINGS``; empty: they are not grouped."""
    folded: frozenset[int] = frozenset()
    """Ids of the groups that are folded."""
    rtt_by: str = ""
    """What the histograms of view 4 are grouped by, one of ``rtt_groups.GROUPINGS``; empty while it is not open."""
    names: bool = False
    """Names of hosts and services are shown instead of numbers, where they are known."""
    rtt_unit: RttUnit = "auto"
    show_time_wait: bool = True
    """Connections in TIME_WAIT are in the list; otherwise only their number is shown."""
    capture_note: str = ""
    """Which terms of the filter the capture filter applies and which it cannot, as one line; see ``CaptureSplit``."""

    @property
    def order(self) -> SortOrder:
        """How the open view's list is sorted.

        Raises:
            KeyError: the view has no sorted list.
        """
        return self.orders[self.view]

    def with_order(self, order: SortOrder) -> ViewOptions:
        """The same, with another order of the open view's list."""
        return replace(self, orders={**self.orders, self.view: order})

    def differs_in_direction_only(self, other: ViewOptions) -> bool:
        """Whether ``other`` shows the same rows sorted by the same columns, perhaps from the other end."""
        keys, other_keys = ({view: order.key for view, order in each.orders.items()} for each in (self, other))
        return keys == other_keys and replace(self, orders=other.orders) == other

    @property
    def is_filtered(self) -> bool:
        """Whether the options can hide a row."""
        return bool(self.filter.text) or self.hide_filter is not None

    @property
    def keys(self) -> frozenset[str]:
        """Keys of the fields that decide which connections are listed and in which order."""
        hide_keys = frozenset[str]() if self.hide_filter is None else self.hide_filter.keys
        return self.filter.keys | hide_keys | ({self.order.key} if self.view == "connections" else set())

    def matches(self, context: RowContext) -> Mask:
        """Which rows match the filter and are not hidden, shape (n,)."""
        matches = self.filter.matches(context)
        return matches if self.hide_filter is None else matches & ~self.hide_filter.matches(context)
