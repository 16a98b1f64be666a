"""What the rows of a new dump inherit of the same sockets from before.

sock_diag knows neither ids nor owners nor births. A row takes them over from the same socket's row of the dump before
(same cookie). A timewait socket has forgotten nearly everything else as well; it takes over what its connection knew,
from the digest of the ended connection or from the latest table (same addresses and ports).

Names of row numbers: ``dump_row`` is a row of the new dump, ``source_row`` one of whatever it inherits from.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.diag.decode_rows import resolve_syn
from tcptop_tui.reconcile.dump_index import DumpIndex, DumpMatch, in_namespaces
from tcptop_tui.reconcile.entry_digests import CARRIED_INTO_TIME_WAIT
from tcptop_tui.reconcile.owner_fill import copy_owner
from tcptop_tui.records import Flag, HolderLookup, Mask, Rows, State
from tcptop_tui.row_copy import picked
from tcptop_tui.stream.identity import KeyIndex, tuple_hash

_INHERITED_FLAGS = Flag.GAUGES | Flag.ACTIVE | Flag.PASSIVE
"""Flags of a connection that are true of its timewait socket."""
_TIMER_SLACK_NS = 10**9
"""The start that a timer gives differs by less than this from dump to dump."""


def inherit_all(dump: DumpIndex, earlier: DumpIndex, match: DumpMatch, ended: Rows, table: Rows) -> None:
    """Fill ``dump`` with what the dump before, the ended connections and the table know of the same sockets, in place.

    Args:
        dump: the new one.
        earlier: the one before.
        match: which of their rows are the same sockets.
        ended: digests of connections that ended since, the latest first; dtype ENDED_DIGEST.
        table: the latest one, dtype ROW.
    """
    rows, full = dump.rows, dump.full
    known = match.rows_of(earlier.unmapped)
    dump_row, earlier_row = np.flatnonzero(known), match.earlier_row[known]
    _inherit(rows, dump_row, earlier.rows, earlier_row, full)
    rows["id"][dump_row] = earlier.ids[earlier_row]
    dump.id_claimed[dump_row] = earlier.id_claimed[earlier_row]
    syn = np.zeros(len(rows), "u1")
    syn[dump_row] = earlier.rows["syn_sent"][earlier_row]
    resolve_syn(rows, syn)
    # a timewait socket that the dump before did not have is younger, whatever its timer was set to
    fresh = np.flatnonzero(~full & ~match.matched & (rows["state_ns"] != 0) & in_namespaces(rows, earlier.netns))
    rows["state_ns"][fresh] = np.maximum(rows["state_ns"][fresh], earlier.now_ns)
    _inherit_ends(rows, _newly_ended(dump, earlier, dump_row, earlier_row), ended)
    # closed by its process before the dump, and its entry gone after it: only the ended connection has its owner
    orphaned = full & (rows["pid"] == 0) & ~dump.listening
    heirs = np.flatnonzero(orphaned | (~known & ~full & (rows["state"] != State.SYN_RECV)))
    if len(heirs):
        heirs = _inherit_by_hash(rows, heirs, ended, ended["hash"], full)
    if len(heirs):
        _inherit_by_hash(rows, heirs, table, tuple_hash(table), full)
    too_early = np.flatnonzero((rows["state_ns"] != 0) & (rows["state_ns"] < rows["born_ns"]))
    rows["state_ns"][too_early] = rows["born_ns"][too_early]
    _drop_duplicate_ids(rows)


def _inherit(rows: Rows, dump_row: NDArray[np.intp], source: Rows, source_row: NDArray[np.intp], full: Mask) -> None:
    """Give rows of a dump what the same connections' rows of ``source`` know.

    A ``full`` socket inherits its owner, if it has none. A timewait socket has forgotten more, and inherits its id too.
    """
    # a process that has ended, and left a socket that nobody has open, does not become its owner again
    ownerless = full[dump_row] & (rows["pid"][dump_row] == 0) & (rows["holder_lookup"][dump_row] != HolderLookup.DONE)
    copy_owner(rows, dump_row[ownerless], source, source_row[ownerless])
    is_timewait = ~full[dump_row]
    dump_row, source_row = dump_row[is_timewait], source_row[is_timewait]
    for name in CARRIED_INTO_TIME_WAIT:
        rows[name][dump_row] = source[name][source_row]
    rows["state_ns"][dump_row] = _timewait_start(rows, dump_row, source, source_row)
    rows["flags"][dump_row] |= source["flags"][source_row] & _INHERITED_FLAGS
    without_id = rows["id"][dump_row] == 0
    rows["id"][dump_row[without_id]] = source["id"][source_row[without_id]]


def _inherit_by_hash(
    rows: Rows, dump_row: NDArray[np.intp], source: Rows, source_hash: NDArray[np.uint64], full: Mask
) -> NDArray[np.intp]:
    """Inherit from rows of ``source`` with the same ``tuple_hash``; returns the rows of the dump that found none."""
    source_row, matched = KeyIndex.from_keys(source_hash).find(tuple_hash(picked(rows, dump_row)))
    _inherit(rows, dump_row[matched], source, source_row[matched], full)
    heirs: NDArray[np.intp] = dump_row[~matched]
    return heirs


def _newly_ended(
    dump: DumpIndex, earlier: DumpIndex, dump_row: NDArray[np.intp], earlier_row: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Timewait sockets among ``dump_row`` whose ended connection knows more than ``earlier_row``, the row before.

    The cookie is the one that the connection had (inet_twsk_alloc(), net/ipv4/inet_timewait_sock.c; older kernels give
    another one). The connection was open in the dump before and had no entry any more after this one; or its end was
    read only after the first dump that had it in TIME_WAIT.
    """
    rows = dump.rows
    lacks_end = (rows["born_ns"][dump_row] == 0) | earlier.full[earlier_row]
    is_timewait = ~dump.full[dump_row] & (rows["state"][dump_row] != State.SYN_RECV)
    ended_row: NDArray[np.intp] = dump_row[lacks_end & is_timewait]
    return ended_row


def _inherit_ends(rows: Rows, dump_row: NDArray[np.intp], ended: Rows) -> None:
    """Give timewait sockets that an earlier dump has shown already what the ends of their connections know.

    Of the owners that are known the one that was seen with the socket counts, then the one that the dump has, then a
    listener's.
    """
    if not len(dump_row) or not len(ended):
        return
    ended_row, matched = KeyIndex.from_keys(ended["hash"]).find(tuple_hash(picked(rows, dump_row)))
    dump_row, ended_row = dump_row[matched], ended_row[matched]
    previous = picked(rows, dump_row)
    _inherit(rows, dump_row, ended, ended_row, np.zeros(len(rows), np.bool_))
    for name in ("tx_bytes", "rx_bytes", "retrans"):
        rows[name][dump_row] = np.maximum(rows[name][dump_row], previous[name])
    unsure = (previous["pid"] != 0) & ((ended["flags"][ended_row] & Flag.OWNER_SURE) == 0)
    copy_owner(rows, dump_row[unsure], previous, unsure)


def _timewait_start(
    rows: Rows, dump_row: NDArray[np.intp], source: Rows, source_row: NDArray[np.intp]
) -> NDArray[np.uint64]:
    """When the present states of timewait sockets began: by their timers, and by what they inherit from.

    An ENDED_DIGEST knows it: no timewait socket is older than the CLOSE that made it. Where an earlier dump has shown
    the socket in the same state, what that dump said counts, unless the timer was started anew.
    """
    by_timer_ns, by_source_ns = rows["state_ns"][dump_row], source["state_ns"][source_row]
    in_fin_wait2 = rows["state"][dump_row] == State.FIN_WAIT2
    if "half_ns" in (source.dtype.names or ()):
        half_ns = source["half_ns"][source_row]
        return np.where(
            in_fin_wait2,
            np.where(half_ns != 0, half_ns, by_source_ns),
            np.maximum(by_timer_ns, by_source_ns),
        )
    same_timer = np.abs(by_timer_ns.astype(np.int64) - by_source_ns.astype(np.int64)) < _TIMER_SLACK_NS
    same_state = (source["state"][source_row] == rows["state"][dump_row]) & (by_source_ns != 0)
    return np.where(same_state & (in_fin_wait2 | same_timer), by_source_ns, by_timer_ns)


def _drop_duplicate_ids(rows: Rows) -> None:
    """Take the id away from all rows with the same one but the first."""
    with_id = np.flatnonzero(rows["id"] != 0)
    _, first = np.unique(rows["id"][with_id], return_index=True)
    repeated = np.ones(len(with_id), np.bool_)
    repeated[first] = False
    rows["id"][with_id[repeated]] = 0
