"""The heat map: RTT samples by bucket and step of five seconds, for the last 20 minutes.

``heat_map_builder`` makes one from each table. A frame chooses from it the samples of the connections that match.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import RTT_SLOTS, Mask, Rows
from tcptop_tui.row_copy import picked
from tcptop_tui.stream.identity import KeyIndex

STEP_S = 5
"""Length of a step, which is a column of the map. Over a slow link a map that moves each second costs too much."""
MAX_STEPS = 240
"""Steps that are stored: twenty minutes."""

HEAT = np.dtype([("connection_key", "<u8"), ("step", "<u4"), ("count", "<u4"), ("bucket", "u1")])
"""Samples of one connection in one bucket and one step. Steps are numbered in STEP_S of CLOCK_MONOTONIC."""

_CONNECTION_FIELDS = np.dtype(
    [("laddr", ">u8", (2,)), ("raddr", ">u8", (2,)), ("born_ns", "<u8"),
     ("netns", "<u4"), ("dev", "<u4"), ("lport", "<u2"), ("rport", "<u2")]
)  # fmt: skip
"""What ``identity.connection_key`` needs: whole rows have 200 bytes, and there may be 100,000 of them."""

HeatColumns = NDArray[np.uint64]
"""Samples by bucket and step, shape (RTT_SLOTS, n); the last column is the step that is not over yet."""


def connection_fields(rows: Rows, which: NDArray[Any]) -> Rows:
    """The fields of chosen rows (dtype ROW or ENDED) that ``identity.connection_key`` needs."""
    born_ns = rows["born_ns"][which]
    fields = np.zeros(len(born_ns), _CONNECTION_FIELDS)
    for name in _CONNECTION_FIELDS.names or ():
        fields[name] = rows[name][which]
    return fields


@dataclass(frozen=True, slots=True, eq=False)
class HeatMap:
    """The steps up to the latest table. Immutable."""

    columns: HeatColumns = field(default_factory=lambda: np.zeros((RTT_SLOTS, 0), "<u8"))
    """Samples of all connections."""
    step: int = 0
    """Number of the last column's step."""
    samples_by_connection: tuple[Rows, ...] = ()
    """What a filter can choose from, dtype HEAT, oldest first. Samples of older steps may be missing."""
    unread_steps: Mask = field(default_factory=lambda: np.zeros(0, np.bool_))
    """Columns in whose time no table was read, shape (n,). Their samples are in a column beside them."""

    def columns_of(self, connection_keys: NDArray[np.uint64]) -> HeatColumns:
        """The stored samples of these connections, shape as ``columns``."""
        columns = np.zeros_like(self.columns)
        index = KeyIndex.from_keys(connection_keys)
        for part in self.samples_by_connection:
            _, is_chosen = index.find(part["connection_key"])
            columns += self._sum_columns(picked(part, is_chosen))
        return columns

    @property
    def complete_steps(self) -> int:
        """So many columns at the end are complete for every filter; for older ones connections may be missing."""
        stored = np.zeros_like(self.columns)
        for part in self.samples_by_connection:
            stored += self._sum_columns(part)
        incomplete = np.flatnonzero((stored < self.columns).any(axis=0))
        steps: int = self.columns.shape[1]
        return steps - int(incomplete[-1]) - 1 if len(incomplete) else steps

    def _sum_columns(self, samples: Rows) -> HeatColumns:
        """Add up samples (dtype HEAT) by bucket and step; those of steps before the first column are left out."""
        steps: int = self.columns.shape[1]
        column = samples["step"].astype(np.int64) - self.step + steps - 1
        is_inside = column >= 0
        cell = samples["bucket"][is_inside].astype(np.int64) * steps + column[is_inside]
        counts = np.bincount(cell, samples["count"][is_inside], RTT_SLOTS * steps)
        return counts.astype(np.uint64).reshape(RTT_SLOTS, steps)
