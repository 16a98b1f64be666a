"""What the kernel knows of one connection: struct tcp_info and what sock_diag gives besides."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from tcptop_tui.diag.messages import INET_DIAG_INFO, MESSAGE
from tcptop_tui.diag.single_query import BY_FAMILY, NO_COOKIE, REQUEST, query
from tcptop_tui.records import Rows, State

_INET_DIAG_CONG, _INET_DIAG_SKMEMINFO = 4, 7

# struct tcp_info, include/uapi/linux/tcp.h: name, offset, format. Older kernels give less of it.
_FIELDS = (
    ("rto_us", 8, "I"), ("mss_bytes", 16, "I"), ("unacked", 24, "I"), ("lost", 32, "I"), ("pmtu_bytes", 60, "I"),
    ("rtt_us", 68, "I"), ("rttvar_us", 72, "I"), ("ssthresh", 76, "I"), ("cwnd", 80, "I"), ("reordering", 88, "I"),
    ("retrans", 100, "I"), ("pacing_bytes_s", 104, "Q"), ("bytes_acked", 120, "Q"), ("bytes_received", 128, "Q"),
    ("segs_out", 136, "I"), ("segs_in", 140, "I"), ("notsent_bytes", 144, "I"), ("min_rtt_us", 148, "I"),
    ("delivery_bytes_s", 160, "Q"), ("busy_us", 168, "Q"), ("rwnd_limited_us", 176, "Q"),
    ("sndbuf_limited_us", 184, "Q"), ("dsack_dups", 216, "I"), ("ooopack", 224, "I"), ("snd_wnd_bytes", 228, "I"),
)  # fmt: skip
_SINCE_MS = (("last_sent_us", 44), ("last_received_us", 52), ("last_ack_us", 56))
"""Milliseconds since then; the names have the unit that is given."""
_CA_STATES = ("open", "disorder", "cwr", "recovery", "loss")
"""``enum tcp_ca_state``, include/uapi/linux/tcp.h."""
_OPTIONS = ((1, "ts"), (2, "sack"), (8, "ecn"))
_WSCALE = 4
_INFINITE = {"ssthresh": 0x7FFFFFFF, "min_rtt_us": 0xFFFFFFFF, "pacing_bytes_s": 2**64 - 1}
"""What stands for "none yet"."""


def tcp_info(row: Rows) -> dict[str, int | str]:
    """By name, with the unit in it; what the kernel does not tell is not there.

    ``rx_queue_bytes`` and ``tx_queue_bytes`` are what the process has not read, and what the peer
    has not acknowledged (``inet_diag_msg``), of a listener ``accept_queue`` and ``backlog``
    connections; ``congestion`` is the algorithm's name.

    Args:
        row: dtype ROW, shape (1,).

    Raises:
        OSError: there is no such socket any more, or it cannot be asked for.
    """
    wanted = sum(1 << (number - 1) for number in (INET_DIAG_INFO, _INET_DIAG_CONG, _INET_DIAG_SKMEMINFO))
    answer = query(row, BY_FAMILY, REQUEST, int(row["cookie"][0]) or NO_COOKIE, wanted)
    message = np.frombuffer(answer, MESSAGE, 1)[0]
    listens = message["state"] == State.LISTEN
    queues = ("accept_queue", "backlog") if listens else ("rx_queue_bytes", "tx_queue_bytes")
    found: dict[str, int | str] = dict(zip(queues, (int(message["rqueue"]), int(message["wqueue"])), strict=True))
    for kind, payload in _attributes(answer):
        if kind == INET_DIAG_INFO and not listens:  # a listener's has sizes of queues in other fields' places
            found |= _info(payload)
        elif kind == _INET_DIAG_CONG:
            found["congestion"] = payload.split(b"\0", 1)[0].decode(errors="replace")
        elif kind == _INET_DIAG_SKMEMINFO:
            found |= _memory(payload)
    return found


def _attributes(answer: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and payload of each (``struct nlattr``)."""
    size, at = min(len(answer), struct.unpack_from("<I", answer)[0]), MESSAGE.itemsize
    while at + 4 <= size:
        length, kind = struct.unpack_from("<HH", answer, at)
        yield kind, answer[at + 4 : at + length]
        at += max(4, (length + 3) & ~3)


def _info(payload: bytes) -> dict[str, int | str]:
    found: dict[str, int | str] = {}
    if len(payload) > 7:
        found |= _handshake_options(payload)
    for name, offset, form in _FIELDS:
        if offset + struct.calcsize(form) <= len(payload):
            (value,) = struct.unpack_from("<" + form, payload, offset)
            if value < _INFINITE.get(name, 2**64):
                found[name] = value
    for name, offset in _SINCE_MS:
        if offset + 4 <= len(payload):
            found[name] = struct.unpack_from("<I", payload, offset)[0] * 1000
    return found


def _handshake_options(payload: bytes) -> dict[str, int | str]:
    """What the handshake agreed on, and how congestion stands; the first bytes of ``struct tcp_info``."""
    ca_state, options, wscale = payload[1], payload[5], payload[6]
    found: dict[str, int | str] = {"ca_state": _CA_STATES[ca_state] if ca_state < len(_CA_STATES) else str(ca_state)}
    agreed = [name for bit, name in _OPTIONS if options & bit]
    if options & _WSCALE:
        agreed.append(f"wscale:{wscale & 15},{wscale >> 4}")
    return found | ({"options": " ".join(agreed)} if agreed else {})


def _memory(payload: bytes) -> dict[str, int | str]:
    """Room of the buffers, and what was dropped for want of it (``SK_MEMINFO_*``, include/uapi/linux/sock_diag.h)."""
    words = struct.unpack_from(f"<{len(payload) // 4}I", payload)
    places = {"rcvbuf_bytes": 1, "sndbuf_bytes": 3, "drops": 8}
    return {name: words[place] for name, place in places.items() if place < len(words)}
