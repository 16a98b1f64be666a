"""Rows as fields read them: together with rates, names, clocks and units, which the rows do not have themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.config.schema import RttUnit
from tcptop_tui.host.hostnames import HostNames
from tcptop_tui.records import HOLDING, Mask, Rows
from tcptop_tui.stream.batches import Names
from tcptop_tui.stream.socket_details import NO_DETAILS

NO_NAMES = Names()
NO_HOLDING_ROWS = np.zeros(0, HOLDING)
NO_HOLDING_ROWS.flags.writeable = False


def _identity(ts_ns: int) -> int:
    return ts_ns


@dataclass(frozen=True, slots=True)
class RowContext:
    """Immutable."""

    rows: Rows
    """Dtype ROW, ENDED or TRANSITION, shape (n,); rows of sums have some of the same members."""
    now_ns: int
    """CLOCK_MONOTONIC."""
    tx_rate: NDArray[np.float64] | None = None
    """bytes/s, shape (n,), NaN: unknown; None where this kind of row has no rates."""
    rx_rate: NDArray[np.float64] | None = None
    names: Names = NO_NAMES
    """Names on the host that the rows are from, which is another one when a recording is played."""
    holders: Rows = field(default_factory=lambda: NO_HOLDING_ROWS)
    """All holders of rows that have several, dtype HOLDING, sorted by ``id``."""
    details: Rows = field(default_factory=lambda: NO_DETAILS)
    """Details of sockets, dtype SOCKET_DETAIL, sorted by ``id``; empty while nobody looks at any."""
    utc_ns: Callable[[int], int] = _identity
    """Translates CLOCK_MONOTONIC to UTC."""
    rtt_unit: RttUnit = "auto"
    host_names: HostNames | None = None
    """Looks up names of hosts, which are shown with those of services; None: numbers are shown."""

    def select(self, which: NDArray[np.intp]) -> Self:
        """Only the rows with these numbers, in this order."""
        tx_rate, rx_rate = (None if rate is None else rate[which] for rate in (self.tx_rate, self.rx_rate))
        return replace(self, rows=self.rows[which], tx_rate=tx_rate, rx_rate=rx_rate)

    def has(self, name: str) -> bool:
        """Whether the dtype of the rows has a member of this name."""
        return name in (self.rows.dtype.names or ())


class FieldValues(NamedTuple):
    """A value for each row, and which values are known."""

    values: NDArray[Any]
    """Shape (n,) of numbers or S16, or (n, 2) of an address's words."""
    is_known: Mask
    """Shape (n,). An unknown value is shown as ``–``, written as null, matches no filter and is sorted last."""


Reader: TypeAlias = Callable[[RowContext], FieldValues]
