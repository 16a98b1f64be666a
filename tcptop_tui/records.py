"""The fixed-size records that flow from the kernel to the panels, as numpy dtypes.

They mirror ``struct transition``, ``struct ended_connection`` and ``struct conn`` of ``bpf/c/records.c``; the
other sources fill the same ones. All ``*_ns`` are CLOCK_MONOTONIC. What is not known has one
spelling per field, written beside it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

RTT_SLOTS = 27
"""Slot ``i`` counts smoothed round-trip times of [2^i, 2^(i+1)) µs; slot 0 is [0, 1], the last is open."""

UNKNOWN_NS = 2**64 - 1
UNKNOWN_UID = 2**32 - 1

Rows: TypeAlias = NDArray[np.void]
"""A one-dimensional structured array of one of the dtypes below."""

Mask: TypeAlias = NDArray[np.bool_]


class State(IntEnum):
    """TCP states by the kernel's numbers (include/net/tcp_states.h)."""

    ESTABLISHED = 1
    SYN_SENT = 2
    SYN_RECV = 3
    FIN_WAIT1 = 4
    FIN_WAIT2 = 5
    TIME_WAIT = 6
    CLOSE = 7
    CLOSE_WAIT = 8
    LAST_ACK = 9
    LISTEN = 10
    CLOSING = 11
    NEW_SYN_RECV = 12
    BOUND_INACTIVE = 13


class Flag:
    """Bits of ``flags``, the ``F_*`` of ``bpf/c/records.c``. Plain ints: numpy would widen an IntFlag to int64."""

    OWNER_SURE: Final = 1
    """``pid`` was seen in its own process context, not inherited from a listener."""
    GAUGES: Final = 2
    """``tx_bytes``, ``rx_bytes`` and ``retrans`` were read; without it they are unknown."""
    PENDING: Final = 4
    DELAYED: Final = 8
    """Recorded by the guard program, because the kernel had skipped the first one."""
    POLLED: Final = 16
    """Found by comparing two polls: the time is the poll's, states between are not seen."""
    ACTIVE: Final = 32
    """Opened by connect(), as far as that was seen."""
    PASSIVE: Final = 64
    """Accepted: a listener's child."""
    LISTENER: Final = 128


class CloseFlag:
    """Bits of ``ends``, the ``E_*`` of ``bpf/c/records.c``: how a connection ended, as far as it has."""

    FIN_SENT: Final = 1
    FIN_RECEIVED: Final = 2
    PEER_FIRST: Final = 4
    """The peer's FIN came before ours."""
    RST_SENT: Final = 8
    RST_RECEIVED: Final = 16


class SynSent:
    """Whether a socket's sequence numbers begin with a SYN of connect(), the ``SYN_*`` of ``bpf/c/records.c``."""

    UNKNOWN: Final = 0
    OUT: Final = 1
    """The SYN has left; ``bytes_acked`` counts it."""
    NONE: Final = 2
    """A listener's child or, in SYN_SENT, a connect() that has sent nothing yet (TCP_FASTOPEN_CONNECT)."""
    DOUBT: Final = 3
    """Of sock_diag alone: unknown, and if it is OUT ``tx_bytes`` is one too many."""


class HolderLookup:
    """Values of ``looked``: whether the processes that have a socket open were looked for."""

    NOT_DONE: Final = 0
    DONE: Final = 1
    """``holders`` of them were found."""
    NO_INODE: Final = 2
    """Nobody can have it: it has no inode, because its process has closed it or none has accepted it yet."""


_Field: TypeAlias = tuple[str, Any] | tuple[str, Any, Any]

_CONN_HEAD_FIELDS: list[_Field] = [
    ("born_ns", "<u8"),  # 0: before our time
    ("state_ns", "<u8"),  # start of the present state; 0: unknown
    ("cookie", "<u8"),  # 0: none given yet; the map has inodes there, too (reconcile/inode_keys.py)
    ("tx_bytes", "<u8"),
    ("rx_bytes", "<u8"),
    ("cgroup", "<u8"),  # id of the socket's cgroup v2; 0: unknown
    ("laddr", ">u8", (2,)),  # IPv6 form; IPv4 as ::ffff:a.b.c.d
    ("raddr", ">u8", (2,)),
    ("netns", "<u4"),
    ("pid", "<u4"),  # 0: unknown
    ("uid", "<u4"),  # UNKNOWN_UID
    ("srtt_us", "<u4"),  # 0: no sample yet
    ("retrans", "<u4"),
    ("mntns", "<u4"),  # of the owner; 0: not asked for
    ("dev", "<u4"),  # number of the device that it is bound to, in its netns; 0: none
    ("start_ticks", "<u4"),  # of the owner, in ticks of 10 ms since boot (host.socket_owners.start_of); 0: unknown
    ("syn_sent", "u1"),  # SynSent
    ("holder_lookup", "u1"),  # HolderLookup
    ("holders", "<u2"),  # processes that have it open; 0: none has, or not known
    ("pad", "<u4"),
    ("lport", "<u2"),  # 0: not chosen yet
    ("rport", "<u2"),
    ("err", "<u2"),  # errno when it closed; 0: none
    ("close_flags", "u1"),  # CloseFlag
    ("reset_in", "u1"),  # State in which the RST came or went; 0: none did
    ("state", "u1"),
    ("flags", "u1"),
    ("recorded_transitions", "<u2"),  # by set_state; wraps
    ("guarded_transitions", "<u2"),  # seen by set_state_guard; wraps
    ("pending_old", "u1"),
    ("pending_new", "u1"),
    ("comm", "S16"),  # b"": unknown
]
_FOLLOWED_FIELDS: list[_Field] = [  # what only who follows a connection knows
    ("rtt_sum_us", "<u8"),
    ("established_ns", "<u8"),  # 0: not yet, or not seen
    ("retrans_in", "u1", (12,)),  # retransmits by State, at most 255 each
]
_HIST: _Field = ("rtt_hist", "<u4", (RTT_SLOTS,))

CONN = np.dtype([*_CONN_HEAD_FIELDS, *_FOLLOWED_FIELDS, _HIST])
"""``struct conn``: what the kernel side has of each socket, 288 bytes."""

CONN_WITHOUT_HIST = np.dtype([*_CONN_HEAD_FIELDS, *_FOLLOWED_FIELDS])
"""The beginning of a CONN, 180 bytes: without its histogram."""

CONN_HEAD = np.dtype(_CONN_HEAD_FIELDS)
"""The beginning of a CONN, 152 bytes: without what only who follows a connection knows."""

_QUEUE: list[_Field] = [
    ("accept_queue", "<u4"),  # of a listener: connections that nobody has accepted yet
    ("backlog", "<u4"),  # of a listener: how many there is room for; 0: no listener, or not known
]

_DUMP_ROW_FIELDS: list[_Field] = [("id", "<u8"), *_QUEUE, *_CONN_HEAD_FIELDS]

ROW = np.dtype([*_DUMP_ROW_FIELDS, *_FOLLOWED_FIELDS, ("hist", "<u4"), ("skaddr", "<u8")])
"""A row of the connection table, 208 bytes; ``id`` stays the same for a connection's whole life.

Its histogram has number ``hist`` among those of the table (``stream.histograms``).
"""

DUMP_ROW = np.dtype(_DUMP_ROW_FIELDS)
"""A socket that sock_diag has told of: the beginning of a ROW, 168 bytes."""

HOLDING = np.dtype([("id", "<u8"), ("pid", "<u4"), ("start_ticks", "<u4"), ("comm", "S16")])
"""One of several processes that have the socket of row ``id`` open, 32 bytes."""

ENDED = np.dtype([("end_ns", "<u8"), ("skaddr", "<u8"), *_CONN_HEAD_FIELDS, *_FOLLOWED_FIELDS, _HIST])
"""``struct ended_connection``: an ended connection with its last gauges and its histogram."""

TRANSITION = np.dtype(
    [
        ("ts_ns", "<u8"),
        ("skaddr", "<u8"),
        ("born_ns", "<u8"),
        ("time_in_state_ns", "<u8"),  # in the old state; UNKNOWN_NS
        ("tx_bytes", "<u8"),
        ("rx_bytes", "<u8"),
        ("cgroup", "<u8"),
        ("laddr", ">u8", (2,)),
        ("raddr", ">u8", (2,)),
        ("netns", "<u4"),
        ("pid", "<u4"),
        ("uid", "<u4"),
        ("srtt_us", "<u4"),
        ("retrans", "<u4"),
        ("dev", "<u4"),  # as in CONN
        ("lport", "<u2"),
        ("rport", "<u2"),
        ("oldstate", "u1"),
        ("newstate", "u1"),
        ("flags", "u1"),
        ("close_flags", "u1"),
        ("comm", "S16"),
        ("err", "<u2"),
        ("reset_in", "u1"),
        ("syn_sent", "u1"),  # SynSent
        ("bystander_pid", "<u4"),  # tgid that the CPU was running
        ("bystander_tid", "<u4"),
        ("bystander_comm", "S16"),  # b"": nobody asked (Capture.context)
        ("start_ticks", "<u4"),  # as in CONN
    ]
)
"""``struct transition``: one change of state, 168 bytes."""

LATE_ENDING = np.dtype(
    [
        ("skaddr", "<u8"),  # as in the ENDED that was there before
        ("born_ns", "<u8"),
        ("ts_ns", "<u8"),
        ("close_flags", "u1"),  # CloseFlag: what has come since
        ("reset_in", "u1"),
    ],
    align=True,
)
"""What became of a connection that this end had closed and the peer had not, 32 bytes."""

PING = np.dtype(
    [
        ("ts_ns", "<u8"),
        ("saddr", ">u8", (2,)),  # who asked; IPv6 form, IPv4 as ::ffff:a.b.c.d
        ("daddr", ">u8", (2,)),
        ("netns", "<u4"),
        ("cpu", "<u4"),
        ("tgid", "<u4"),  # process that the softirq interrupted; 0: an idle CPU
        ("pid", "<u4"),  # its thread
        ("id", "<u2"),
        ("seq", "<u2"),
        ("pad", "<u4"),
        ("comm", "S16"),
    ]
)
"""``struct ping`` of ``bpf/c/packets.c``: an ICMP echo request as it was answered, 80 bytes."""

IPV4_MAPPED = 0xFFFF << 32
"""The low word of ``::ffff:0.0.0.0``; or-ed with the 32 bits of an IPv4 address it is the low word of its IPv6 form."""


def is_ipv4(addr: NDArray[np.uint64]) -> Mask:
    """Which of ``addr`` (shape (n, 2), big-endian words) are IPv4 in ``::ffff:0:0/96``."""
    mapped: Mask = (addr[:, 0] == 0) & (addr[:, 1] >> np.uint64(32) == IPV4_MAPPED >> 32)
    return mapped


def speaks_ipv4(rows: Rows) -> Mask:
    """Which of ``rows`` (any dtype with ``laddr`` and ``raddr``) are IPv4; the rest is IPv6.

    The remote address tells where there is one, else the local one. An IPv6 socket with IPv4 addresses in their IPv6
    form speaks IPv4 (RFC 4291, 2.5.5.2); one that listens at ``::`` may speak both, and is IPv6.
    """
    remote = rows["raddr"]
    unset = (remote[:, 0] == 0) & (remote[:, 1] == 0)
    four: Mask = is_ipv4(remote) | (unset & is_ipv4(rows["laddr"]))
    return four
