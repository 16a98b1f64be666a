"""What became of connections that this end had closed and the peer had not.

The kernel leaves a TIME_WAIT socket of such a connection, which waits for the peer's FIN in FIN_WAIT2, for 60 s at most
(tcp_time_wait(), net/ipv4/tcp_minisocks.c). The end was logged before, since nothing tells of what comes later but

- the RST with which it answers data (tcp_timewait_state_process(), same file; ``tcp:tcp_send_reset`` from 6.10 on), and
- the peer's own end, where that is on this host: it has received or sent a reset, or sent its FIN.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import IPV4_MAPPED, LATE_ENDING, CloseFlag, Mask, Rows, State
from tcptop_tui.row_copy import concat, picked
from tcptop_tui.stream.identity import KeyIndex, tuple_hash_any_device
from tcptop_tui.stream.late_endings import is_half_closed

_MAX_WAITING = 16_384
_MAX_AGE_NS = 120 * 10**9

_HALF_CLOSED = np.dtype([("here", "<u8"), ("there", "<u8"), ("skaddr", "<u8"), ("born_ns", "<u8"), ("end_ns", "<u8")])
_ENDPOINTS = np.dtype(
    [("netns", "<u4"), ("laddr", ">u8", (2,)), ("raddr", ">u8", (2,)), ("lport", "<u2"), ("rport", "<u2")]
)

_LOOPBACK = 127 << 24


@dataclass(slots=True)
class HalfClosed:
    """Remembers the latest 16,384 of them; used from the worker thread only."""

    _waiting: Rows = field(default_factory=lambda: np.zeros(0, _HALF_CLOSED))

    def resolve(self, ended: Rows, resets: Rows) -> Rows:
        """What is known now of connections whose end was in this batch or in an earlier one.

        Args:
            ended: dtype ENDED; put right in place where both ends of a connection seem to have received its reset.
            resets: that TIME_WAIT sockets sent, dtype TRANSITION.

        Returns:
            Dtype ENDING, for each at most one.
        """
        _correct_false_resets(ended)
        half = is_half_closed(ended["close_flags"]) & (ended["err"] == 0) & (ended["rport"] != 0)
        keys = _wire_hash(ended) if len(self._waiting) or half.any() else np.zeros(0, "<u8")
        self._remember(picked(ended, half), keys[half] if len(keys) else keys)
        if not len(self._waiting):
            return np.zeros(0, LATE_ENDING)
        found = concat(LATE_ENDING, self._resolved_by_resets(resets), self._resolved_by_peers(ended, keys))
        done = np.isin(self._waiting["skaddr"] ^ self._waiting["born_ns"], found["skaddr"] ^ found["born_ns"])
        self._waiting = picked(self._waiting, ~done)
        return found

    def _remember(self, half: Rows, keys: NDArray[np.uint64]) -> None:
        if not len(half):
            return
        more = np.empty(len(half), _HALF_CLOSED)
        more["here"], more["there"] = keys, _wire_hash(_peer_endpoints(half))
        for name in ("skaddr", "born_ns", "end_ns"):
            more[name] = half[name]
        oldest_ns = max(0, int(more["end_ns"].max()) - _MAX_AGE_NS)
        waiting = concat(_HALF_CLOSED, self._waiting, more)
        self._waiting = picked(waiting, waiting["end_ns"] >= oldest_ns)[-_MAX_WAITING:]

    def _resolved_by_resets(self, resets: Rows) -> Rows:
        place, found = self._latest("here").find(_wire_hash(resets))
        return _late_endings(picked(self._waiting[::-1], place[found]), CloseFlag.RST_SENT, resets["ts_ns"][found])

    def _resolved_by_peers(self, ended: Rows, keys: NDArray[np.uint64]) -> Rows:
        """A peer that has closed first waits itself: it tells nothing of this end."""
        told = np.flatnonzero(~is_half_closed(ended["close_flags"]))
        place, found = self._latest("there").find(keys[told])
        waiting, peers = picked(self._waiting[::-1], place[found]), picked(ended, told[found])
        ends = np.select(
            [
                (peers["close_flags"] & CloseFlag.RST_RECEIVED) != 0,
                (peers["close_flags"] & CloseFlag.RST_SENT) != 0,
                peers["close_flags"] != 0,
            ],
            [CloseFlag.RST_SENT, CloseFlag.RST_RECEIVED, CloseFlag.FIN_RECEIVED],
        )
        told_of = (ends != 0) & (peers["end_ns"] >= waiting["end_ns"])
        return _late_endings(picked(waiting, told_of), ends[told_of], peers["end_ns"][told_of])

    def _latest(self, name: str) -> KeyIndex:
        """Rows of the waiting ones, from the last one on: of those with the same ends the latest counts."""
        return KeyIndex.from_keys(self._waiting[name][::-1])


def _correct_false_resets(ended: Rows) -> None:
    """Data for a closed socket look like a reset received there (``late_resets.py``); the sender of the data gets one.

    The answer tells it first, unless no program was run for it.
    """
    received = (ended["close_flags"] & (CloseFlag.RST_SENT | CloseFlag.RST_RECEIVED)) == CloseFlag.RST_RECEIVED
    closed = np.flatnonzero(received & ((ended["close_flags"] & CloseFlag.FIN_SENT) != 0))
    if not len(closed):
        return
    _, both = KeyIndex.from_keys(_wire_hash(picked(ended, received))).find(
        _wire_hash(_peer_endpoints(picked(ended, closed)))
    )
    deceived = closed[both]
    ended["close_flags"][deceived] ^= CloseFlag.RST_SENT | CloseFlag.RST_RECEIVED


def _late_endings(waiting: Rows, ends: int | NDArray[np.intp], ts_ns: NDArray[np.uint64]) -> Rows:
    made = np.zeros(len(waiting), LATE_ENDING)
    for name in ("skaddr", "born_ns"):
        made[name] = waiting[name]
    made["ts_ns"], made["close_flags"] = ts_ns, ends
    made["reset_in"] = np.where(made["close_flags"] & (CloseFlag.RST_SENT | CloseFlag.RST_RECEIVED), State.FIN_WAIT2, 0)
    return made


def _peer_endpoints(rows: Rows) -> Rows:
    """The ends of each of ``rows``, as the peer has them."""
    made = np.empty(len(rows), _ENDPOINTS)
    made["netns"] = rows["netns"]
    for name, other in (("laddr", "raddr"), ("raddr", "laddr"), ("lport", "rport"), ("rport", "lport")):
        made[name] = rows[other]
    return made


def _wire_hash(rows: Rows) -> NDArray[np.uint64]:
    """Of the ends alone, as another network namespace of this host sees them; loopback is each namespace's own."""
    made = np.empty(len(rows), _ENDPOINTS)
    for name in _ENDPOINTS.names or ():
        made[name] = rows[name]
    made["netns"][~(_is_loopback(rows["laddr"]) | _is_loopback(rows["raddr"]))] = 0
    return tuple_hash_any_device(made)


def _is_loopback(addr: NDArray[np.uint64]) -> Mask:
    """Which of ``addr``, shape (n, 2), are in 127.0.0.0/8 or ::1."""
    v4 = (addr[:, 1] & np.uint64(0xFFFF_FFFF_FF00_0000)) == np.uint64(IPV4_MAPPED | _LOOPBACK)
    loopback: Mask = (addr[:, 0] == 0) & (v4 | (addr[:, 1] == 1))
    return loopback
