"""What a comparison with sock_diag needs of the map's entries, and of those that have ended: a third of each."""

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

CARRIED_INTO_TIME_WAIT = [
    "pid", "start_ticks", "uid", "comm", "born_ns", "tx_bytes", "rx_bytes", "srtt_us", "retrans", "cgroup", "mntns",
]  # fmt: skip
"""What TIME_WAIT has forgotten, and is still true."""

ENDED_DIGEST = np.dtype(
    [
        ("hash", "<u8"),  # identity.tuple_hash
        *((name, ENDED[name]) for name in CARRIED_INTO_TIME_WAIT),
        ("state_ns", "<u8"),  # of its CLOSE
        ("half_ns", "<u8"),  # when its FIN_WAIT2 began that ended with CLOSE; 0: not seen
        ("flags", "u1"),
        ("id", "<u8"),  # 0
    ]
)


def entry_digests(skaddr: NDArray[np.uint64], conns: Rows) -> Rows:
    """Copy entries, whose dtype begins as CONN does, into digests of dtype ENTRY_DIGEST."""
    made = _copy_fields(conns, ENTRY_DIGEST, entry_key(conns))
    made["skaddr"] = skaddr
    return made


def ended_digests(ended: Rows) -> Rows:
    """Copy rows of dtype ENDED into digests of dtype ENDED_DIGEST."""
    made = _copy_fields(ended, ENDED_DIGEST, tuple_hash(ended))
    made["id"] = made["half_ns"] = 0
    return made


def _copy_fields(rows: Rows, dtype: np.dtype[Any], keys: NDArray[np.uint64]) -> Rows:
    made = np.empty(len(rows), dtype)
    made["hash"] = keys
    for name in {*(dtype.names or ())} - {"hash", "skaddr", "id", "half_ns"}:
        made[name] = rows[name]
    return made
