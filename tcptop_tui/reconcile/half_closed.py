"""What becomes of connections that this end had closed and the peer had not.

The kernel leaves a TIME_WAIT socket of such a connection, which waits for the peer's FIN in FIN_WAIT2, for 60 s at most
(tcp_time_wait(), net/ipv4/tcp_minisocks.c). The ended connection was logged before. Only two things tell what comes
later:

- the RST with which it answers data (tcp_timewait_state_process(), same file; ``tcp:tcp_send_reset`` from 6.10 on), and
- the peer's own end, where the peer is on this host: it has received or sent a reset, or sent its FIN.
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
"""A connection that waits, with the ``_wire_hash`` of its endpoints as this end has them (here) and as the peer has
them."""
_ENDPOINTS = np.dtype(
    [("netns", "<u4"), ("laddr", ">u8", (2,)), ("raddr", ">u8", (2,)), ("lport", "<u2"), ("rport", "<u2")]
)

_LOOPBACK = 127 << 24


@dataclass(slots=True, eq=False)
class HalfClosed:
    """Remembers the latest 16,384 half-closed connections; used from the source's thread only."""

    _waiting: Rows = field(default_factory=lambda: np.zeros(0, _HALF_CLOSED))

    def resolve(self, ended: Rows, resets: Rows) -> Rows:
        """Find late endings of connections that ended in this batch or in an earlier one.

        Args:
            ended: dtype ENDED; corrected in place where both ends of a connection seem to have received its reset.
            resets: those that TIME_WAIT sockets sent, dtype TRANSITION.

        Returns:
            dtype LATE_ENDING, at most one for each connection.
        """
        _correct_false_resets(ended)
        is_half = is_half_closed(ended["close_flags"]) & (ended["err"] == 0) & (ended["rport"] != 0)
        hashes = _wire_hash(ended) if len(self._waiting) or is_half.any() else np.zeros(0, "<u8")
        self._remember(picked(ended, is_half), hashes[is_half] if len(hashes) else hashes)
        if not len(self._waiting):
            return np.zeros(0, LATE_ENDING)
        endings = concat(LATE_ENDING, self._endings_by_resets(resets), self._endings_by_peers(ended, hashes))
        resolved = endings["skaddr"] ^ endings["born_ns"]
        is_resolved = np.isin(self._waiting["skaddr"] ^ self._waiting["born_ns"], resolved)
        self._waiting = picked(self._waiting, ~is_resolved)
        return endings

    def _remember(self, half_closed: Rows, hashes: NDArray[np.uint64]) -> None:
        if not len(half_closed):
            return
        added = np.empty(len(half_closed), _HALF_CLOSED)
        added["here"], added["there"] = hashes, _wire_hash(_peer_endpoints(half_closed))
        for name in ("skaddr", "born_ns", "end_ns"):
            added[name] = half_closed[name]
        oldest_ns = max(0, int(added["end_ns"].max()) - _MAX_AGE_NS)
        waiting = concat(_HALF_CLOSED, self._waiting, added)
        self._waiting = picked(waiting, waiting["end_ns"] >= oldest_ns)[-_MAX_WAITING:]

    def _endings_by_resets(self, resets: Rows) -> Rows:
        waiting_row, matched = self._latest_index("here").find(_wire_hash(resets))
        waiting = picked(self._waiting[::-1], waiting_row[matched])
        return _late_endings(waiting, CloseFlag.RST_SENT, resets["ts_ns"][matched])

    def _endings_by_peers(self, ended: Rows, hashes: NDArray[np.uint64]) -> Rows:
        """Endings that the peers' own ends show; a peer that is half-closed itself shows nothing."""
        peer_row = np.flatnonzero(~is_half_closed(ended["close_flags"]))
        waiting_row, matched = self._latest_index("there").find(hashes[peer_row])
        waiting, peers = picked(self._waiting[::-1], waiting_row[matched]), picked(ended, peer_row[matched])
        close_flags = np.select(
            [
                (peers["close_flags"] & CloseFlag.RST_RECEIVED) != 0,
                (peers["close_flags"] & CloseFlag.RST_SENT) != 0,
                peers["close_flags"] != 0,
            ],
            [CloseFlag.RST_SENT, CloseFlag.RST_RECEIVED, CloseFlag.FIN_RECEIVED],
        )
        is_later = (close_flags != 0) & (peers["end_ns"] >= waiting["end_ns"])
        return _late_endings(picked(waiting, is_later), close_flags[is_later], peers["end_ns"][is_later])

    def _latest_index(self, name: str) -> KeyIndex:
        """Index the waiting connections, the last one first: of those with the same endpoints the latest counts."""
        return KeyIndex.from_keys(self._waiting[name][::-1])


def _correct_false_resets(ended: Rows) -> None:
    """Correct ends that look like a reset received but sent one themselves, where the peer has received it.

    Data for a closed socket look like a reset received there (``late_resets.py``), and the sender of the data gets one.
    ``LateResets`` has corrected that already by the answer, unless no kernel program was run for it.
    """
    received = (ended["close_flags"] & (CloseFlag.RST_SENT | CloseFlag.RST_RECEIVED)) == CloseFlag.RST_RECEIVED
    closed_row = np.flatnonzero(received & ((ended["close_flags"] & CloseFlag.FIN_SENT) != 0))
    if not len(closed_row):
        return
    _, peer_received = KeyIndex.from_keys(_wire_hash(picked(ended, received))).find(
        _wire_hash(_peer_endpoints(picked(ended, closed_row)))
    )
    ended["close_flags"][closed_row[peer_received]] ^= CloseFlag.RST_SENT | CloseFlag.RST_RECEIVED


def _late_endings(waiting: Rows, close_flags: int | NDArray[np.intp], ts_ns: NDArray[np.uint64]) -> Rows:
    endings = np.zeros(len(waiting), LATE_ENDING)
    for name in ("skaddr", "born_ns"):
        endings[name] = waiting[name]
    endings["ts_ns"], endings["close_flags"] = ts_ns, close_flags
    is_reset = endings["close_flags"] & (CloseFlag.RST_SENT | CloseFlag.RST_RECEIVED)
    endings["reset_in"] = np.where(is_reset, State.FIN_WAIT2, 0)
    return endings


def _peer_endpoints(rows: Rows) -> Rows:
    """The endpoints of each of ``rows`` as the peer has them, dtype _ENDPOINTS."""
    endpoints = np.empty(len(rows), _ENDPOINTS)
    endpoints["netns"] = rows["netns"]
    for name, other in (("laddr", "raddr"), ("raddr", "laddr"), ("lport", "rport"), ("rport", "lport")):
        endpoints[name] = rows[other]
    return endpoints


def _wire_hash(rows: Rows) -> NDArray[np.uint64]:
    """One 64-bit number for the endpoints, shape (n,), the same in all network namespaces of this host.

    Loopback addresses are each namespace's own.
    """
    endpoints = np.empty(len(rows), _ENDPOINTS)
    for name in _ENDPOINTS.names or ():
        endpoints[name] = rows[name]
    endpoints["netns"][~(_is_loopback(rows["laddr"]) | _is_loopback(rows["raddr"]))] = 0
    return tuple_hash_any_device(endpoints)


def _is_loopback(addr: NDArray[np.uint64]) -> Mask:
    """Which of ``addr``, shape (n, 2), are in 127.0.0.0/8 or ::1."""
    v4 = (addr[:, 1] & np.uint64(0xFFFF_FFFF_FF00_0000)) == np.uint64(IPV4_MAPPED | _LOOPBACK)
    loopback: Mask = (addr[:, 0] == 0) & (v4 | (addr[:, 1] == 1))
    return loopback
