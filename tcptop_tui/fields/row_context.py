"""The rows that fields are read from, with what the rows do not carry themselves."""

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
    """Rows of dtype ROW, ENDED or TRANSITION, shape (n,); in lists of sums they have some of the same columns."""

    rows: Rows
    now_ns: int
    """CLOCK_MONOTONIC."""
    tx_rate: NDArray[np.float64] | None = None
    """bytes/s, shape (n,), NaN unknown; None where this kind of row has no rates."""
    rx_rate: NDArray[np.float64] | None = None
    names: Names = NO_NAMES
    """Of the host that the rows are of: in a recording that is another one."""
    holders: Rows = field(default_factory=lambda: NO_HOLDING_ROWS)
    """Of rows that several processes have open, dtype HOLDING, sorted by ``id``."""
    details: Rows = field(default_factory=lambda: NO_DETAILS)
    """Of rows that are in a table, dtype SOCKET_DETAIL, sorted by ``id``; empty while nobody wants them."""
    utc_ns: Callable[[int], int] = _identity
    """From CLOCK_MONOTONIC to UTC."""
    rtt_unit: RttUnit = "auto"
    host_names: HostNames | None = None
    """Names of hosts and services are shown; None: numbers are."""

    def select(self, which: NDArray[np.intp]) -> Self:
        """The rows with these numbers."""
        tx_rate, rx_rate = (None if rate is None else rate[which] for rate in (self.tx_rate, self.rx_rate))
        return replace(self, rows=self.rows[which], tx_rate=tx_rate, rx_rate=rx_rate)

    def has(self, name: str) -> bool:
        """Whether the rows have a column of this name."""
        return name in (self.rows.dtype.names or ())


class FieldValues(NamedTuple):
    """A value for each row, and which of them are known."""

    values: NDArray[Any]
    """Shape (n,) of numbers or S16, or (n, 2) of an address's words."""
    is_known: Mask
    """Shape (n,). What is not known is shown as ``–``, written as null, matches no filter and is sorted last."""


Reader: TypeAlias = Callable[[RowContext], FieldValues]
