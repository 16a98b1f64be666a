"""Resets that this host sends after the end of a connection was logged.

Data for a closed socket are answered by a RST (tcp_rcv_state_process(), net/ipv4/tcp_input.c). The kernel announces
CLOSE, calls tcp_reset() as if a RST had come in, and sends its own some microseconds later, in the same softirq. The
kernel program logs that one as a transition to no state (``log_late_reset()`` in ``c/resets.c``). This module finds the
end that the reset belongs to and corrects it. Ends that a reset may still follow are held back for that long.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import ENDED, TRANSITION, CloseFlag, Mask, Rows, State
from tcptop_tui.row_copy import concat, picked, subset
from tcptop_tui.stream.late_endings import is_half_closed

_RESET_DELAY_NS = 5_000_000
"""An end that is older has had its reset, if there was one: both come from one softirq, within microseconds, unless the
host takes its CPU away meanwhile."""

_MAX_WAIT_NS = 10**9
"""How long a reset waits for its ended connection, and how long after it the reset may come. The ring of ended
connections is read first, a busy host takes the CPU away in between, and one reading of a ring is limited."""

_MAX_WAITING_RESETS = 4096

_RESET_FLAGS = CloseFlag.RST_SENT | CloseFlag.RST_RECEIVED


@dataclass(slots=True, eq=False)
class LateResets:
    """Corrects what is read from the two rings; used from the source's thread only."""

    _transitions: Rows = field(default_factory=lambda: np.zeros(0, TRANSITION))
    """Transitions that wait, from the first one on that a reset may still follow."""
    _ended: Rows = field(default_factory=lambda: np.zeros(0, ENDED))
    """Ended connections that wait in the same way."""
    _resets: Rows = field(default_factory=lambda: np.zeros(0, TRANSITION))
    """Resets whose ended connections have not been read yet."""

    def settle(self, transitions: Rows, ended: Rows, now_ns: int) -> tuple[Rows, Rows, Rows]:
        """Correct ends that a reset followed; those that a reset may still follow wait for the next call.

        Args:
            transitions: from their ring, by time; dtype TRANSITION.
            ended: from the ring of ended connections, which was read before: it may lack some that the other ring has
                already; dtype ENDED.
            now_ns: CLOCK_MONOTONIC before the rings were read; ends from just before wait.

        Returns:
            Transitions and ended connections that are settled, and the resets that TIME_WAIT sockets sent, dtype
            TRANSITION.
        """
        if len(self._transitions):
            transitions = concat(TRANSITION, self._transitions, transitions)
        if len(self._ended):
            ended = concat(ENDED, self._ended, ended)
        is_reset = transitions["newstate"] == 0
        resets = picked(transitions, is_reset)
        transitions = subset(transitions, ~is_reset)
        late_resets = picked(resets, resets["oldstate"] == State.CLOSE)
        if len(late_resets):
            _mark_reset_sent(transitions, "ts_ns", late_resets)
        self._correct_ended(ended, late_resets, now_ns)
        transitions, self._transitions = _split_settled(transitions, "ts_ns", now_ns)
        ended, self._ended = _split_settled(ended, "end_ns", now_ns)
        return transitions, ended, picked(resets, resets["oldstate"] == State.TIME_WAIT)

    def _correct_ended(self, ended: Rows, late_resets: Rows, now_ns: int) -> None:
        resets = concat(TRANSITION, self._resets, late_resets)
        if len(resets):
            is_waiting = resets["ts_ns"] + np.uint64(_MAX_WAIT_NS) > now_ns
            is_waiting &= ~_mark_reset_sent(ended, "end_ns", resets)
            resets = picked(resets, is_waiting)[-_MAX_WAITING_RESETS:]
        self._resets = resets

    def flush(self) -> tuple[Rows, Rows, Rows]:
        """Return what waits as it is, in the form of ``settle``, because nothing more will be read."""
        transitions, ended = self._transitions, self._ended
        self._transitions, self._ended = transitions[:0], ended[:0]
        return transitions, ended, self._transitions


def only_transitions(records: Rows) -> Rows:
    """The records of the ring of transitions that are no late resets; dtype TRANSITION."""
    return subset(records, records["newstate"] != 0)


def _may_precede_reset(rows: Rows) -> Mask:
    """Ends that a reset may follow: those that look like a reset received, or like a way to TIME_WAIT."""
    looks_reset: Mask = (
        rows["close_flags"] & (CloseFlag.FIN_SENT | CloseFlag.RST_RECEIVED)
    ) == CloseFlag.FIN_SENT | CloseFlag.RST_RECEIVED
    undecided = looks_reset | is_half_closed(rows["close_flags"])
    return undecided & (rows["newstate"] == State.CLOSE) if rows.dtype == TRANSITION else undecided


def _mark_reset_sent(rows: Rows, time_field: str, resets: Rows) -> Mask:
    """Mark the end of each socket just before its reset as one by a reset sent, in place.

    Args:
        rows: dtype TRANSITION or ENDED; a socket's address may have been another socket's earlier.
        time_field: the field with the time of the end.
        resets: dtype TRANSITION.

    Returns:
        Which of the ``resets`` have their end among ``rows``.
    """
    row_index = np.flatnonzero(np.isin(rows["skaddr"], resets["skaddr"]))
    latest, reset_row = _latest_before(
        rows["skaddr"][row_index], rows[time_field][row_index], resets["skaddr"], resets["ts_ns"]
    )
    row_index = row_index[latest]
    is_near = resets["ts_ns"][reset_row] < rows[time_field][row_index] + np.uint64(_MAX_WAIT_NS)
    is_near &= _may_precede_reset(rows)[row_index]
    row_index = row_index[is_near]
    without_reset = row_index[(rows["close_flags"][row_index] & _RESET_FLAGS) == 0]
    rows["reset_in"][without_reset] = State.FIN_WAIT2
    close_flags = rows["close_flags"][row_index] & ~np.uint8(CloseFlag.RST_RECEIVED)
    rows["close_flags"][row_index] = close_flags | CloseFlag.RST_SENT
    has_end = np.zeros(len(resets), np.bool_)
    has_end[reset_row[is_near]] = True
    return has_end


def _latest_before(
    keys: NDArray[np.uint64], times: NDArray[np.uint64], wanted: NDArray[np.uint64], until: NDArray[np.uint64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Find the latest row with each wanted key up to a time.

    Args:
        keys: of the rows, shape (n,).
        times: of the rows, shape (n,).
        wanted: keys to look for, shape (k,).
        until: the time for each of them, shape (k,).

    Returns:
        The rows, and the index into ``wanted`` that each is for; a key without a row is left out.
    """
    all_keys, all_times = np.concatenate([keys, wanted]), np.concatenate([times, until])
    order = np.lexsort((np.arange(len(all_keys)) >= len(keys), all_times, all_keys))
    previous, current = order[:-1], order[1:]
    is_pair = (previous < len(keys)) & (current >= len(keys)) & (all_keys[previous] == all_keys[current])
    return previous[is_pair], current[is_pair] - len(keys)


def _split_settled(rows: Rows, time_field: str, now_ns: int) -> tuple[Rows, Rows]:
    """Split rows at the first one that a reset may still follow."""
    waiting = np.flatnonzero(_may_precede_reset(rows) & (rows[time_field] + np.uint64(_RESET_DELAY_NS) > now_ns))
    first = int(waiting[0]) if len(waiting) else len(rows)
    return rows[:first], rows[first:]
