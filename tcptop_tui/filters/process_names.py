"""Finds the distinct process names of many rows, and writes the filter for a process or a destination."""

from __future__ import annotations

import secrets

import numpy as np
from numpy.typing import NDArray

from tcptop_tui import safe_text
from tcptop_tui.filters.lexer import quoted

_BUCKET_BITS = 16


def distinct_names(names: NDArray[np.bytes_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Choose one row, the leader, for each distinct name.

    It is faster than ``np.unique``, which sorts. Names are hashed into buckets. The row that was written last into a
    bucket leads it, and rows whose name differs from their leader's go into another round with another hash. The
    factors of the hash are random, because a stranger may choose names that would all be in one bucket.

    Args:
        names: dtype S16, shape (n,).

    Returns:
        Indices of the leaders, ascending, and for each row the index of its leader, shape (n,).
    """
    words = np.ascontiguousarray(names).view(np.uint64).reshape(-1, 2).T.copy()
    leader_of = np.empty(len(names), np.intp)
    buckets = np.empty(1 << _BUCKET_BITS, np.intp)
    remaining = np.arange(len(names))
    while len(remaining):
        high, low = words[:, remaining]
        bucket = _hash(high, low)
        buckets[bucket] = remaining
        leader = buckets[bucket]
        has_same_name = (words[0, leader] == high) & (words[1, leader] == low)
        leader_of[remaining[has_same_name]] = leader[has_same_name]
        remaining = remaining[~has_same_name]
    return np.flatnonzero(leader_of == np.arange(len(names))), leader_of


def _hash(high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.intp]:
    """A bucket for each pair of words: multiply, shift and mix with odd factors that nobody can foresee."""
    factors = np.frombuffer(secrets.token_bytes(24), np.uint64) | np.uint64(1)
    mixed = high * factors[0]
    mixed ^= mixed >> np.uint64(32)
    mixed += low * factors[1]
    mixed ^= mixed >> np.uint64(32)
    mixed *= factors[2]
    bucket: NDArray[np.intp] = (mixed >> np.uint64(64 - _BUCKET_BITS)).astype(np.intp)
    return bucket


def destination_filter(address: str, port: int) -> str:
    """The filter for connections to an address, as ``formats.peer_address`` writes it, and a port.

    A process may connect to port 0, where nobody can listen. The filter language has no port 0, so that it takes what
    has no larger port.
    """
    return f"raddr:{address} " + (f"rport:{port}" if port else "!rport>0")


def process_filter(pid: int, comm: bytes) -> str:
    """The filter for one process: by PID, or by name where the PID is unknown; empty where neither can be written."""
    name = safe_text.clean(comm)
    # a name with characters that had to be cleaned cannot be written in a filter
    value = quoted(name) if name.encode() == comm else ""
    return f"pid:{pid}" if pid else f"comm={value}" if value else ""
