"""What sock_diag's numbers mean, in the terms of the connection table."""

from __future__ import annotations

import socket

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.diag.messages import TCP_INFO, SocketColumns
from tcptop_tui.records import DUMP_ROW, IPV4_MAPPED, UNKNOWN_UID, Flag, Mask, Rows, State, SynSent
from tcptop_tui.row_copy import picked

TIMEWAIT_NS = 60 * 10**9
"""TCP_TIMEWAIT_LEN, include/net/tcp.h"""
_TIMER_TIMEWAIT = 3  # idiag_timer, inet_twsk_diag_fill() in net/ipv4/inet_diag.c
_HALF = np.uint64(32)
_RTT_END_BYTES = 72
_REQUEST_STATES = (State.SYN_RECV, State.NEW_SYN_RECV)
NOT_CONNECTED = (State.LISTEN, State.CLOSE, State.BOUND_INACTIVE)
_FIN_QUEUED = (State.FIN_WAIT1, State.FIN_WAIT2, State.CLOSING, State.LAST_ACK)
_AFTER_FIN = (State.CLOSE_WAIT, State.LAST_ACK, State.CLOSING)


def decode_rows(sockets: SocketColumns, now_ns: int, netns: int, fin_timeout_ns: int = TIMEWAIT_NS) -> Rows:
    """As records.DUMP_ROW, shape (n,); ``id`` and owner are left empty.

    Args:
        sockets: as the kernel described them.
        now_ns: CLOCK_MONOTONIC when it did.
        netns: inode number of their network namespace.
        fin_timeout_ns: its net.ipv4.tcp_fin_timeout.
    """
    messages = sockets.messages
    rows = np.zeros(len(messages), DUMP_ROW)
    rows["netns"] = netns
    rows["cgroup"] = sockets.cgroups
    rows["cookie"] = messages["cookie"].view("<u8")
    rows["lport"], rows["rport"] = messages["sport"], messages["dport"]
    rows["dev"] = messages["iface"]
    rows["state"] = messages["state"]
    four = messages["family"] == socket.AF_INET
    rows["laddr"], rows["raddr"] = _address(messages["src"], four), _address(messages["dst"], four)
    rows["uid"] = np.where(_without_owner(sockets), UNKNOWN_UID, messages["uid"])
    listens = messages["state"] == State.LISTEN
    # ``tcp_diag_get_info``, net/ipv4/tcp_diag.c: sk_ack_backlog and sk_max_ack_backlog
    rows["accept_queue"][listens], rows["backlog"][listens] = messages["rqueue"][listens], messages["wqueue"][listens]
    _fill_timers(rows, messages, now_ns, fin_timeout_ns)
    _fill_gauges(rows, sockets)
    return rows


def _address(words: NDArray[np.uint64], four: Mask) -> NDArray[np.uint64]:
    """Addresses in their IPv6 form, shape (n, 2); IPv4 ones stand in the first 4 of the 16 bytes."""
    address = words.astype("<u8")
    address[four, 1] = np.uint64(IPV4_MAPPED) | (address[four, 0] >> _HALF)
    address[four, 0] = 0
    return address


def _without_owner(sockets: SocketColumns) -> Mask:
    """Sockets for which the kernel says uid 0 because it has none.

    Those are TIME_WAIT and requests (``inet_twsk_diag_fill``, ``inet_req_diag_fill``), FIN_WAIT2
    that waits in a TIME_WAIT socket, and, in older kernels, what its process has closed.
    """
    messages = sockets.messages
    passing = np.isin(messages["state"], [State.TIME_WAIT, *_REQUEST_STATES])
    nobodys: Mask = passing | ((messages["inode"] == 0) & (messages["uid"] == 0))
    return nobodys


def _fill_timers(rows: Rows, messages: Rows, now_ns: int, fin_timeout_ns: int) -> None:
    """``state_ns`` of what waits in a timewait socket, by what is left of its timer; 0: before the clock's start.

    TIME_WAIT takes TCP_TIMEWAIT_LEN and begins anew with each late segment of the peer (``tcp_timewait_state_process``,
    net/ipv4/tcp_minisocks.c); so does this time. FIN_WAIT2 whose process has closed the socket moves into a timewait
    socket for net.ipv4.tcp_fin_timeout, for less where a socket has TCP_LINGER2 (``tcp_fin_time``, include/net/tcp.h):
    nothing tells that of one from before our time, whose FIN_WAIT2 then looks that much older.
    """
    which = np.flatnonzero(messages["timer"] == _TIMER_TIMEWAIT)
    lasts_ns = np.where(messages["state"][which] == State.TIME_WAIT, TIMEWAIT_NS, min(fin_timeout_ns, TIMEWAIT_NS))
    waited_ns = np.maximum(lasts_ns - messages["expires_ms"][which].astype(np.int64) * 10**6, 0)
    rows["state_ns"][which] = np.maximum(now_ns - waited_ns, 0)


def _fill_gauges(rows: Rows, sockets: SocketColumns) -> None:
    """Counters as records.DUMP_ROW has them; what does not connect two ends has none.

    ``bytes_received`` counts the peer's FIN (``tcp_rcv_nxt_update``, net/ipv4/tcp_input.c), and a
    FIN cannot be retransmitted into it. A tcp_info from before Linux 4.19 has no ``bytes_sent``:
    then the round-trip time is all that is taken.
    """
    infos = sockets.infos
    connected = ~np.isin(rows["state"], NOT_CONNECTED)
    timed = connected & (sockets.info_bytes >= _RTT_END_BYTES)
    rows["srtt_us"][timed] = infos["rtt_us"][timed]
    known = connected & (sockets.info_bytes >= TCP_INFO.itemsize)
    rows["flags"][known] = Flag.GAUGES
    fin = np.isin(rows["state"], _AFTER_FIN) & (infos["bytes_received"] > 0)
    _fill_sent(rows, sockets, known)
    rows["rx_bytes"][known] = (infos["bytes_received"] - fin)[known]
    rows["retrans"][known] = infos["total_retrans"][known]


def _fill_sent(rows: Rows, sockets: SocketColumns, known: Mask) -> None:
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
        (asking & quiet, SynSent.NONE),
        (asking | (quiet & (tried == sent - 1)), SynSent.OUT),
        (tried > sent, SynSent.DOUBT),
    )
    syn = np.select([holds for holds, _ in rules], [code for _, code in rules], SynSent.UNKNOWN)
    sent -= syn == SynSent.OUT
    rows["tx_bytes"][known] = np.maximum(np.minimum(sent, tried), 0)[known]
    rows["syn_sent"][known] = syn[known]


def resolve_syn(rows: Rows, syn: NDArray[np.uint8]) -> None:
    """Take the SYN off ``tx_bytes`` of rows in ``SynSent.DOUBT`` whose SYN is known to be OUT by ``syn``, in place.

    Args:
        rows: of a dtype that has both, shape (n,).
        syn: ``SynSent`` of the same sockets as somebody else has seen it, shape (n,).
    """
    wrong = np.flatnonzero((rows["syn_sent"] == SynSent.DOUBT) & (syn == SynSent.OUT))
    rows["tx_bytes"][wrong] -= 1
    known = np.flatnonzero((syn == SynSent.OUT) & (rows["syn_sent"] != SynSent.OUT))
    rows["syn_sent"][known] = SynSent.OUT


def guess_syn(rows: Rows) -> None:
    """What is in ``SynSent.DOUBT`` and on no listener's port was opened by connect(); of a whole dump, in place."""
    doubtful = np.flatnonzero(rows["syn_sent"] == SynSent.DOUBT)
    if len(doubtful):
        listening = _local_port(picked(rows, rows["state"] == State.LISTEN))
        ours = ~np.isin(_local_port(picked(rows, doubtful)), listening)
        syn = np.zeros(len(rows), "u1")
        syn[doubtful[ours]] = SynSent.OUT
        resolve_syn(rows, syn)


def _local_port(rows: Rows) -> NDArray[np.uint64]:
    key: NDArray[np.uint64] = rows["netns"].astype(np.uint64) << np.uint64(16) | rows["lport"]
    return key


def _signed(values: NDArray[np.uint64] | NDArray[np.uint32]) -> NDArray[np.int64]:
    return values.astype(np.int64)
