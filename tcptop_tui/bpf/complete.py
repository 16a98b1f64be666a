"""What the kernel could not know when it wrote an event, filled in from the table and from later events."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import Mask, Rows
from tcptop_tui.source.identity import tuple_hash


def complete_transitions(moved: Rows, table: Rows) -> Rows:
    """Fill in owners and local ports, in place; dtype TRANSITION.

    The owner of a socket from before our time comes from ``table`` (dtype ROW). The local port of
    SYN_SENT is chosen after the event (``tcp_v4_connect``, net/ipv4/tcp_ipv4.c); the same
    connection's next transition has it.
    """
    complete_owners(moved, table)
    portless = moved["lport"] == 0
    if portless.any():
        _port_from(moved, portless, moved[~portless])
    return moved


def complete_owners(rows: Rows, table: Rows) -> Rows:
    """Give rows (dtype TRANSITION or SESSION) without a process that of their connection in ``table``, in place.

    By socket and birth; a socket that had been quiet since before our time is in the table by its
    addresses and ports only.
    """
    unowned = np.flatnonzero(rows["pid"] == 0)
    if not len(unowned) or not len(table):
        return rows
    wanted = rows[unowned]
    place, found = _find(table["skaddr"] ^ table["born_ns"], wanted["skaddr"] ^ wanted["born_ns"])
    quiet, same = _find(tuple_hash(table), tuple_hash(wanted))
    same &= ~found & (wanted["born_ns"] == 0)
    place[same] = quiet[same]
    found |= same
    for name in {"pid", "comm", "mntns"}.intersection(rows.dtype.names or ()):
        rows[name][unowned[found]] = table[name][place[found]]
    return rows


def agree_on_owners(rows: Rows, conns: Rows) -> None:
    """Give each connection one owner on both sides, in place: the map's, which has seen it, else the dump's.

    Args:
        rows: of a dump, dtype ROW.
        conns: entries of the map, dtype CONN.
    """
    if not len(rows) or not len(conns):
        return
    place, found = _find(tuple_hash(conns), tuple_hash(rows))
    seen = found & (conns["pid"][place] != 0)
    rows["pid"][seen] = conns["pid"][place[seen]]
    place, found = _find(tuple_hash(rows), tuple_hash(conns))
    unseen = found & (conns["pid"] == 0)
    conns["pid"][unseen] = rows["pid"][place[unseen]]


def _find(keys: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> tuple[NDArray[np.intp], Mask]:
    """Where each of ``wanted`` stands in ``keys`` (not empty), and which of them do."""
    order = np.argsort(keys, kind="stable")
    place = order[np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)]
    return place, keys[place] == wanted


def _port_from(moved: Rows, portless: Mask, others: Rows) -> None:
    if not len(others):
        return
    place, same = _find(others["skaddr"] ^ others["born_ns"], (moved["skaddr"] ^ moved["born_ns"])[portless])
    moved["lport"][np.flatnonzero(portless)[same]] = others["lport"][place[same]]
