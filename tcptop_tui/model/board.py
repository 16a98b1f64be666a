"""The board of view 6: how many connections each process has in each state, since when, and whether they grow."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.fields import BY_KEY, FieldValues, RowContext
from tcptop_tui.model.snapshot import Snapshot
from tcptop_tui.model.sorting import SortOrder, sort_by_values
from tcptop_tui.records import Mask, Rows, State
from tcptop_tui.stream.identity import process_key

STUCK_STATES = (
    State.CLOSE_WAIT, State.SYN_SENT, State.SYN_RECV, State.FIN_WAIT1, State.FIN_WAIT2, State.LAST_ACK, State.CLOSING,
)  # fmt: skip
"""States that a healthy connection leaves soon."""
BOARD_STATES = (*STUCK_STATES, State.TIME_WAIT, State.ESTABLISHED, State.LISTEN)

BY_STUCK = "stuck"
"""Sort key: the number of connections in any of ``STUCK_STATES``."""

_STATE_BY_KEY = {state.name.lower(): state for state in BOARD_STATES}
_STATES = 16
BOARD = np.dtype(
    [("comm", "S16"), ("id", "<u8"), ("pid", "<u4"),
     ("count", "<u4", (_STATES,)), ("since_ns", "<u8", (_STATES,)), ("grown", "<i4", (_STATES,))]
)  # fmt: skip
"""A process. ``count``, ``since_ns`` and ``grown`` have a value for each state's number.

``id`` is the process key. ``since_ns`` is when the oldest of the connections entered the state; 0 is unknown.
``grown`` is how many more connections there are than on the board of about a minute ago.
"""

_PROCESS_FIELDS = np.dtype(
    [("comm", "S16"), ("state_ns", "<u8"), ("pid", "<u4"), ("start_ticks", "<u4"), ("state", "u1")]
)
"""The fields of ROW that the board needs: whole rows have 300 bytes each."""
_GROWTH_PERIOD_S, _COUNT_PERIOD_S = 60, 5
MAX_PROCESSES = 1024
"""Processes whose counts are stored for the growth: those with the most connections."""


class _Counts(NamedTuple):
    """Connections by process and state."""

    keys: NDArray[np.uint64]
    """Process keys, ascending, shape (n,)."""
    by_state: NDArray[np.intp]
    """Connections by process and number of the state, shape (n, 16)."""
    process_index: NDArray[np.intp]
    """For each row the index of its process in ``keys``."""
    first_row: NDArray[np.intp]
    """For each process the number of one of its rows, shape (n,)."""

    @classmethod
    def from_rows(cls, rows: Rows) -> _Counts:
        """Count rows with the fields of ``_PROCESS_FIELDS``."""
        keys, first_row, inverse = np.unique(process_key(rows), return_index=True, return_inverse=True)
        process_index = inverse.reshape(-1)
        cells = process_index * _STATES + np.minimum(rows["state"], _STATES - 1)
        by_state = np.bincount(cells, minlength=len(keys) * _STATES).reshape(-1, _STATES)
        return cls(keys, by_state, process_index, first_row)


class BoardHistory:
    """Stores the counts of the last minute, one every five seconds: growth is the difference to the oldest."""

    def __init__(self) -> None:
        self._counts: deque[tuple[int, NDArray[np.uint64], NDArray[np.intp]]] = deque()

    def update(self, rows: Rows, now_ns: int) -> None:
        """Store the counts of a table (dtype ROW), if the latest ones are five seconds old."""
        if self._counts and now_ns - self._counts[-1][0] < _COUNT_PERIOD_S * 10**9:
            return
        counts = _Counts.from_rows(rows)
        by_size = np.argsort(-counts.by_state.sum(axis=1), kind="stable")
        largest = np.sort(by_size[:MAX_PROCESSES])
        self._counts.append((now_ns, counts.keys[largest], counts.by_state[largest]))
        while len(self._counts) > 1 and now_ns - self._counts[1][0] >= _GROWTH_PERIOD_S * 10**9:
            self._counts.popleft()

    @property
    def oldest_counts(self) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
        """The oldest stored counts: process keys, ascending, shape (n,), and connections by state, shape (n, 16)."""
        if not self._counts:
            return np.zeros(0, np.uint64), np.zeros((0, _STATES), np.intp)
        return self._counts[0][1], self._counts[0][2]


def make_board(snapshot: Snapshot, matches: Mask, order: SortOrder) -> Rows:
    """A row of dtype BOARD for each process that has a matching row, in display order.

    ``grown`` counts all connections of the process, whether they match or not.

    Args:
        snapshot: has the connections.
        matches: which of ``snapshot.rows`` match the filter, shape (n,).
        order: its key is ``BY_STUCK``, ``comm``, ``pid``, or a state's name in lower case.
    """
    if not matches.any():
        return np.zeros(0, BOARD)
    rows = np.zeros(int(matches.sum()), _PROCESS_FIELDS)
    for name in _PROCESS_FIELDS.names or ():
        rows[name] = snapshot.rows[name][matches]
    counts = _Counts.from_rows(rows)
    board = np.zeros(len(counts.keys), BOARD)
    board["comm"], board["pid"] = rows["comm"][counts.first_row], rows["pid"][counts.first_row]
    board["id"], board["count"] = counts.keys, counts.by_state
    for state in BOARD_STATES:
        dated = np.flatnonzero((rows["state"] == state) & (rows["state_ns"] != 0))
        oldest_ns = np.full(len(board), np.iinfo(np.uint64).max, np.uint64)
        np.minimum.at(oldest_ns, counts.process_index[dated], rows["state_ns"][dated])
        board["since_ns"][:, state] = np.where(oldest_ns == np.iinfo(np.uint64).max, 0, oldest_ns)
    board["grown"] = _growth(snapshot, counts.keys)
    return board[_display_order(board, order)]


def _display_order(board: Rows, order: SortOrder) -> NDArray[np.intp]:
    """Rows with equal values: the process with the most stuck connections first, then the one with the most."""
    stuck = board["count"][:, list(STUCK_STATES)].sum(axis=1).astype(np.int64)
    by_stuck = np.lexsort((-board["count"].sum(axis=1).astype(np.int64), -stuck))
    if order.key == BY_STUCK:
        return by_stuck if order.descending else by_stuck[::-1]
    if order.key in BY_KEY:
        column = BY_KEY[order.key].read(RowContext(board[by_stuck], 0))
        return sort_by_values(column, by_stuck, descending=order.descending)
    counts = board["count"][by_stuck, _STATE_BY_KEY[order.key]]
    return sort_by_values(FieldValues(counts, counts >= 0), by_stuck, descending=order.descending)


def _growth(snapshot: Snapshot, keys: NDArray[np.uint64]) -> NDArray[np.intp]:
    """How many connections more than a minute ago the processes ``keys`` have in each state, shape (n, 16).

    A process that was not counted then had none, unless only the largest processes were counted.
    """
    earlier_keys, earlier_counts = snapshot.earlier_board_counts
    counts = _Counts.from_rows(snapshot.rows)
    by_state = counts.by_state[np.searchsorted(counts.keys, keys)]
    if not len(earlier_keys):
        return np.zeros_like(by_state)
    index = np.minimum(np.searchsorted(earlier_keys, keys), len(earlier_keys) - 1)
    was_counted = (earlier_keys[index] == keys)[:, None]
    if_not_counted = 0 if len(earlier_keys) >= MAX_PROCESSES else by_state
    growth: NDArray[np.intp] = np.where(was_counted, by_state - earlier_counts[index], if_not_counted)
    return growth
