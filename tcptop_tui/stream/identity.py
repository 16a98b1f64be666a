"""Which rows of different origin are the same connection, and which are wanted at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import Mask, Rows, speaks_ipv4
from tcptop_tui.row_copy import chunks
from tcptop_tui.stream.batches import Capture

# the finalizer of splitmix64: every input bit reaches every output bit
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_PART = 8192
"""Rows whose columns stay in the CPU's cache until their number is made."""

_LINK_LOCAL = np.uint64(0xFE80 >> 6)
"""The first ten bits of fe80::/10."""

_STEP = np.uint64(0x9E3779B97F4A7C15)


def _mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = (value ^ (value >> np.uint64(30))) * _MIX[0]
    value = (value ^ (value >> np.uint64(27))) * _MIX[1]
    return value ^ (value >> np.uint64(31))


def pair_hash(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One 64-bit number for two, shape (n, 2) to (n,); see ``tuple_hash`` for how often two pairs share one."""
    return _mixed(_mixed(words[:, 0] + _STEP) ^ words[:, 1])


def is_link_local(addresses: NDArray[np.uint64]) -> Mask:
    """Which of ``addresses``, shape (n, 2), are link-local: another host's on each link (RFC 4007)."""
    near: Mask = addresses[:, 0].astype("<u8") >> np.uint64(54) == _LINK_LOCAL
    return near


def link_ids(rows: Rows, name: str, which: NDArray[np.intp] | slice = slice(None)) -> NDArray[np.uint64]:
    """Namespace and device of each link-local address in field ``name`` of the rows ``which``, as one number.

    0 where the address is of another kind, or the socket is bound to no device; shape (n,).
    """
    dev = rows["dev"][which].astype("<u8")
    near = np.flatnonzero(is_link_local(rows[name][which]) & (dev != 0))
    found = np.zeros(len(dev), np.uint64)
    found[near] = rows["netns"][which][near].astype("<u8") << np.uint64(32) | dev[near]
    return found


def mix_into(keys: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """``keys``, but other ones where ``others`` is not 0, in place."""
    which = np.flatnonzero(others)
    if len(which):
        keys[which] = _mixed(keys[which] ^ _mixed(others[which]))
    return keys


def peer_hash(rows: Rows, which: NDArray[np.intp] | slice = slice(None)) -> NDArray[np.uint64]:
    """One 64-bit number for the host at the other end of each of the rows ``which``, shape (n,).

    It is of its address, and of the link if that is link-local and the socket is bound to one.
    """
    return mix_into(pair_hash(rows["raddr"][which].astype("<u8")), link_ids(rows, "raddr", which))


def process_key(rows: Rows) -> NDArray[np.uint64]:
    """One 64-bit number for the process of each row (dtype ROW, or its pid, start_ticks and comm), shape (n,).

    A PID and when its process started are nobody else's; a name may be that of many, and changes. Where the PID is
    not known the name is all that there is.
    """
    words = np.zeros((len(rows), 2), "<u8")
    words[:, 0] = rows["pid"].astype("<u8") << np.uint64(32) | rows["start_ticks"]
    unknown = np.flatnonzero(rows["pid"] == 0)
    words[unknown] = np.ascontiguousarray(rows["comm"][unknown]).view("<u8").reshape(-1, 2)
    return pair_hash(words)


def tuple_hash(rows: Rows) -> NDArray[np.uint64]:
    """One 64-bit number for (netns, addresses, ports, device) of each row, shape (n,).

    These are what the kernel tells sockets apart by (``inet_match()``, include/net/inet_hashtables.h):
    two that are bound to two devices may have the same addresses and ports. ``rows`` has these fields
    whatever its dtype. Two of 100,000 different connections get the same number with a probability of 3e-10.
    """
    return _in_chunks(_tuple_hash, rows)


def tuple_hash_any_device(rows: Rows) -> NDArray[np.uint64]:
    """The same without the device, which setsockopt() may change at any time."""
    return _in_chunks(_ends_hash, rows)


def _tuple_hash(rows: Rows) -> NDArray[np.uint64]:
    return _with_device(_ends_hash(rows), rows["dev"])


def _with_device(numbers: NDArray[np.uint64], dev: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Most sockets are bound to no device: their numbers stay as they are."""
    bound = np.flatnonzero(dev)
    if len(bound):
        numbers[bound] = _mixed((numbers[bound] ^ dev[bound].astype("<u8")) + _STEP)
    return numbers


def _in_chunks(number: Callable[[Rows], NDArray[np.uint64]], rows: Rows) -> NDArray[np.uint64]:
    numbers = np.empty(len(rows), "<u8")
    for start in range(0, len(rows), _PART):
        numbers[start : start + _PART] = number(rows[start : start + _PART])
    return numbers


def _ends_hash(rows: Rows) -> NDArray[np.uint64]:
    ports = rows["netns"].astype("<u8") << np.uint64(32)
    ports |= rows["lport"].astype("<u8") << np.uint64(16)
    ports |= rows["rport"].astype("<u8")
    mixed = _mixed(ports + _STEP)
    for name in ("laddr", "raddr"):
        words = rows[name].astype("<u8")
        for word in (words[:, 0], words[:, 1]):
            mixed = _mixed((mixed ^ word) + _STEP)
    return mixed


def connection_key(rows: Rows) -> NDArray[np.uint64]:
    """One 64-bit number for a connection, shape (n,): addresses and ports are used again, at another time.

    Where the birth was seen, it tells connections on two devices apart as well. The device is left out there,
    because a connection that is bound to another device is still the same one.
    """
    return _in_chunks(_life, rows)


def _life(rows: Rows) -> NDArray[np.uint64]:
    born_ns = rows["born_ns"]
    return key_with_birth(_with_device(_ends_hash(rows), np.where(born_ns == 0, rows["dev"], 0)), born_ns)


def socket_key(rows: Rows) -> NDArray[np.uint64]:
    """One 64-bit number for a socket address and its birth, shape (n,): addresses are used again, lives are not."""
    return key_with_birth(rows["skaddr"], rows["born_ns"])


def key_with_birth(keys: NDArray[np.uint64], born_ns: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One 64-bit number for what a number stands for, and when it began; shape (n,), as both."""
    return keys ^ (born_ns * _STEP)


def cookie_key(rows: Rows) -> NDArray[np.uint64]:
    """One 64-bit number for a socket by the kernel's own number of it, shape (n,); 0 where it has none.

    A cookie is unique in its network namespace only, up to Linux 5.10 (``net->cookie_gen`` in
    ``__sock_gen_cookie``, net/core/sock_diag.c).
    """
    return _in_chunks(_cookie_key, rows)


def _cookie_key(rows: Rows) -> NDArray[np.uint64]:
    key = _mixed(rows["cookie"].astype("<u8") + (rows["netns"].astype("<u8") << np.uint64(32)))
    key[rows["cookie"] == 0] = 0
    return key


@dataclass(frozen=True, slots=True)
class KeyIndex:
    """Rows that can be found by a 64-bit key; of equal keys the first row counts.

    Many keys are looked for in their order: 100,000 among 100,000 then take 5 ms instead of 15.
    """

    keys: NDArray[np.uint64]
    order: NDArray[np.intp]

    @classmethod
    def from_keys(cls, keys: NDArray[np.uint64], rows: NDArray[np.intp] | None = None) -> KeyIndex:
        """Those of ``keys``, shape (n,), or only the rows with these numbers, ascending."""
        if rows is not None:
            keys = keys[rows]
        order = np.argsort(keys)
        ordered = keys[order]
        if (ordered[1:] == ordered[:-1]).any():  # five times as slow, and seldom needed
            order = np.argsort(keys, kind="stable")
        return cls(ordered, order if rows is None else rows[order])

    def find(self, wanted: NDArray[np.uint64]) -> tuple[NDArray[np.intp], Mask]:
        """Row for each of ``wanted``, and which of them were found (row 0 stands in elsewhere)."""
        place, there = np.zeros(len(wanted), np.intp), np.zeros(len(wanted), np.bool_)
        for part in chunks(np.argsort(wanted), _PART) if len(self.keys) else ():
            sought = wanted[part]
            found = np.minimum(np.searchsorted(self.keys, sought), len(self.keys) - 1)
            place[part], there[part] = self.order[found], self.keys[found] == sought
        return place, there

    def spread_to_duplicates(self, chosen: Mask) -> None:
        """Where the first row of a key is ``chosen``, shape (n,), choose the others of that key as well."""
        again = np.flatnonzero(self.keys[1:] == self.keys[:-1]) + 1
        if len(again):
            first = np.searchsorted(self.keys, self.keys[again])
            chosen[self.order[again]] |= chosen[self.order[first]]

    def mask_of(self, wanted: NDArray[np.uint64]) -> Mask:
        """Which of the rows, all of them, have one of the keys ``wanted``, shape (n,)."""
        there = np.zeros(len(self.keys), np.bool_)
        wanted = np.sort(wanted)
        first = np.searchsorted(self.keys, wanted)
        count = np.searchsorted(self.keys, wanted, "right") - first
        # of each key its first row and those behind it
        behind = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        there[self.order[np.repeat(first, count) + behind]] = True
        return there


def endpoints_mask(rows: Rows, capture: Capture) -> Mask:
    """Which rows have addresses and ports that the capture filter wants; a local port not known yet passes."""
    wanted = np.ones(len(rows), np.bool_)
    if capture.lports:
        wanted &= np.isin(rows["lport"], [0, *capture.lports])
    if capture.rports:
        wanted &= np.isin(rows["rport"], [*capture.rports])
    if capture.ip:
        wanted &= speaks_ipv4(rows) == (capture.ip == 4)
    return wanted


def process_mask(rows: Rows, capture: Capture, *, unknown: bool = True) -> Mask:
    """Which rows have a process that the capture filter wants, or, if ``unknown``, one that is not known."""
    if not capture.pids:
        return np.ones(len(rows), np.bool_)
    return np.isin(rows["pid"], [*capture.pids, *range(unknown)])
