"""The different process names among very many rows, and filters for one of many."""

from __future__ import annotations

import secrets

import numpy as np
from numpy.typing import NDArray

from tcptop_tui import safe_text
from tcptop_tui.filters.lexer import quoted

_BUCKET_BITS = 16


def distinct_names(names: NDArray[np.bytes_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """One row for each different name, and for each row the one that has its name.

    Faster than ``np.unique``, which sorts: names are hashed into buckets, the row that happens to
    stay in a bucket leads it, and rows whose name differs from their leader's go into another round
    with another hash. The hashes are drawn anew each time, because anybody may name a process so
    that it falls into one bucket with the others.

    Args:
        names: dtype S16, shape (n,).

    Returns:
        Indices of the leaders, ascending; index of the leader of each row, shape (n,).
    """
    words = np.ascontiguousarray(names).view(np.uint64).reshape(-1, 2).T.copy()
    leader_of = np.empty(len(names), np.intp)
    buckets = np.empty(1 << _BUCKET_BITS, np.intp)
    rest = np.arange(len(names))
    while len(rest):
        high, low = words[:, rest]
        bucket = _hashed(high, low)
        buckets[bucket] = rest
        leader = buckets[bucket]
        same = (words[0, leader] == high) & (words[1, leader] == low)
        leader_of[rest[same]] = leader[same]
        rest = rest[~same]
    return np.flatnonzero(leader_of == np.arange(len(names))), leader_of


def _hashed(high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.intp]:
    """A bucket for each pair: multiply, shift and mix with odd factors nobody can foresee."""
    factors = np.frombuffer(secrets.token_bytes(24), np.uint64) | np.uint64(1)
    mixed = high * factors[0]
    mixed ^= mixed >> np.uint64(32)
    mixed += low * factors[1]
    mixed ^= mixed >> np.uint64(32)
    mixed *= factors[2]
    bucket: NDArray[np.intp] = (mixed >> np.uint64(64 - _BUCKET_BITS)).astype(np.intp)
    return bucket


def destination_filter(where: str, port: int) -> str:
    """The filter that shows what went to this address (as ``formats.peer`` writes it) and port.

    Somebody may connect to port 0, where nobody can listen; in the filter language no port is called 0.
    """
    return f"raddr:{where} " + (f"rport:{port}" if port else "!rport>0")


def process_filter(pid: int, comm: bytes) -> str:
    """The filter that shows one process: by its PID, or by its name where that is all that is known; else ""."""
    name = safe_text.clean(comm)
    # a name that had to be cleaned cannot be written in a filter
    named = quoted(name) if name.encode() == comm else ""
    return f"pid:{pid}" if pid else f"comm={named}" if named else ""
