"""What the kernel could not know when it wrote an event, filled in from the table and from later events."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.reconcile.inode_keys import PORT_CHOOSING_STATES
from tcptop_tui.records import IPV4_MAPPED, ROW, Flag, Mask, Rows, State
from tcptop_tui.row_copy import picked
from tcptop_tui.stream.identity import KeyIndex, socket_key, tuple_hash

_TUPLE = np.dtype([(name, ROW[name]) for name in ("netns", "dev", "laddr", "raddr", "lport", "rport")])
"""What ``tuple_hash`` asks for."""
_OWNER_FIELDS = {"pid", "start_ticks", "comm", "mntns"}


def copy_owner(rows: Rows, which: Mask | NDArray[np.intp], source: Rows, place: Mask | NDArray[np.intp]) -> None:
    """Give ``which`` of ``rows`` the owners of rows ``place`` of ``source`` (dtype ROW)."""
    for name in _OWNER_FIELDS.intersection(rows.dtype.names or ()):
        rows[name][which] = source[name][place]


def _owned_by_listener(rows: Rows) -> Mask:
    """Of which the process is their listener's, as far as the kernel side knows: another one may have accepted them."""
    passive: Mask = (rows["flags"] & (Flag.PASSIVE | Flag.OWNER_SURE)) == Flag.PASSIVE
    return passive


class OwnerIndex:
    """Who owns what, by one table; indexed when it is first asked.

    Args:
        table: dtype ROW.
    """

    def __init__(self, table: Rows) -> None:
        self.table = table

    def find(self, rows: Rows) -> tuple[NDArray[np.intp], Mask]:
        """Row of the table for each of ``rows`` (dtype TRANSITION or ENDED), and which of them were found.

        By socket and birth; a socket that had been quiet since before our time is in the table by its
        addresses and ports only.
        """
        place, found = self._by_socket.find(socket_key(rows))
        quiet = np.flatnonzero(~found & (rows["born_ns"] == 0))
        if len(quiet):
            place[quiet], found[quiet] = self._by_tuple.find(tuple_hash(rows[quiet]))
        return place, found

    def find_accepted(self, rows: Rows) -> tuple[NDArray[np.intp], Mask]:
        """The same of accepted ones that nobody has been seen with: few, even where there are many connections."""
        return self._accepted.find(socket_key(rows))

    @cached_property
    def _accepted(self) -> KeyIndex:
        return KeyIndex.from_keys(socket_key(self.table), np.flatnonzero(_owned_by_listener(self.table)))

    @cached_property
    def _by_socket(self) -> KeyIndex:
        return KeyIndex.from_keys(socket_key(self.table), np.flatnonzero(self.table["skaddr"] != 0))

    @cached_property
    def _by_tuple(self) -> KeyIndex:
        return KeyIndex.from_keys(tuple_hash(self.table))


class ListenerIndex:
    """Who accepts where, by a survey.

    An accepted socket is its listener's until somebody is seen with it. The kernel side says so itself of listeners
    that it knows; who listened before its start it learns from the first survey.

    Args:
        rows: dtype ROW, in LISTEN.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._index = KeyIndex.from_keys(_listener_key(rows, rows["laddr"], rows["dev"]))
        again = np.flatnonzero(self._index.keys[1:] == self._index.keys[:-1])
        several = np.zeros(len(rows), np.bool_)
        several[self._index.order[again]] = several[self._index.order[again + 1]] = True
        self._single_owner = (rows["pid"] != 0) & (rows["holders"] <= 1) & ~several
        """Of which it can be only one process that accepts."""

    def fill_owners(self, rows: Rows) -> None:
        """Give accepted ones (dtype TRANSITION or ENDED) without a process their listener's, in place.

        As the kernel finds the listener (``__inet_lookup_listener``, net/ipv4/inet_hashtables.c): the one at the
        address, then the one at all IPv4 addresses, then the one at all; bound to the device first. Where several
        are bound alike (SO_REUSEPORT), or several processes have it open, it is not known which one accepts.
        """
        left = np.flatnonzero((rows["pid"] == 0) & ((rows["flags"] & Flag.PASSIVE) != 0))
        if not len(left) or not len(self._rows):
            return
        asked = picked(rows, left)
        undecided = np.ones(len(left), np.bool_)
        for laddr in (asked["laddr"], _ANY_IPV4, _ANY):
            for dev in (asked["dev"], 0):
                place, found = self._index.find(_listener_key(asked, laddr, dev))
                found &= undecided
                undecided &= ~found
                accepted = found & self._single_owner[place]
                copy_owner(rows, left[accepted], self._rows, place[accepted])


_ANY_IPV4 = np.array([0, IPV4_MAPPED], ">u8")
_ANY = np.zeros(2, ">u8")


def _listener_key(rows: Rows, laddr: NDArray[np.uint64], dev: NDArray[np.uint32] | int) -> NDArray[np.uint64]:
    """One 64-bit number for the network namespace and port of each row and this address and device, shape (n,)."""
    made = np.zeros(len(rows), _TUPLE)
    made["netns"], made["lport"], made["laddr"], made["dev"] = rows["netns"], rows["lport"], laddr, dev
    return tuple_hash(made)


def fill_transitions(moved: Rows, known: OwnerIndex) -> Rows:
    """Fill in owners and local ports, in place; dtype TRANSITION.

    The owner of a socket from before our time is ``known``. Some local ports are chosen after the event
    (``inode_keys.py``), and an accepted socket's device (``read_endpoints`` in ``c/sockets.c``); the same socket's next
    transition has it.
    """
    fill_owners(moved, known)
    portless = moved["lport"] == 0
    if portless.any():
        _fill_ports(moved, np.flatnonzero(portless))
    if moved["dev"].any():
        _fill_devices(moved)
    return moved


def fill_owners(rows: Rows, known: OwnerIndex) -> Rows:
    """Give rows (dtype TRANSITION or ENDED) that nobody was seen with the process that is known, in place."""
    for asked, find in ((rows["pid"] == 0, known.find), (_owned_by_listener(rows), known.find_accepted)):
        which = np.flatnonzero(asked)
        if len(which):
            place, found = find(picked(rows, which))
            copy_owner(rows, which[found], known.table, place[found])
    return rows


def _fill_devices(moved: Rows) -> None:
    accepted = np.flatnonzero(moved["oldstate"] == State.LISTEN)
    lives = socket_key(moved)
    place, same = KeyIndex.from_keys(lives, np.flatnonzero(moved["oldstate"] == State.SYN_RECV)).find(lives[accepted])
    moved["dev"][accepted[same]] = moved["dev"][place[same]]


def _fill_ports(moved: Rows, portless: NDArray[np.intp]) -> None:
    lives = socket_key(moved)
    after = np.flatnonzero(np.isin(moved["oldstate"], PORT_CHOOSING_STATES) & (moved["lport"] != 0))
    place, same = KeyIndex.from_keys(lives, after).find(lives[portless])
    moved["lport"][portless[same]] = moved["lport"][place[same]]
