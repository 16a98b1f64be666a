"""What sock_diag's numbers mean, in the terms of the connection table."""

from __future__ import annotations

import socket

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.diag.messages import TCP_INFO, Sockets
from tcptop_tui.records import DUMPED, UNKNOWN_UID, Flag, Mask, Rows, State, Syn, picked

_TIMEWAIT_NS = 60 * 10**9  # TCP_TIMEWAIT_LEN, include/net/tcp.h
_MAPPED = np.uint64(0xFFFF_0000_0000)
_HALF = np.uint64(32)
_RTT_END_BYTES = 72
_REQUESTS = (State.SYN_RECV, State.NEW_SYN_RECV)
_NOT_CONNECTED = (State.LISTEN, State.CLOSE, State.BOUND_INACTIVE)
_FIN_QUEUED = (State.FIN_WAIT1, State.FIN_WAIT2, State.CLOSING, State.LAST_ACK)
_AFTER_FIN = (State.CLOSE_WAIT, State.LAST_ACK, State.CLOSING)


def as_rows(sockets: Sockets, now_ns: int, netns: int) -> Rows:
    """As records.DUMPED, shape (n,); ``id`` and owner are left empty."""
    messages = sockets.messages
    rows = np.zeros(len(messages), DUMPED)
    rows["netns"] = netns
    rows["cgroup"] = sockets.cgroups
    rows["cookie"] = messages["cookie"].view("<u8")
    rows["lport"], rows["rport"] = messages["sport"], messages["dport"]
    rows["dev"] = messages["iface"]
    rows["state"] = messages["state"]
    four = messages["family"] == socket.AF_INET
    rows["laddr"], rows["raddr"] = _address(messages["src"], four), _address(messages["dst"], four)
    rows["uid"] = np.where(_nobodys(sockets), UNKNOWN_UID, messages["uid"])
    listens = messages["state"] == State.LISTEN
    # ``tcp_diag_get_info``, net/ipv4/tcp_diag.c: sk_ack_backlog and sk_max_ack_backlog
    rows["accept_queue"][listens], rows["backlog"][listens] = messages["rqueue"][listens], messages["wqueue"][listens]
    waiting = messages["state"] == State.TIME_WAIT
    rows["state_ns"][waiting] = _time_wait_since(messages["expires_ms"][waiting], now_ns)
    _fill_gauges(rows, sockets)
    return rows


def _address(words: NDArray[np.uint64], four: Mask) -> NDArray[np.uint64]:
    """Addresses in their IPv6 form, shape (n, 2); IPv4 ones stand in the first 4 of the 16 bytes."""
    address = words.astype("<u8")
    address[four, 1] = _MAPPED | (address[four, 0] >> _HALF)
    address[four, 0] = 0
    return address


def _nobodys(sockets: Sockets) -> Mask:
    """Sockets for which the kernel says uid 0 because it has none.

    Those are TIME_WAIT and requests (``inet_twsk_diag_fill``, ``inet_req_diag_fill``), FIN_WAIT2
    that waits in a TIME_WAIT socket, and, in older kernels, what its process has closed.
    """
    messages = sockets.messages
    passing = np.isin(messages["state"], [State.TIME_WAIT, *_REQUESTS])
    nobodys: Mask = passing | ((messages["inode"] == 0) & (messages["uid"] == 0))
    return nobodys


def _time_wait_since(expires_ms: NDArray[np.uint32], now_ns: int) -> NDArray[np.uint64]:
    """Start of TIME_WAIT by what is left of its 60 s; 0 when that was before the clock's start.

    Too late by as long as it lasted until the peer's last FIN: each one starts the 60 s anew
    (``tcp_timewait_state_process``, net/ipv4/tcp_minisocks.c).
    """
    waited_ns = np.maximum(_TIMEWAIT_NS - expires_ms.astype(np.int64) * 10**6, 0)
    since_ns: NDArray[np.uint64] = np.maximum(now_ns - waited_ns, 0).astype(np.uint64)
    return since_ns


def _fill_gauges(rows: Rows, sockets: Sockets) -> None:
    """Counters as records.DUMPED has them; what does not connect two ends has none.

    ``bytes_received`` counts the peer's FIN (``tcp_rcv_nxt_update``, net/ipv4/tcp_input.c), and a
    FIN cannot be retransmitted into it. A tcp_info from before Linux 4.19 has no ``bytes_sent``:
    then the round-trip time is all that is taken.
    """
    infos = sockets.infos
    connected = ~np.isin(rows["state"], _NOT_CONNECTED)
    timed = connected & (sockets.info_bytes >= _RTT_END_BYTES)
    rows["srtt_us"][timed] = infos["rtt_us"][timed]
    known = connected & (sockets.info_bytes >= TCP_INFO.itemsize)
    rows["flags"][known] = Flag.GAUGES
    fin = np.isin(rows["state"], _AFTER_FIN) & (infos["bytes_received"] > 0)
    _fill_sent(rows, sockets, known)
    rows["rx_bytes"][known] = (infos["bytes_received"] - fin)[known]
    rows["retrans"][known] = infos["total_retrans"][known]


def _fill_sent(rows: Rows, sockets: Sockets, known: Mask) -> None:
    """``tx_bytes`` and ``syn`` of the sockets that have a whole tcp_info.

    Payload that has left TCP at least once, as ``payload_sent`` of ``bpf/c/sockets.c`` counts it: acknowledged or in
    flight, less our SYN and our FIN. ``bytes_sent`` - ``bytes_retrans`` is never less, and more by what was refused
    inside this host. ``idiag_wqueue`` is ``write_seq`` - ``snd_una`` and includes what is not sent; with nothing
    unacknowledged nothing is in flight. It is read before tcp_info, and without the socket's lock
    (``tcp_diag_get_info``, net/ipv4/tcp_diag.c): what is acknowledged in between would be counted twice, so the
    lesser of the two counts is taken.
    """
    infos, state = sockets.infos, rows["state"]
    queued, unsent = _signed(sockets.messages["wqueue"]), _signed(infos["notsent_bytes"])
    in_flight = np.where(infos["unacked"] > 0, np.maximum(queued - unsent, 0), 0)
    sent = _signed(infos["bytes_acked"]) + in_flight - (np.isin(state, _FIN_QUEUED) & (unsent == 0))
    tried = _signed(infos["bytes_sent"]) - _signed(infos["bytes_retrans"])
    asking, quiet = state == State.SYN_SENT, infos["unacked"] == 0
    rules = (
        (asking & quiet, Syn.NONE),
        (asking | (quiet & (tried == sent - 1)), Syn.OUT),
        (tried > sent, Syn.DOUBT),
    )
    syn = np.select([holds for holds, _ in rules], [code for _, code in rules], Syn.UNKNOWN)
    sent -= syn == Syn.OUT
    rows["tx_bytes"][known] = np.maximum(np.minimum(sent, tried), 0)[known]
    rows["syn"][known] = syn[known]


def resolve_doubt(rows: Rows, syn: NDArray[np.uint8]) -> None:
    """Take the SYN off ``tx_bytes`` of rows in ``Syn.DOUBT`` whose SYN is known to be OUT by ``syn``, in place.

    Args:
        rows: of a dtype that has both, shape (n,).
        syn: ``Syn`` of the same sockets as somebody else has seen it, shape (n,).
    """
    wrong = np.flatnonzero((rows["syn"] == Syn.DOUBT) & (syn == Syn.OUT))
    rows["tx_bytes"][wrong] -= 1
    known = np.flatnonzero((syn == Syn.OUT) & (rows["syn"] != Syn.OUT))
    rows["syn"][known] = Syn.OUT


def guess_opener(rows: Rows) -> None:
    """What is in ``Syn.DOUBT`` and on no listener's port was opened by connect(); of a whole dump, in place."""
    doubtful = np.flatnonzero(rows["syn"] == Syn.DOUBT)
    if len(doubtful):
        listening = _local_port(picked(rows, rows["state"] == State.LISTEN))
        ours = ~np.isin(_local_port(picked(rows, doubtful)), listening)
        syn = np.zeros(len(rows), "u1")
        syn[doubtful[ours]] = Syn.OUT
        resolve_doubt(rows, syn)


def _local_port(rows: Rows) -> NDArray[np.uint64]:
    key: NDArray[np.uint64] = rows["netns"].astype(np.uint64) << np.uint64(16) | rows["lport"]
    return key


def _signed(values: NDArray[np.uint64] | NDArray[np.uint32]) -> NDArray[np.int64]:
    return values.astype(np.int64)
