"""Local ports of connects that nobody has answered yet.

connect() chooses the port after SYN_SENT was announced (``tcp_v4_connect``, net/ipv4/tcp_ipv4.c), and
until the first retransmit nothing else fires. sock_diag knows the port meanwhile: without it the
same connection would stand in the table twice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import Rows, State, picked
from tcptop_tui.source.identity import tuple_hash

_STEP = np.uint64(0x9E3779B97F4A7C15)


def adopt_ports(mapped: Rows, dump: Rows, taken: NDArray[np.uint64]) -> bool:
    """Give entries of the map in SYN_SENT their local end, in place, from the same process's in ``dump``.

    Several connects of one process to one place are paired in their order: what tells them apart is nowhere
    to be had.

    Args:
        mapped: dtype CONN or ROW.
        dump: dtype ROW.
        taken: ``identity.tuple_hash`` of other entries of the map.

    Returns:
        Whether any was given one.
    """
    portless = np.flatnonzero((mapped["lport"] == 0) & (mapped["state"] == State.SYN_SENT))
    if not len(portless):
        return False
    waiting = np.flatnonzero(dump["state"] == State.SYN_SENT)
    taken = np.concatenate([taken, tuple_hash(picked(mapped, mapped["lport"] != 0))])
    waiting = waiting[~np.isin(tuple_hash(picked(dump, waiting)), taken)]
    ours, theirs = _numbered(picked(mapped, portless)), _numbered(picked(dump, waiting))
    _, one, other = np.intersect1d(ours, theirs, return_indices=True)
    for name in ("lport", "laddr"):
        mapped[name][portless[one]] = dump[name][waiting[other]]
    return len(one) > 0


def _numbered(rows: Rows) -> NDArray[np.uint64]:
    """A number for process, remote end and how many with these came before."""
    blank = rows.copy()
    blank["lport"], blank["laddr"] = 0, 0
    keys = tuple_hash(blank) ^ (rows["pid"].astype(np.uint64) * _STEP)
    order = np.lexsort((rows["state_ns"], keys))
    ordered = keys[order]
    rank = np.arange(len(keys)) - np.searchsorted(ordered, ordered)
    numbered: NDArray[np.uint64] = np.zeros(len(keys), np.uint64)
    numbered[order] = ordered + rank.astype(np.uint64) * _STEP
    return numbered
