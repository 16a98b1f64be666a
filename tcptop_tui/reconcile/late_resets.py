"""Resets that this host sends after the end of a connection was logged.

Data for a closed socket are answered by a RST (tcp_rcv_state_process(), net/ipv4/tcp_input.c). The kernel announces
CLOSE, calls tcp_reset() as if a RST had come in, and sends its own some microseconds later, in the same softirq. The
program logs that one as a transition to no state (``log_late_reset()`` in ``c/resets.c``). Here it finds the end that
it belongs to, before anybody else has seen that.
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

_LATE_NS = 10**9
"""A reset waits so long for the session that it belongs to, and may come so long after it: the session's ring is read
before the other one, a busy host takes the CPU away in between, and what one reading takes of a ring is limited."""

_MOST_WAITING = 4096

_RESET = CloseFlag.RST_SENT | CloseFlag.RST_RECEIVED


@dataclass(slots=True)
class LateResets:
    """Sorts out what was read from the two rings; used from the worker thread only."""

    _transitions: Rows = field(default_factory=lambda: np.zeros(0, TRANSITION))
    _ended_rows: Rows = field(default_factory=lambda: np.zeros(0, ENDED))
    _answers: Rows = field(default_factory=lambda: np.zeros(0, TRANSITION))
    """Resets whose sessions have not been read yet."""

    def settle(self, moved: Rows, ended: Rows, now_ns: int) -> tuple[Rows, Rows, Rows]:
        """Put right the ends that a reset followed; what a reset may still follow waits for the next call.

        Args:
            moved: of the ring of transitions, by time; dtype TRANSITION.
            ended: of the ring of sessions, read before: it may lack what the other one has already; dtype ENDED.
            now_ns: CLOCK_MONOTONIC before the rings were read; those that are so young wait.

        Returns:
            Transitions and sessions that are settled, and the resets that TIME_WAIT sockets sent, dtype TRANSITION.
        """
        if len(self._transitions):
            moved = concat(TRANSITION, self._transitions, moved)
        if len(self._ended_rows):
            ended = concat(ENDED, self._ended_rows, ended)
        late = moved["newstate"] == 0
        resets = picked(moved, late)
        moved = subset(moved, ~late)
        answers = picked(resets, resets["oldstate"] == State.CLOSE)
        if len(answers):
            _mark_reset_sent(moved, "ts_ns", answers)
        self._put_sessions_right(ended, answers, now_ns)
        moved, self._transitions = _split_settled(moved, "ts_ns", now_ns)
        ended, self._ended_rows = _split_settled(ended, "end_ns", now_ns)
        return moved, ended, picked(resets, resets["oldstate"] == State.TIME_WAIT)

    def _put_sessions_right(self, ended: Rows, answers: Rows, now_ns: int) -> None:
        answers = concat(TRANSITION, self._answers, answers)
        if len(answers):
            missing = ~_mark_reset_sent(ended, "end_ns", answers) & (answers["ts_ns"] + np.uint64(_LATE_NS) > now_ns)
            answers = picked(answers, missing)[-_MOST_WAITING:]
        self._answers = answers

    def flush(self) -> tuple[Rows, Rows, Rows]:
        """What waits still, as it is: nothing comes any more."""
        moved, ended = self._transitions, self._ended_rows
        self._transitions, self._ended_rows = moved[:0], ended[:0]
        return moved, ended, self._transitions


def only_transitions(moved: Rows) -> Rows:
    """Of what the ring has the transitions."""
    return subset(moved, moved["newstate"] != 0)


def _may_precede_reset(rows: Rows) -> Mask:
    """Ends that look like a reset received, or like a way to TIME_WAIT, and may be of a reset that follows."""
    received: Mask = (
        rows["close_flags"] & (CloseFlag.FIN_SENT | CloseFlag.RST_RECEIVED)
    ) == CloseFlag.FIN_SENT | CloseFlag.RST_RECEIVED
    undecided = received | is_half_closed(rows["close_flags"])
    return undecided & (rows["newstate"] == State.CLOSE) if rows.dtype == TRANSITION else undecided


def _mark_reset_sent(rows: Rows, time: str, resets: Rows) -> Mask:
    """Of each socket in ``resets`` the end just before, in place; its address may have been another one's before.

    Returns:
        Which of the ``resets`` have found their end.
    """
    places = np.flatnonzero(np.isin(rows["skaddr"], resets["skaddr"]))
    before, resets_of = _latest_before(rows["skaddr"][places], rows[time][places], resets["skaddr"], resets["ts_ns"])
    found = places[before]
    soon = resets["ts_ns"][resets_of] < rows[time][found] + np.uint64(_LATE_NS)
    soon &= _may_precede_reset(rows)[found]
    found = found[soon]
    plain = found[(rows["close_flags"][found] & _RESET) == 0]
    rows["reset_in"][plain] = State.FIN_WAIT2
    rows["close_flags"][found] = rows["close_flags"][found] & ~np.uint8(CloseFlag.RST_RECEIVED) | CloseFlag.RST_SENT
    done = np.zeros(len(resets), np.bool_)
    done[resets_of[soon]] = True
    return done


def _latest_before(
    keys: NDArray[np.uint64], times: NDArray[np.uint64], wanted: NDArray[np.uint64], until: NDArray[np.uint64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For each of ``wanted`` that has one: the latest row with its key up to a time; and the number of the wanted."""
    every, moments = np.concatenate([keys, wanted]), np.concatenate([times, until])
    order = np.lexsort((np.arange(len(every)) >= len(keys), moments, every))
    before, here = order[:-1], order[1:]
    hit = (before < len(keys)) & (here >= len(keys)) & (every[before] == every[here])
    return before[hit], here[hit] - len(keys)


def _split_settled(rows: Rows, time: str, now_ns: int) -> tuple[Rows, Rows]:
    """Those that are settled, and those from the first one on that is not."""
    young = np.flatnonzero(_may_precede_reset(rows) & (rows[time] + np.uint64(_RESET_DELAY_NS) > now_ns))
    first = int(young[0]) if len(young) else len(rows)
    return rows[:first], rows[first:]
