"""What the kernel knows of one connection: struct tcp_info and what sock_diag gives besides."""

from __future__ import annotations

import struct

import numpy as np

from tcptop_tui.diag.messages import INET_DIAG_INFO, MESSAGE
from tcptop_tui.diag.one import BY_FAMILY, NO_COOKIE, REQUEST, ask
from tcptop_tui.records import Rows

_INET_DIAG_CONG = 4

# struct tcp_info, include/uapi/linux/tcp.h: name, offset, format. Older kernels give less of it.
_FIELDS = (
    ("rto_us", 8, "I"), ("mss_bytes", 16, "I"), ("unacked", 24, "I"), ("lost", 32, "I"), ("pmtu_bytes", 60, "I"),
    ("rtt_us", 68, "I"), ("rttvar_us", 72, "I"), ("ssthresh", 76, "I"), ("cwnd", 80, "I"), ("reordering", 88, "I"),
    ("retrans", 100, "I"), ("pacing_bytes_s", 104, "Q"), ("bytes_acked", 120, "Q"), ("bytes_received", 128, "Q"),
    ("segs_out", 136, "I"), ("segs_in", 140, "I"), ("notsent_bytes", 144, "I"), ("min_rtt_us", 148, "I"),
    ("delivery_bytes_s", 160, "Q"), ("snd_wnd_bytes", 228, "I"),
)  # fmt: skip
_INFINITE = {"ssthresh": 0x7FFFFFFF, "min_rtt_us": 0xFFFFFFFF, "pacing_bytes_s": 2**64 - 1}
"""What stands for "none yet"."""


def internals(row: Rows) -> dict[str, int | str]:
    """By name, with the unit in it; what the kernel does not tell is not there.

    ``rx_queue_bytes`` and ``tx_queue_bytes`` are what the process has not read, and what the peer
    has not acknowledged (``inet_diag_msg``); ``congestion`` is the algorithm's name.

    Args:
        row: dtype ROW, shape (1,).

    Raises:
        OSError: there is no such socket any more, or it cannot be asked for.
    """
    wanted = 1 << (INET_DIAG_INFO - 1) | 1 << (_INET_DIAG_CONG - 1)
    answer = ask(row, BY_FAMILY, REQUEST, int(row["cookie"][0]) or NO_COOKIE, wanted)
    size = struct.unpack_from("<I", answer)[0]
    message = np.frombuffer(answer, MESSAGE, 1)[0]
    rx_queue, tx_queue = int(message["rqueue"]), int(message["wqueue"])
    found: dict[str, int | str] = {"rx_queue_bytes": rx_queue, "tx_queue_bytes": tx_queue}
    at = MESSAGE.itemsize
    while at + 4 <= size:
        length, kind = struct.unpack_from("<HH", answer, at)
        payload = answer[at + 4 : at + length]
        if kind == INET_DIAG_INFO:
            found |= _info(payload)
        elif kind == _INET_DIAG_CONG:
            found["congestion"] = payload.split(b"\0", 1)[0].decode(errors="replace")
        at += max(4, (length + 3) & ~3)
    return found


def _info(payload: bytes) -> dict[str, int | str]:
    found: dict[str, int | str] = {}
    for name, offset, form in _FIELDS:
        if offset + struct.calcsize(form) <= len(payload):
            (value,) = struct.unpack_from("<" + form, payload, offset)
            if value < _INFINITE.get(name, 2**64):
                found[name] = value
    return found
