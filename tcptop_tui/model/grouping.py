"""Connections in groups with sums: by process, remote address, service port or state."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tcptop_tui import formats, safe_text
from tcptop_tui.fields import RowContext
from tcptop_tui.model.rtt_groups import service_ports
from tcptop_tui.model.snapshot import Snapshot
from tcptop_tui.model.sorting import sort_rows
from tcptop_tui.records import ROW, UNKNOWN_UID, Flag, Rows
from tcptop_tui.row_copy import concat
from tcptop_tui.stream.identity import is_link_local, peer_hash, process_key

GROUPINGS = ("", "process", "raddr", "port", "state")
COLUMN = {"process": "comm", "raddr": "raddr", "port": "lport", "state": "state"}
"""The column that says what a group has in common."""

TITLES = {"": "nothing", "process": "process", "raddr": "remote address", "port": "service port", "state": "state"}

_SUMMED = ("flags", "tx_bytes", "rx_bytes", "retrans", "state_ns", "born_ns", "srtt_us")
_GROUP_BIT = np.uint64(1 << 63)
"""Ids of groups have it, those of connections never."""


@dataclass(frozen=True, slots=True, eq=False)
class GroupTree:
    """Connections and, behind them, their groups as rows of the same dtype: sums where sums make sense."""

    group_by: str
    rows: Rows
    """Dtype ROW: first the connections of the facts, then the groups."""
    tx_rate: NDArray[np.float64]
    rx_rate: NDArray[np.float64]
    order: NDArray[np.intp]
    """Rows in display order: each group, and behind it its members unless it is folded."""
    groups: NDArray[np.uint64]
    """Ids of the groups, shape (g,)."""
    counts: NDArray[np.intp]
    """Members of each group."""
    folded: frozenset[int]
    member_of: NDArray[np.intp]
    """Group of each connection by number; -1: filtered out."""
    last_members: NDArray[np.bool_]
    """By row: whether it is the last that is shown of its group."""

    @property
    def _first(self) -> int:
        return len(self.rows) - len(self.groups)

    @property
    def members(self) -> NDArray[np.intp]:
        """``order`` without the groups' own rows."""
        return self.order[self.order < self._first]

    def row_context(self, facts: Snapshot) -> RowContext:
        """All rows, as fields are read from them; ``facts`` are those that it was made of."""
        return replace(facts.row_context, rows=self.rows, tx_rate=self.tx_rate, rx_rate=self.rx_rate)

    def is_group(self, row: int) -> bool:
        """Whether a row is a group's."""
        return row >= self._first

    def group_of(self, row: int) -> int:
        """Id of the group that a row is, or is in."""
        number = row - self._first if self.is_group(row) else int(self.member_of[row])
        return int(self.groups[number])

    def label(self, row: int) -> str:
        """What stands in a group's first column: ``▼ 12``, of a process with its name; of a member the tree's line."""
        if not self.is_group(row):
            return "└ " if self.last_members[row] else "├ "
        number = row - self._first
        mark = "▶" if int(self.groups[number]) in self.folded else "▼"
        name = formats.process(safe_text.clean(bytes(self.rows[row]["comm"])), int(self.rows[row]["pid"]))
        return f"{mark} {self.counts[number]:,}{f' {name}' if self.group_by == 'process' else ''}"


def _keys(rows: Rows, by: str) -> NDArray[np.uint64]:
    """A number for what rows of one group have in common, shape (n,)."""
    if by == "process":
        return process_key(rows)
    if by == "raddr":
        return peer_hash(rows)
    value: NDArray[np.uint64] = (service_ports(rows) if by == "port" else rows["state"]).astype("<u8")
    return value


def make_tree(
    facts: Snapshot, chosen: NDArray[np.intp], by: str, folded: frozenset[int], sort: str, *, descending: bool
) -> GroupTree:
    """Group the rows number ``chosen`` of ``facts.rows``, which are in display order already.

    Groups are sorted by their sums like connections by their values, members within their group.
    """
    found, first_at, inverse = np.unique(_keys(facts.rows, by)[chosen], return_index=True, return_inverse=True)
    appeared = np.argsort(first_at)  # groups that are equal stand as their first members do
    rank = np.empty(len(found), np.intp)
    rank[appeared] = np.arange(len(found))
    found, inverse = found[appeared], rank[inverse]
    sums, tx_rate, rx_rate = _sums(facts, chosen, inverse, len(found), by)
    sums["id"] = _GROUP_BIT | found
    rows = concat(ROW, facts.rows, sums)
    together = Snapshot(
        now_ns=facts.now_ns, rows=rows,
        tx_rate=np.concatenate([facts.tx_rate, tx_rate]), rx_rate=np.concatenate([facts.rx_rate, rx_rate]),
    )  # fmt: skip
    member_of = np.full(len(facts.rows), -1, np.intp)
    member_of[chosen] = inverse
    first = len(facts.rows)
    groups = sort_rows([together], np.arange(first, len(rows)), sort, descending=descending) - first
    order = _display_order(groups, chosen, member_of, sums["id"], folded, first)
    last = np.zeros(len(rows), np.bool_)
    last[order] = np.append(order[1:] >= first, True)[: len(order)]
    return GroupTree(
        by, rows, together.tx_rate, together.rx_rate, order,
        sums["id"], np.bincount(inverse, minlength=len(found)), folded, member_of, last,
    )  # fmt: skip


def _display_order(
    groups: NDArray[np.intp], members: NDArray[np.intp], member_of: NDArray[np.intp],
    ids: NDArray[np.uint64], folded: frozenset[int], first: int,
) -> NDArray[np.intp]:  # fmt: skip
    """Groups in their order, each followed by its members in theirs."""
    rank = np.empty(len(groups), np.intp)
    rank[groups] = np.arange(len(groups))
    open_group = ~np.isin(ids, np.array(sorted(folded), np.uint64))
    shown = members[open_group[member_of[members]]]
    lines = np.concatenate([groups + first, shown])
    ranks = np.concatenate([np.arange(len(groups)), rank[member_of[shown]]])
    displayed: NDArray[np.intp] = lines[np.argsort(ranks, kind="stable")]  # a group's own line comes first
    return displayed


def _sums(
    facts: Snapshot, chosen: NDArray[np.intp], inverse: NDArray[np.intp], count: int, by: str
) -> tuple[Rows, NDArray[np.float64], NDArray[np.float64]]:
    """A row for each group, and its rates; what has no sum is unknown."""
    # field by field: whole rows are 192 bytes each
    column = {name: facts.rows[name][chosen] for name in _SUMMED}
    sums = np.zeros(count, ROW)
    sums["uid"] = UNKNOWN_UID
    counted = (column["flags"] & Flag.GAUGES) != 0
    sums["flags"] = np.where(np.bincount(inverse[counted], minlength=count) > 0, Flag.GAUGES, 0)
    for name in ("tx_bytes", "rx_bytes", "retrans"):
        np.add.at(sums[name], inverse[counted], column[name][counted])
    for name in ("state_ns", "born_ns"):  # the oldest
        oldest = np.full(count, np.iinfo(np.uint64).max, np.uint64)
        began = column[name] != 0
        np.minimum.at(oldest, inverse[began], column[name][began])
        sums[name] = np.where(oldest == np.iinfo(np.uint64).max, 0, oldest)
    timed = column["srtt_us"] != 0
    total = np.bincount(inverse[timed], weights=column["srtt_us"][timed], minlength=count)
    sums["srtt_us"] = total / np.maximum(1, np.bincount(inverse[timed], minlength=count))
    one = np.zeros(count, np.intp)
    one[inverse] = chosen
    if by == "process":
        sums["pid"] = facts.rows["pid"][one]
    if by == "port":
        sums["lport"] = service_ports(facts.rows)[one]
    else:
        sums[COLUMN[by]] = facts.rows[COLUMN[by]][one]
    if by == "raddr":  # the link that it is on
        for name in ("netns", "dev"):
            sums[name] = np.where(is_link_local(sums["raddr"]), facts.rows[name][one], 0)
    return sums, _summed(facts.tx_rate[chosen], inverse, count), _summed(facts.rx_rate[chosen], inverse, count)


def _summed(rate: NDArray[np.float64], inverse: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    """Rates of groups; what is unknown counts nothing, and where all of it is so is the sum."""
    some = ~np.isnan(rate)
    total = np.bincount(inverse[some], weights=rate[some], minlength=count)
    return np.where(np.bincount(inverse[some], minlength=count) > 0, total, np.nan)
