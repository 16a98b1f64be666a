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

from tcptop_tui.records import ENDING, End, Mask, Rows, State, joined, picked
from tcptop_tui.stream.identity import Index, ends_hash
from tcptop_tui.stream.late_endings import half_closed

_MOST = 16_384
_LASTS_NS = 120 * 10**9

_HALF = np.dtype([("here", "<u8"), ("there", "<u8"), ("skaddr", "<u8"), ("born_ns", "<u8"), ("end_ns", "<u8")])
_ENDS = np.dtype([("netns", "<u4"), ("laddr", ">u8", (2,)), ("raddr", ">u8", (2,)), ("lport", "<u2"), ("rport", "<u2")])

_MAPPED = 0xFFFF << 32
_LOOPBACK = 127 << 24


@dataclass(slots=True)
class HalfClosed:
    """Remembers the latest 16,384 of them; used from the worker thread only."""

    _waiting: Rows = field(default_factory=lambda: np.zeros(0, _HALF))

    def settle(self, ended: Rows, resets: Rows) -> Rows:
        """What is known now of connections whose end was in this batch or in an earlier one.

        Args:
            ended: dtype SESSION; put right in place where both ends of a connection seem to have received its reset.
            resets: that TIME_WAIT sockets sent, dtype TRANSITION.

        Returns:
            Dtype ENDING, for each at most one.
        """
        _put_deceived_right(ended)
        half = half_closed(ended["ends"]) & (ended["err"] == 0) & (ended["rport"] != 0)
        keys = _wire_hash(ended) if len(self._waiting) or half.any() else np.zeros(0, "<u8")
        self._remember(picked(ended, half), keys[half] if len(keys) else keys)
        if not len(self._waiting):
            return np.zeros(0, ENDING)
        found = joined(ENDING, self._answered(resets), self._by_peers(ended, keys))
        done = np.isin(self._waiting["skaddr"] ^ self._waiting["born_ns"], found["skaddr"] ^ found["born_ns"])
        self._waiting = picked(self._waiting, ~done)
        return found

    def _remember(self, half: Rows, keys: NDArray[np.uint64]) -> None:
        if not len(half):
            return
        more = np.empty(len(half), _HALF)
        more["here"], more["there"] = keys, _wire_hash(_turned(half))
        for name in ("skaddr", "born_ns", "end_ns"):
            more[name] = half[name]
        oldest_ns = max(0, int(more["end_ns"].max()) - _LASTS_NS)
        waiting = joined(_HALF, self._waiting, more)
        self._waiting = picked(waiting, waiting["end_ns"] >= oldest_ns)[-_MOST:]

    def _answered(self, resets: Rows) -> Rows:
        place, found = self._latest("here").find(_wire_hash(resets))
        return _endings(picked(self._waiting[::-1], place[found]), End.RST_SENT, resets["ts_ns"][found])

    def _by_peers(self, ended: Rows, keys: NDArray[np.uint64]) -> Rows:
        """A peer that has closed first waits itself: it tells nothing of this end."""
        told = np.flatnonzero(~half_closed(ended["ends"]))
        place, found = self._latest("there").find(keys[told])
        waiting, peers = picked(self._waiting[::-1], place[found]), picked(ended, told[found])
        ends = np.select(
            [(peers["ends"] & End.RST_RECEIVED) != 0, (peers["ends"] & End.RST_SENT) != 0, peers["ends"] != 0],
            [End.RST_SENT, End.RST_RECEIVED, End.FIN_RECEIVED],
        )
        told_of = (ends != 0) & (peers["end_ns"] >= waiting["end_ns"])
        return _endings(picked(waiting, told_of), ends[told_of], peers["end_ns"][told_of])

    def _latest(self, name: str) -> Index:
        """Rows of the waiting ones, from the last one on: of those with the same ends the latest counts."""
        return Index.of(self._waiting[name][::-1])


def _put_deceived_right(ended: Rows) -> None:
    """Data for a closed socket look like a reset received there (``late.py``), and are one for whoever sent them.

    The answer tells it first, unless no program was run for it.
    """
    received = (ended["ends"] & (End.RST_SENT | End.RST_RECEIVED)) == End.RST_RECEIVED
    closed = np.flatnonzero(received & ((ended["ends"] & End.FIN_SENT) != 0))
    if not len(closed):
        return
    _, both = Index.of(_wire_hash(picked(ended, received))).find(_wire_hash(_turned(picked(ended, closed))))
    deceived = closed[both]
    ended["ends"][deceived] ^= End.RST_SENT | End.RST_RECEIVED


def _endings(waiting: Rows, ends: int | NDArray[np.intp], ts_ns: NDArray[np.uint64]) -> Rows:
    made = np.zeros(len(waiting), ENDING)
    for name in ("skaddr", "born_ns"):
        made[name] = waiting[name]
    made["ts_ns"], made["ends"] = ts_ns, ends
    made["reset_in"] = np.where(made["ends"] & (End.RST_SENT | End.RST_RECEIVED), State.FIN_WAIT2, 0)
    return made


def _turned(rows: Rows) -> Rows:
    """The ends of each of ``rows``, as the peer has them."""
    made = np.empty(len(rows), _ENDS)
    made["netns"] = rows["netns"]
    for name, other in (("laddr", "raddr"), ("raddr", "laddr"), ("lport", "rport"), ("rport", "lport")):
        made[name] = rows[other]
    return made


def _wire_hash(rows: Rows) -> NDArray[np.uint64]:
    """Of the ends alone, as another network namespace of this host sees them; loopback is each namespace's own."""
    made = np.empty(len(rows), _ENDS)
    for name in _ENDS.names or ():
        made[name] = rows[name]
    made["netns"][~(_is_loopback(rows["laddr"]) | _is_loopback(rows["raddr"]))] = 0
    return ends_hash(made)


def _is_loopback(addr: NDArray[np.uint64]) -> Mask:
    """Which of ``addr``, shape (n, 2), are in 127.0.0.0/8 or ::1."""
    v4 = (addr[:, 1] & np.uint64(0xFFFF_FFFF_FF00_0000)) == np.uint64(_MAPPED | _LOOPBACK)
    loopback: Mask = (addr[:, 0] == 0) & (v4 | (addr[:, 1] == 1))
    return loopback
