"""The part of an entry, and of an ended connection, that reconciling needs: a third of each.

Digests of all entries are read right after a dump and compared with it. Digests of ended connections wait for the dump
that has their TIME_WAIT sockets.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.reconcile.inode_keys import entry_key
from tcptop_tui.records import ENDED, Rows
from tcptop_tui.stream.identity import tuple_hash

ENTRY_DIGEST = np.dtype(
    [
        ("skaddr", "<u8"),
        ("hash", "<u8"),  # inode_keys.entry_key
        ("state_ns", "<u8"),
        ("netns", "<u4"),
        ("pid", "<u4"),
        ("start_ticks", "<u4"),
        ("mntns", "<u4"),
        ("uid", "<u4"),
        ("lport", "<u2"),
        ("state", "u1"),
        ("flags", "u1"),
        ("comm", "S16"),
    ]
)
"""What is compared with a dump, 64 bytes."""

CARRIED_INTO_TIME_WAIT = [
    "pid", "start_ticks", "uid", "comm", "born_ns", "tx_bytes", "rx_bytes", "srtt_us", "retrans", "cgroup", "mntns",
]  # fmt: skip
"""Fields that a TIME_WAIT socket has forgotten, and that are still true of it."""

ENDED_DIGEST = np.dtype(
    [
        ("hash", "<u8"),  # identity.tuple_hash
        *((name, ENDED[name]) for name in CARRIED_INTO_TIME_WAIT),
        ("state_ns", "<u8"),  # time of its CLOSE
        ("half_ns", "<u8"),  # when the FIN_WAIT2 began that ended with CLOSE; 0: not seen
        ("flags", "u1"),
        ("id", "<u8"),  # 0: its TIME_WAIT socket does not inherit one
    ]
)
"""What a TIME_WAIT socket takes over from its connection."""


def entry_digests(skaddr: NDArray[np.uint64], conns: Rows) -> Rows:
    """Copy entries, whose dtype begins as CONN does, into digests of dtype ENTRY_DIGEST."""
    digests = _copy_fields(conns, ENTRY_DIGEST, entry_key(conns))
    digests["skaddr"] = skaddr
    return digests


def ended_digests(ended: Rows) -> Rows:
    """Copy ended connections (dtype ENDED) into digests of dtype ENDED_DIGEST."""
    digests = _copy_fields(ended, ENDED_DIGEST, tuple_hash(ended))
    digests["id"] = digests["half_ns"] = 0
    return digests


def _copy_fields(rows: Rows, dtype: np.dtype[Any], hashes: NDArray[np.uint64]) -> Rows:
    """New rows of ``dtype`` with the fields that ``rows`` have; the others are undefined."""
    digests = np.empty(len(rows), dtype)
    digests["hash"] = hashes
    for name in {*(dtype.names or ())} - {"hash", "skaddr", "id", "half_ns"}:
        digests[name] = rows[name]
    return digests
