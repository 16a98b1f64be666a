"""Groups connections by process, remote address, service port or state, and sums up each group.

A group is a row like any other, so that lists, fields and sorting need to know nothing of groups.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.fields import RowContext
from tcptop_tui.model.rtt_groups import service_ports
from tcptop_tui.model.snapshot import Snapshot
from tcptop_tui.model.sorting import SortOrder, sort_rows
from tcptop_tui.records import ROW, UNKNOWN_UID, Flag, Rows
from tcptop_tui.row_copy import concat
from tcptop_tui.stream.identity import is_link_local, peer_hash, process_key

GROUPINGS = ("", "process", "raddr", "port", "state")
"""What connections can be grouped by; empty: they are not grouped."""
COLUMN = {"process": "comm", "raddr": "raddr", "port": "lport", "state": "state"}
"""By grouping the column that has what the members of a group have in common."""

_SUMMED_FIELDS = ("flags", "tx_bytes", "rx_bytes", "retrans", "state_ns", "born_ns", "srtt_us")
_GROUP_BIT = np.uint64(1 << 63)
"""Ids of groups have this bit, ids of connections never have it."""


@dataclass(frozen=True, slots=True, eq=False)
class GroupTree:
    """Connections and, in the rows behind them, their groups. What has no sum is unknown in a group's row."""

    group_by: str
    """One of ``GROUPINGS``."""
    rows: Rows
    """Dtype ROW: first the connections of the snapshot, then the groups."""
    tx_rate: NDArray[np.float64]
    """bytes/s beside ``rows``; NaN: unknown."""
    rx_rate: NDArray[np.float64]
    order: NDArray[np.intp]
    """Row numbers in display order: each group, and behind it its members unless it is folded."""
    group_ids: NDArray[np.uint64]
    """Ids of the groups, shape (g,)."""
    member_counts: NDArray[np.intp]
    """Number of members of each group, shape (g,)."""
    folded: frozenset[int]
    """Ids of the groups that are folded."""
    group_index: NDArray[np.intp]
    """For each connection the index of its group in ``group_ids``; -1 where it does not match the filter."""
    is_last_member: NDArray[np.bool_]
    """For each row whether it is the last member of its group that is displayed."""

    @property
    def _first_group_row(self) -> int:
        return len(self.rows) - len(self.group_ids)

    @property
    def members(self) -> NDArray[np.intp]:
        """``order`` without the groups' own rows."""
        return self.order[self.order < self._first_group_row]

    def row_context(self, snapshot: Snapshot) -> RowContext:
        """All rows, as fields read them; ``snapshot`` is the one that the tree was made of."""
        return replace(snapshot.row_context, rows=self.rows, tx_rate=self.tx_rate, rx_rate=self.rx_rate)

    def is_group(self, row: int) -> bool:
        """Whether a row is a group's."""
        return row >= self._first_group_row

    def group_of(self, row: int) -> int:
        """Id of the group that a row is, or is a member of."""
        return int(self.group_ids[self._index_of_group(row)])

    def is_folded(self, row: int) -> bool:
        """Whether the group that a row is, or is a member of, is folded."""
        return self.group_of(row) in self.folded

    def member_count(self, row: int) -> int:
        """Number of members of the group that a row is, or is a member of."""
        return int(self.member_counts[self._index_of_group(row)])

    def _index_of_group(self, row: int) -> int:
        return row - self._first_group_row if self.is_group(row) else int(self.group_index[row])


def _keys(rows: Rows, group_by: str) -> NDArray[np.uint64]:
    """A number for each row that is equal in rows of the same group, shape (n,)."""
    if group_by == "process":
        return process_key(rows)
    if group_by == "raddr":
        return peer_hash(rows)
    values: NDArray[np.uint64] = (service_ports(rows) if group_by == "port" else rows["state"]).astype("<u8")
    return values


def make_tree(
    snapshot: Snapshot, row_numbers: NDArray[np.intp], group_by: str, folded: frozenset[int], order: SortOrder
) -> GroupTree:
    """Group connections.

    Groups are sorted by their sums as connections are by their values. Members keep their order within the group.

    Args:
        snapshot: has the connections.
        row_numbers: which of ``snapshot.rows`` to group, in display order.
        group_by: one of ``GROUPINGS``, not the empty one.
        folded: ids of the groups whose members are not displayed.
        order: how to sort the groups.
    """
    keys, first_at, group_index = np.unique(
        _keys(snapshot.rows, group_by)[row_numbers], return_index=True, return_inverse=True
    )
    by_first_member = np.argsort(first_at)  # groups with equal sums are in the order of their first members
    rank = np.empty(len(keys), np.intp)
    rank[by_first_member] = np.arange(len(keys))
    keys, group_index = keys[by_first_member], rank[group_index]
    sums, tx_rate, rx_rate = _sums(snapshot, row_numbers, group_index, len(keys), group_by)
    sums["id"] = _GROUP_BIT | keys
    with_groups = Snapshot(
        now_ns=snapshot.now_ns, rows=concat(ROW, snapshot.rows, sums),
        tx_rate=np.concatenate([snapshot.tx_rate, tx_rate]), rx_rate=np.concatenate([snapshot.rx_rate, rx_rate]),
    )  # fmt: skip
    group_of_row = np.full(len(snapshot.rows), -1, np.intp)
    group_of_row[row_numbers] = group_index
    first_group_row, row_count = len(snapshot.rows), len(with_groups.rows)
    group_order = sort_rows([with_groups], np.arange(first_group_row, row_count), order) - first_group_row
    displayed = _display_order(group_order, row_numbers, group_of_row, sums["id"], folded)
    is_last_member = np.zeros(row_count, np.bool_)
    is_last_member[displayed] = np.append(displayed[1:] >= first_group_row, True)[: len(displayed)]
    return GroupTree(
        group_by, with_groups.rows, with_groups.tx_rate, with_groups.rx_rate, displayed,
        sums["id"], np.bincount(group_index, minlength=len(keys)), folded, group_of_row, is_last_member,
    )  # fmt: skip


def _display_order(
    group_order: NDArray[np.intp], row_numbers: NDArray[np.intp], group_of_row: NDArray[np.intp],
    group_ids: NDArray[np.uint64], folded: frozenset[int],
) -> NDArray[np.intp]:  # fmt: skip
    """Row numbers of the groups in their order, each followed by its members in theirs."""
    rank = np.empty(len(group_order), np.intp)
    rank[group_order] = np.arange(len(group_order))
    is_open = ~np.isin(group_ids, np.array(sorted(folded), np.uint64))
    members = row_numbers[is_open[group_of_row[row_numbers]]]
    lines = np.concatenate([group_order + len(group_of_row), members])
    ranks = np.concatenate([np.arange(len(group_order)), rank[group_of_row[members]]])
    displayed: NDArray[np.intp] = lines[np.argsort(ranks, kind="stable")]  # stable: a group's row precedes its members
    return displayed


def _sums(
    snapshot: Snapshot, row_numbers: NDArray[np.intp], group_index: NDArray[np.intp], count: int, group_by: str
) -> tuple[Rows, NDArray[np.float64], NDArray[np.float64]]:
    """A row of dtype ROW for each of ``count`` groups, and its rates; ``group_index`` stands beside ``row_numbers``."""
    # one field at a time: whole rows have 192 bytes each
    columns = {name: snapshot.rows[name][row_numbers] for name in _SUMMED_FIELDS}
    sums = np.zeros(count, ROW)
    sums["uid"] = UNKNOWN_UID
    has_gauges = (columns["flags"] & Flag.GAUGES) != 0
    sums["flags"] = np.where(np.bincount(group_index[has_gauges], minlength=count) > 0, Flag.GAUGES, 0)
    for name in ("tx_bytes", "rx_bytes", "retrans"):
        np.add.at(sums[name], group_index[has_gauges], columns[name][has_gauges])
    for name in ("state_ns", "born_ns"):  # of the oldest member
        oldest_ns = np.full(count, np.iinfo(np.uint64).max, np.uint64)
        is_known = columns[name] != 0
        np.minimum.at(oldest_ns, group_index[is_known], columns[name][is_known])
        sums[name] = np.where(oldest_ns == np.iinfo(np.uint64).max, 0, oldest_ns)
    has_srtt = columns["srtt_us"] != 0
    total_us = np.bincount(group_index[has_srtt], weights=columns["srtt_us"][has_srtt], minlength=count)
    sums["srtt_us"] = total_us / np.maximum(1, np.bincount(group_index[has_srtt], minlength=count))
    example_row = np.zeros(count, np.intp)
    example_row[group_index] = row_numbers
    if group_by == "process":
        sums["pid"] = snapshot.rows["pid"][example_row]
    if group_by == "port":
        sums["lport"] = service_ports(snapshot.rows)[example_row]
    else:
        sums[COLUMN[group_by]] = snapshot.rows[COLUMN[group_by]][example_row]
    if group_by == "raddr":  # a link-local address is shown with the link that it is on
        for name in ("netns", "dev"):
            sums[name] = np.where(is_link_local(sums["raddr"]), snapshot.rows[name][example_row], 0)
    tx_rate, rx_rate = (
        _sum_rates(rates[row_numbers], group_index, count) for rates in (snapshot.tx_rate, snapshot.rx_rate)
    )
    return sums, tx_rate, rx_rate


def _sum_rates(rates: NDArray[np.float64], group_index: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    """Rates of groups. Unknown rates are left out; a group in which all are unknown has an unknown rate."""
    is_known = ~np.isnan(rates)
    totals = np.bincount(group_index[is_known], weights=rates[is_known], minlength=count)
    return np.where(np.bincount(group_index[is_known], minlength=count) > 0, totals, np.nan)
