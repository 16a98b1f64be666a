"""What a filter is applied to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import SESSION, TRANSITION, UNKNOWN_NS, Flag, Mask, Rows

Numbers = NDArray[np.float64]
"""Shape (n,), NaN where unknown: no comparison with NaN holds."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Rows of dtype ROW, SESSION or TRANSITION, shape (n,), with what they do not carry."""

    rows: Rows
    now_ns: int
    tx_rate: Numbers | None
    """bytes/s; None where this kind of row has no rates."""
    rx_rate: Numbers | None

    def known(self, values: NDArray[Any], known: Mask) -> Numbers:
        """``values`` with NaN where not ``known``."""
        return np.where(known, values.astype(np.float64), np.nan)

    def nonzero(self, name: str) -> Numbers:
        """A field whose 0 means unknown."""
        return self.known(self.rows[name], self.rows[name] != 0)

    def gauge(self, name: str) -> Numbers:
        """A counter."""
        return self.known(self.rows[name], (self.rows["flags"] & Flag.GAUGES) != 0)

    def rate(self, rates: Numbers | None) -> Numbers:
        """Bytes per second."""
        return np.full(len(self.rows), np.nan) if rates is None else rates

    def age_ns(self) -> Numbers:
        """From birth to now, to the end of a session, or to the transition."""
        names = self.rows.dtype
        until = self.rows["end_ns"] if names == SESSION else self.rows["ts_ns"] if names == TRANSITION else self.now_ns
        born = self.rows["born_ns"]
        return self.known(np.asarray(until, np.float64) - born.astype(np.float64), born != 0)

    def in_state_ns(self) -> Numbers:
        """Time in the present state, or of a transition in the old one; sessions have none."""
        if self.rows.dtype == TRANSITION:
            spent = self.rows["spent_ns"]
            return self.known(spent, spent != UNKNOWN_NS)
        if self.rows.dtype == SESSION:
            return np.full(len(self.rows), np.nan)
        began = self.rows["state_ns"]
        return self.known(self.now_ns - began.astype(np.float64), began != 0)

    def states(self) -> tuple[NDArray[np.uint8], ...]:
        """The state, or both of a transition: either of them may be meant."""
        if self.rows.dtype == TRANSITION:
            return self.rows["oldstate"], self.rows["newstate"]
        return (self.rows["state"],)
