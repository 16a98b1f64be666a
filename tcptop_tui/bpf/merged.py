"""One table from a reading of the map and a dump, each byte moved once.

100,000 rows are 30 MB, of which whatever is copied is fetched from memory: they are made in parts that
stay in the CPU's cache until they are where they belong.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.bpf.compared import Compared
from tcptop_tui.bpf.complete import own
from tcptop_tui.bpf.entries import NOWHERE, Entries
from tcptop_tui.bpf.rooms import Rooms
from tcptop_tui.records import Flag, Mask, Rows, overwrite, picked, table_rows, widened

_PART = 2048
"""Rows: 600 KB."""


def merged(dump: Compared, alone: Mask, conns: Rows, entries: Entries, rooms: Rooms) -> Rows:
    """Those of ``dump`` that are ``alone``, and ``entries``: dtype ROW, sorted by ``id``.

    Args:
        conns: the reading that the entries are of, dtype CONN
    """
    places = dump.order[alone[dump.order]]
    to = _ranks(np.concatenate([dump.ids[places], entries.ids]))
    rows = rooms.take(len(to))
    to_dumped, to_entries = np.split(to, [len(places)])
    for part in _parts(len(places)):
        overwrite(rows, to_dumped[part], widened(picked(dump.rows, places[part])))
    for part in _parts(len(entries.ids)):
        made = table_rows(picked(conns, entries.which[part]))
        made["id"], made["skaddr"] = entries.ids[part], entries.skaddr[part]
        known = (entries.dumped[part] != NOWHERE) & (entries.born_ns[part] < dump.now_ns)  # ports are used again
        _fill(made, np.flatnonzero(known), dump.rows, entries.dumped[part][known])
        overwrite(rows, to_entries[part], made)
    return rows


def _parts(count: int) -> Iterator[slice]:
    for start in range(0, count, _PART):
        yield slice(start, start + _PART)


def _ranks(ids: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Where each one goes."""
    if (ids[1:] > ids[:-1]).all():
        return np.arange(len(ids))
    ranks = np.empty(len(ids), np.intp)
    ranks[np.argsort(ids)] = np.arange(len(ids))
    return ranks


def _fill(rows: Rows, which: NDArray[np.intp], dump: Rows, place: NDArray[np.intp]) -> None:
    """Take owner and gauges from the dump where the map has not seen them or less of them."""
    if not len(which):
        return
    other, mine = picked(dump, place), rows if len(which) == len(rows) else picked(rows, which)
    unowned = np.flatnonzero(mine["pid"] == 0)
    own(mine, unowned, other, unowned)
    for name in ("cgroup", "srtt_us"):
        unknown = np.flatnonzero(mine[name] == 0)
        mine[name][unknown] = other[name][unknown]
    for name in ("tx_bytes", "rx_bytes", "retrans"):  # 0 where sock_diag does not know them
        np.maximum(mine[name], other[name], out=mine[name])
    mine["flags"] |= other["flags"] & Flag.GAUGES
    mine["accept_queue"], mine["backlog"] = other["accept_queue"], other["backlog"]
    if mine is not rows:
        overwrite(rows, which, mine)
