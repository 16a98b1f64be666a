"""Who is stuck where: connections by process and state, with the oldest age and whether they grow."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.fields import BY_KEY, FieldValues, RowContext
from tcptop_tui.model.snapshot import Snapshot
from tcptop_tui.model.sorting import sort_by_values
from tcptop_tui.records import Mask, Rows, State
from tcptop_tui.stream.identity import process_key

STUCK_STATES = (
    State.CLOSE_WAIT, State.SYN_SENT, State.SYN_RECV, State.FIN_WAIT1, State.FIN_WAIT2, State.LAST_ACK, State.CLOSING,
)  # fmt: skip
"""States that a healthy connection leaves soon."""
BOARD_STATES = (*STUCK_STATES, State.TIME_WAIT, State.ESTABLISHED, State.LISTEN)

BY_STUCK = "stuck"
"""The order in which connections stuck in any state count."""

_BY_NAME = {state.name.lower(): state for state in BOARD_STATES}
_STATES = 16
BOARD = np.dtype(
    [("comm", "S16"), ("id", "<u8"), ("pid", "<u4"),
     ("count", "<u4", (_STATES,)), ("since_ns", "<u8", (_STATES,)), ("grown", "<i4", (_STATES,))]
)  # fmt: skip
"""By number of the state; ``since_ns`` 0: not known; ``grown``: since the board of about a minute ago."""

_GROUP_FIELDS = np.dtype(
    [("comm", "S16"), ("state_ns", "<u8"), ("pid", "<u4"), ("start_ticks", "<u4"), ("state", "u1")]
)
"""What is needed of a row: whole ones are 300 bytes each."""
_BEFORE_S, _STEP_S = 60, 5
MOST_PROCESSES = 1024
"""That are remembered for the arrows, those with the most connections."""


def _counted(rows: Rows) -> tuple[NDArray[np.uint64], NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Keys of processes, shape (n,), connections by state, (n, 16), and of each row its process; a row of each."""
    keys, first, inverse = np.unique(process_key(rows), return_index=True, return_inverse=True)
    inverse = inverse.reshape(-1)
    states = inverse * _STATES + np.minimum(rows["state"], _STATES - 1)
    return keys, np.bincount(states, minlength=len(keys) * _STATES).reshape(-1, _STATES), inverse, first


class BoardHistory:
    """The counts of the last minute, for the arrows."""

    def __init__(self) -> None:
        self._counts: deque[tuple[int, NDArray[np.uint64], NDArray[np.intp]]] = deque()

    def update(self, rows: Rows, now_ns: int) -> None:
        """Remember the table's counts, every few seconds."""
        if self._counts and now_ns - self._counts[-1][0] < _STEP_S * 10**9:
            return
        keys, counts, _, _ = _counted(rows)
        most = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[:MOST_PROCESSES])
        self._counts.append((now_ns, keys[most], counts[most]))
        while len(self._counts) > 1 and now_ns - self._counts[1][0] >= _BEFORE_S * 10**9:
            self._counts.popleft()

    @property
    def oldest_counts(self) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
        """The oldest counts that are kept: keys, shape (n,), sorted, and counts, (n, 16)."""
        if not self._counts:
            return np.zeros(0, np.uint64), np.zeros((0, _STATES), np.intp)
        return self._counts[0][1], self._counts[0][2]


def make_board(facts: Snapshot, wanted: Mask, key: str = BY_STUCK, *, descending: bool = True) -> Rows:
    """A row for each process among the ``wanted`` rows of ``facts``, dtype BOARD.

    Growth is that of all connections of the process, whatever is wanted.

    Args:
        facts: what is known.
        wanted: by row of ``facts.rows``.
        key: what to sort by: ``BY_STUCK``, ``comm``, ``pid``, or a state's name in small letters.
        descending: the largest first.
    """
    made = np.zeros(0, BOARD)
    if not wanted.any():
        return made
    rows = np.zeros(int(wanted.sum()), _GROUP_FIELDS)
    for name in _GROUP_FIELDS.names or ():
        rows[name] = facts.rows[name][wanted]
    keys, counts, inverse, first = _counted(rows)
    made = np.zeros(len(keys), BOARD)
    made["comm"], made["pid"], made["id"], made["count"] = rows["comm"][first], rows["pid"][first], keys, counts
    for state in BOARD_STATES:
        known = np.flatnonzero((rows["state"] == state) & (rows["state_ns"] != 0))
        oldest = np.full(len(keys), np.iinfo(np.uint64).max, np.uint64)
        np.minimum.at(oldest, inverse[known], rows["state_ns"][known])
        made["since_ns"][:, state] = np.where(oldest == np.iinfo(np.uint64).max, 0, oldest)
    made["grown"] = _growth(facts, keys)
    return made[_order(made, key, descending=descending)]


def _order(made: Rows, key: str, *, descending: bool) -> NDArray[np.intp]:
    """Equal ones: the most stuck first, then the one with the most connections."""
    stuck = made["count"][:, list(STUCK_STATES)].sum(axis=1).astype(np.int64)
    usual = np.lexsort((-made["count"].sum(axis=1).astype(np.int64), -stuck))
    if key == BY_STUCK:
        return usual if descending else usual[::-1]
    if key in BY_KEY:
        return sort_by_values(BY_KEY[key].read(RowContext(made[usual], 0)), usual, descending=descending)
    counts = made["count"][usual, _BY_NAME[key]]
    return sort_by_values(FieldValues(counts, counts >= 0), usual, descending=descending)


def _growth(facts: Snapshot, wanted: NDArray[np.uint64]) -> NDArray[np.intp]:
    before_keys, before = facts.board_before
    keys, counts, _, _ = _counted(facts.rows)
    now = counts[np.searchsorted(keys, wanted)]
    if not len(before_keys):
        return np.zeros_like(now)
    place = np.minimum(np.searchsorted(before_keys, wanted), len(before_keys) - 1)
    same = (before_keys[place] == wanted)[:, None]
    grown: NDArray[np.intp] = np.where(same, now - before[place], 0 if len(before_keys) >= MOST_PROCESSES else now)
    return grown
