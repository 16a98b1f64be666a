"""The map's entries as a comparison with sock_diag needs them: 100,000 whole ones are 27 MB."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import Rows
from tcptop_tui.source.identity import tuple_hash

MET = np.dtype(
    [
        ("skaddr", "<u8"),
        ("hash", "<u8"),  # identity.tuple_hash
        ("state_ns", "<u8"),
        ("netns", "<u4"),
        ("pid", "<u4"),
        ("mntns", "<u4"),
        ("lport", "<u2"),
        ("state", "u1"),
        ("comm", "S16"),
    ]
)
_TAKEN = [name for name in MET.names or () if name not in {"skaddr", "hash"}]


def met(skaddr: NDArray[np.uint64], conns: Rows) -> Rows:
    """Dtype MET, of entries of a dtype that begins as CONN does; a copy."""
    made = np.empty(len(conns), MET)
    made["skaddr"], made["hash"] = skaddr, tuple_hash(conns)
    for name in _TAKEN:
        made[name] = conns[name]
    return made
