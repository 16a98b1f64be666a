"""The columns of the connection table, as data: what they show and which go first when it is narrow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from tcptop_tui import formats, text
from tcptop_tui.config.schema import ColumnChoice, RttUnit
from tcptop_tui.host.hostnames import HostNames, service
from tcptop_tui.model.wall_clock import Wall
from tcptop_tui.records import UNKNOWN_UID, Flag, State
from tcptop_tui.stream.batches import Names


@dataclass(frozen=True, slots=True)
class Cell:
    """One row at one moment: what a column's text is made from."""

    row: np.void
    """Of dtype ROW, in other lists SESSION or TRANSITION."""
    now_ns: int
    tx_rate: float = math.nan
    rx_rate: float = math.nan
    names: Names = field(default_factory=Names)
    label: str = ""
    """In a tree: what stands in the column of the process, of a member before its own."""
    common: str = ""
    """Of a group: key of the column that its members have in common."""
    wall: Wall = field(default_factory=Wall)
    rtt_unit: RttUnit = "auto"
    hosts: HostNames | None = None
    """Where names are asked for; None: numbers are wanted."""
    result: str = ""
    """In lists of outcomes: what came of it, in words."""

    def gauge(self, name: str) -> int | None:
        """A counter, or None when it is unknown."""
        return int(self.row[name]) if self.row["flags"] & Flag.GAUGES else None

    def since(self, name: str) -> str:
        """Time since the moment in field ``name``."""
        began = int(self.row[name])
        return formats.age_ns(self.now_ns - began) if began else formats.UNKNOWN


@dataclass(frozen=True, slots=True)
class Column:
    """One column; ``key`` is also its sort key."""

    key: str
    title: str
    width: int
    text: Callable[[Cell], str]
    rank: int
    """Columns of a low rank stay when the screen is narrow."""
    right: bool = True
    stretch: int = 0
    """Cells that it may take more than ``width`` when there is room."""
    asked: bool = False
    """Only on the screen when → brings it there, however much room there is."""
    sums: bool = False
    """Has a meaning for a group."""
    middle: bool = False
    """Too long a text is cut in its middle, and has its cells before columns of ``_LATE_RANK``."""
    moves: bool = False
    """Shows a time, so that its text changes though the row does not."""

    def shown(self, cell: Cell) -> str:
        """The text of a cell; a group has its label in place of the process, and sums only."""
        if not cell.label:
            return self.text(cell)
        if not cell.common:
            return cell.label + self.text(cell) if self.key == "comm" else self.text(cell)
        if self.key == "comm":
            return cell.label
        return self.text(cell) if self.sums or self.key == cell.common else ""


def _number(name: str) -> Callable[[Cell], str]:
    return lambda cell: str(cell.row[name]) if cell.row[name] else formats.UNKNOWN


def _port(name: str) -> Callable[[Cell], str]:
    def shown(cell: Cell) -> str:
        number = int(cell.row[name])
        if not number:
            return formats.UNKNOWN
        return str(number) if cell.hosts is None else service(number)

    return shown


def _gauge(name: str) -> Callable[[Cell], str]:
    def size(cell: Cell) -> str:
        value = cell.gauge(name)
        return formats.UNKNOWN if value is None else formats.size_bytes(value)

    return size


def _retrans(cell: Cell) -> str:
    value = cell.gauge("retrans")
    return formats.UNKNOWN if value is None else str(value)


def _address(name: str) -> Callable[[Cell], str]:
    def shown(cell: Cell) -> str:
        address = formats.address((int(cell.row[name][0]), int(cell.row[name][1])))
        return address if cell.hosts is None or address in _NOBODY else cell.hosts.host(address)

    return shown


_NOBODY = frozenset({"0.0.0.0", "::"})  # noqa: S104  shown, not bound


def _comm(cell: Cell) -> str:
    name = text.clean(bytes(cell.row["comm"])) or formats.UNKNOWN
    shared = "holders" in (cell.row.dtype.names or ())
    return formats.shared_name(name, int(cell.row["holders"])) if shared else name


def _srtt(cell: Cell) -> str:
    srtt_us = int(cell.row["srtt_us"])
    return formats.rtt_us(srtt_us, cell.rtt_unit) if srtt_us else formats.UNKNOWN


def _user(cell: Cell) -> str:
    return text.clean(formats.user_name(int(cell.row["uid"]))) if cell.row["uid"] != UNKNOWN_UID else formats.UNKNOWN


def _netns(cell: Cell) -> str:
    number = int(cell.row["netns"])
    return text.clean(cell.names.netns.get(number, str(number))) if number else formats.UNKNOWN


def _cgroup(cell: Cell) -> str:
    number = int(cell.row["cgroup"])
    path = text.clean(cell.names.cgroups.get(number, str(number)))
    return (path.rpartition("/")[2] or path) if number else formats.UNKNOWN


def device_name(row: np.void, names: Names) -> str:
    """Of the device that a socket is bound to, harmless; its number where no name is known, empty: to none."""
    return text.clean(names.device(int(row["netns"]), int(row["dev"])))


def on_device(address: str, row: np.void, names: Names) -> str:
    """A local address with the device behind it, as ss writes it: ``fe80::1%eth0``."""
    return f"{address}%{device_name(row, names)}" if row["dev"] else address


def _local_address(cell: Cell) -> str:
    return on_device(_address("laddr")(cell), cell.row, cell.names)


def _device(cell: Cell) -> str:
    return device_name(cell.row, cell.names) or formats.UNKNOWN


def ends(row: np.void, names: Names) -> str:
    """``10.0.0.1%eth0:443 ↔ 10.0.0.2:5555`` of a row."""
    cell = Cell(row, 0, names=names)
    local = formats.endpoint(_local_address(cell), _port("lport")(cell))
    return f"{local} ↔ {formats.endpoint(_remote_address(cell), _remote_port(cell))}"


def _listens(cell: Cell) -> bool:
    return "state" in (cell.row.dtype.names or ()) and cell.row["state"] == State.LISTEN


def _remote_port(cell: Cell) -> str:
    return "*" if _listens(cell) else _port("rport")(cell)


def _remote_address(cell: Cell) -> str:
    """Of several connections that have nothing else in common with the link that a link-local one is on."""
    if _listens(cell):
        return "*"
    alone = cell.common == "raddr" or "laddr" not in (cell.row.dtype.names or ())
    return on_device(_address("raddr")(cell), cell.row, cell.names) if alone else _address("raddr")(cell)


COLUMNS = (
    Column("pid", "PID", 7, _number("pid"), rank=8),
    Column("comm", "PROCESS", 11, _comm, rank=0, right=False, stretch=4),
    Column("laddr", "LADDR", 15, _local_address, rank=11, right=False, stretch=24, middle=True),
    Column("lport", "LPORT", 6, _port("lport"), rank=1),
    Column("raddr", "RADDR", 15, _remote_address, rank=3, right=False, stretch=24, middle=True),
    Column("rport", "RPORT", 6, _remote_port, rank=4),
    Column("state", "STATE", 11, lambda cell: formats.state_name(int(cell.row["state"])), rank=2, right=False),
    Column("in_state", "IN STATE", 9, lambda cell: cell.since("state_ns"), rank=6, sums=True, moves=True),
    Column("age", "AGE", 7, lambda cell: cell.since("born_ns"), rank=14, sums=True, moves=True),
    Column("tx_bytes", "TX", 6, _gauge("tx_bytes"), rank=12, sums=True),
    Column("rx_bytes", "RX", 6, _gauge("rx_bytes"), rank=13, sums=True),
    Column("tx_rate", "TX/s", 6, lambda cell: formats.rate(cell.tx_rate), rank=9, sums=True),
    Column("rx_rate", "RX/s", 6, lambda cell: formats.rate(cell.rx_rate), rank=7, sums=True),
    Column("srtt", "RTT", 6, _srtt, rank=5, sums=True),
    Column("retrans", "RETR", 5, _retrans, rank=10, sums=True),
    Column("user", "USER", 8, _user, rank=15, right=False),
    Column("netns", "NETNS", 10, _netns, rank=16, right=False, asked=True),
    Column("cgroup", "CGROUP", 12, _cgroup, rank=17, right=False, stretch=20, asked=True),
    Column("dev", "DEVICE", 8, _device, rank=18, right=False, stretch=7, asked=True),
)


MEANINGS = {
    "pid": "process id", "comm": "process", "laddr": "local address", "lport": "local port",
    "raddr": "remote address", "rport": "remote port", "state": "state", "in_state": "in this state for",
    "age": "age", "tx_bytes": "sent", "rx_bytes": "received", "tx_rate": "sent a second",
    "rx_rate": "received a second", "srtt": "smoothed RTT", "retrans": "retransmits", "user": "user",
    "netns": "network namespace", "cgroup": "cgroup", "dev": "bound to device",
}  # fmt: skip
"""What a column shows, spelled out, by its key."""


def titled(column: Column, unit: RttUnit) -> str:
    """A column's title; of round-trip times with the unit that its numbers then are without."""
    if unit == "auto" or column.key not in {"srtt", "rtt"}:
        return column.title
    return column.title + formats.RTT_UNITS[unit]


BY_KEY = {column.key: column for column in COLUMNS}


def chosen_columns(columns: tuple[Column, ...], choices: Iterable[ColumnChoice]) -> tuple[Column, ...]:
    """Those of ``columns`` that somebody wants, in his order and width; a key that is not known is left out."""
    by_key = {column.key: column for column in columns}
    wanted = {choice.key: (by_key[choice.key], choice.width) for choice in choices if choice.key in by_key}.values()
    return tuple(replace(column, width=width, stretch=0) if width else column for column, width in wanted)


@dataclass(frozen=True, slots=True)
class Placed:
    """A column where it stands on the screen."""

    column: Column
    left: int
    width: int


_LATE_RANK = 14
"""Columns of this rank and above (AGE, USER) get what long addresses leave."""
_SORTED_RANK = 0.5
"""What the list is sorted by stays, beside the process, however narrow it gets."""

Wide: TypeAlias = tuple[tuple[str, int], ...]
"""Keys of columns, and how many cells their longest text takes."""


@lru_cache(maxsize=64)
def place(
    columns: tuple[Column, ...], pinned_key: str, width: int, skip: int = 0, *,
    exact: bool = False, sort: str = "", wide: Wide = (),
) -> tuple[Placed, ...]:  # fmt: skip
    """The columns for a screen of ``width`` cells, a blank between two.

    ``exact`` ones stand as they are given, as many as fit. With ``skip`` of 0 those of the lowest
    rank that fit; else, as after → was pressed, all in their order from number ``skip`` on (counted
    from 1), the pinned one always among them.

    Args:
        columns: all there are.
        pinned_key: of the column that stays.
        width: cells.
        skip: see above.
        exact: see above.
        sort: key of the column that the list is sorted by: it is always there.
        wide: what addresses need to be seen whole.
    """
    if skip:
        pinned = [column for column in columns if column.key == pinned_key]
        candidates = [*pinned, *(column for column in columns[skip - 1 :] if column not in pinned)]
    elif exact:
        candidates = list(columns)
    else:
        ranks = {column: _SORTED_RANK if column.key == sort else column.rank for column in columns}
        wanted = (column for column in columns if not column.asked or column.key == sort)
        candidates = sorted(wanted, key=lambda column: ranks[column])
    more = {
        column: min(cells - column.width, column.stretch)
        for column in candidates for key, cells in wide if key == column.key and cells > column.width
    }  # fmt: skip
    chosen: list[Column] = []
    used = reserved = 0
    for column in candidates:
        if not skip and not exact and column.rank >= _LATE_RANK and column.key != sort:
            reserved = sum(more.get(one, 0) for one in chosen)
        if used + reserved + column.width > width:
            break
        chosen.append(column)
        used += column.width + 1
    if not skip and not exact:
        chosen.sort(key=columns.index)
    return _stretched(chosen, width - used + 1, more)


def _stretched(chosen: list[Column], spare: int, more: dict[Column, int]) -> tuple[Placed, ...]:
    """Give ``spare`` cells to the columns that need ``more``, then to those that can use them."""
    extra = dict.fromkeys(chosen, 0)
    for limits in (more, {column: column.stretch for column in chosen}):
        hungry = [column for column in chosen if limits.get(column, 0) > extra[column]]
        while spare > 0 and hungry:
            for column in list(hungry):
                if spare > 0:
                    extra[column] += 1
                    spare -= 1
                if extra[column] == limits[column]:
                    hungry.remove(column)
    placed: list[Placed] = []
    left = 0
    for column in chosen:
        width = column.width + extra[column]
        placed.append(Placed(column, left, width))
        left += width + 1
    return tuple(placed)
