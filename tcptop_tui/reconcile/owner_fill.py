"""Owners, ports and devices that the kernel could not know when it wrote an event.

They are filled in from the table, from the listeners of the latest dump, and from later events of the same batch.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.reconcile.inode_keys import PORT_CHOOSING_STATES
from tcptop_tui.records import IPV4_MAPPED, ROW, Flag, Mask, Rows, State
from tcptop_tui.row_copy import picked
from tcptop_tui.stream.identity import KeyIndex, socket_key, tuple_hash

_TUPLE = np.dtype([(name, ROW[name]) for name in ("netns", "dev", "laddr", "raddr", "lport", "rport")])
"""The fields that ``tuple_hash`` reads."""
_OWNER_FIELDS = {"pid", "start_ticks", "comm", "mntns"}


def copy_owner(
    rows: Rows, row_index: Mask | NDArray[np.intp], source: Rows, source_row: Mask | NDArray[np.intp]
) -> None:
    """Give rows ``row_index`` of ``rows`` the owners of rows ``source_row`` of ``source``, in place.

    The fields of an owner that ``rows`` do not have are left out.
    """
    for name in _OWNER_FIELDS.intersection(rows.dtype.names or ()):
        rows[name][row_index] = source[name][source_row]


def _owned_by_listener(rows: Rows) -> Mask:
    """Accepted sockets that have their listener's owner, because none was seen with them: another may have accepted."""
    is_unsure: Mask = (rows["flags"] & (Flag.PASSIVE | Flag.OWNER_SURE)) == Flag.PASSIVE
    return is_unsure


class OwnerIndex:
    """Finds owners by one table; an index is made when it is first needed.

    Args:
        table: dtype ROW.
    """

    def __init__(self, table: Rows) -> None:
        self.table = table

    def find(self, rows: Rows) -> tuple[NDArray[np.intp], Mask]:
        """Row of the table for each of ``rows`` (dtype TRANSITION or ENDED), and which of them have one.

        Sockets are found by their key. A socket that has had no event since before the start is in the table by its
        addresses and ports only.
        """
        table_row, matched = self._by_socket.find(socket_key(rows))
        from_before = np.flatnonzero(~matched & (rows["born_ns"] == 0))
        if len(from_before):
            table_row[from_before], matched[from_before] = self._by_tuple.find(tuple_hash(rows[from_before]))
        return table_row, matched

    def find_accepted(self, rows: Rows) -> tuple[NDArray[np.intp], Mask]:
        """The same for accepted sockets with their listener's owner: few, even where there are many connections."""
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
    """Finds the owners of listeners, by one dump.

    An accepted socket has its listener's owner until a process is seen with it. The kernel side fills that in itself
    for listeners that it knows. Owners of listeners from before the start it learns from the first dump.

    Args:
        listeners: rows in LISTEN, dtype ROW or DUMP_ROW.
    """

    def __init__(self, listeners: Rows) -> None:
        self._listeners = listeners
        self._index = KeyIndex.from_keys(_listener_key(listeners, listeners["laddr"], listeners["dev"]))
        repeated = np.flatnonzero(self._index.keys[1:] == self._index.keys[:-1])
        shares_address = np.zeros(len(listeners), np.bool_)
        shares_address[self._index.order[repeated]] = shares_address[self._index.order[repeated + 1]] = True
        self._has_single_owner = (listeners["pid"] != 0) & (listeners["holders"] <= 1) & ~shares_address
        """Whether only one process can accept."""

    def fill_owners(self, rows: Rows) -> None:
        """Give accepted sockets (dtype TRANSITION or ENDED) without an owner their listener's, in place.

        As the kernel finds the listener (``__inet_lookup_listener``, net/ipv4/inet_hashtables.c): the one at the
        address, then the one at all IPv4 addresses, then the one at all; bound to the device first. Where several
        are bound alike (SO_REUSEPORT), or several processes have it open, it is not known which one accepts.
        """
        ownerless = np.flatnonzero((rows["pid"] == 0) & ((rows["flags"] & Flag.PASSIVE) != 0))
        if not len(ownerless) or not len(self._listeners):
            return
        accepted = picked(rows, ownerless)
        undecided = np.ones(len(ownerless), np.bool_)
        for laddr in (accepted["laddr"], _ANY_IPV4, _ANY):
            for dev in (accepted["dev"], 0):
                listener_row, matched = self._index.find(_listener_key(accepted, laddr, dev))
                matched &= undecided
                undecided &= ~matched
                matched &= self._has_single_owner[listener_row]
                copy_owner(rows, ownerless[matched], self._listeners, listener_row[matched])


_ANY_IPV4 = np.array([0, IPV4_MAPPED], ">u8")
_ANY = np.zeros(2, ">u8")


def _listener_key(rows: Rows, laddr: NDArray[np.uint64], dev: NDArray[np.uint32] | int) -> NDArray[np.uint64]:
    """One 64-bit number for the network namespace and port of each row and this address and device, shape (n,)."""
    tuples = np.zeros(len(rows), _TUPLE)
    tuples["netns"], tuples["lport"], tuples["laddr"], tuples["dev"] = rows["netns"], rows["lport"], laddr, dev
    return tuple_hash(tuples)


def fill_transitions(transitions: Rows, owners: OwnerIndex) -> Rows:
    """Fill in owners, local ports and devices, in place.

    Some local ports are chosen after the event (``inode_keys.py``), and so is an accepted socket's device
    (``read_endpoints`` in ``c/sockets.c``). The same socket's next transition has them.

    Args:
        transitions: dtype TRANSITION.
        owners: by the latest table; it knows the owners of sockets from before the start.

    Returns:
        ``transitions``.
    """
    fill_owners(transitions, owners)
    is_portless = transitions["lport"] == 0
    if is_portless.any():
        _fill_ports(transitions, np.flatnonzero(is_portless))
    if transitions["dev"].any():
        _fill_devices(transitions)
    return transitions


def fill_owners(rows: Rows, owners: OwnerIndex) -> Rows:
    """Give rows (dtype TRANSITION or ENDED) that no process was seen with the table's owner, in place; returns them."""
    for lacks_owner, find in (
        (rows["pid"] == 0, owners.find),
        (_owned_by_listener(rows), owners.find_accepted),
    ):
        row_index = np.flatnonzero(lacks_owner)
        if len(row_index):
            table_row, matched = find(picked(rows, row_index))
            copy_owner(rows, row_index[matched], owners.table, table_row[matched])
    return rows


def _fill_devices(transitions: Rows) -> None:
    """Give transitions from LISTEN the device of the same socket's transition from SYN_RECV."""
    from_listen = np.flatnonzero(transitions["oldstate"] == State.LISTEN)
    from_syn_recv = np.flatnonzero(transitions["oldstate"] == State.SYN_RECV)
    keys = socket_key(transitions)
    later_row, matched = KeyIndex.from_keys(keys, from_syn_recv).find(keys[from_listen])
    transitions["dev"][from_listen[matched]] = transitions["dev"][later_row[matched]]


def _fill_ports(transitions: Rows, portless: NDArray[np.intp]) -> None:
    """Give ``portless`` transitions the local port of the same socket's next one."""
    has_chosen = np.isin(transitions["oldstate"], PORT_CHOOSING_STATES) & (transitions["lport"] != 0)
    keys = socket_key(transitions)
    later_row, matched = KeyIndex.from_keys(keys, np.flatnonzero(has_chosen)).find(keys[portless])
    transitions["lport"][portless[matched]] = transitions["lport"][later_row[matched]]
