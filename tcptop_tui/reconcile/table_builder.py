"""One table after the other, from a reading of the map and a dump: only what has changed is written.

100,000 rows are 19 MB, and most of them are what they were two tables ago in the memory that is used again. The
others are made in parts that stay in the CPU's cache until they are where they belong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.diag.decode_rows import resolve_syn
from tcptop_tui.reconcile.dump_index import DumpIndex
from tcptop_tui.reconcile.inode_keys import clear_inodes
from tcptop_tui.reconcile.owner_fill import copy_owner
from tcptop_tui.reconcile.slot_reading import SlotReading
from tcptop_tui.reconcile.slot_state import NO_ROW, SlotState
from tcptop_tui.reconcile.table_buffers import TableBufferPool
from tcptop_tui.records import ROW, Flag, Mask, Rows, State, SynSent
from tcptop_tui.row_copy import chunks, overwrite, picked, rows_from_conns, rows_from_dump
from tcptop_tui.stream.histograms import NO_HISTOGRAMS

_RTT_STATES = [State.SYN_SENT, State.SYN_RECV, State.ESTABLISHED]
"""Of later states tcp_probe tells nothing (``tcp_rcv_established``, net/ipv4/tcp_input.c)."""

_ROWS_PER_CHUNK = 2048
"""Rows: 400 KB."""


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """The rows of a table, sorted by ``id``; columns of shape (n,)."""

    ids: NDArray[np.uint64]
    slots: NDArray[np.intp]
    """Where the entry lies; of a row that only the dump has -1 - its place there."""
    changed_in: NDArray[np.intp]
    """Number of the first table that shows the row as it is."""

    @classmethod
    def from_parts(cls, dump: DumpIndex, alone: Mask, entries: SlotState) -> _Plan:
        """What of ``dump`` is ``alone``, and ``entries``."""
        places, present = dump.by_id[alone[dump.by_id]], entries.present
        ids = np.concatenate([dump.ids[places], entries.ids[present]])
        slots = np.concatenate([-1 - places, present])
        changed = np.concatenate([dump.changed_in[places], entries.changed_in[present]])
        if (ids[1:] > ids[:-1]).all():
            return cls(ids, slots, changed)
        order = np.argsort(ids)
        return cls(ids[order], slots[order], changed[order])


class TableBuilder:
    """Makes them; of one thread."""

    def __init__(self) -> None:
        self._buffers = TableBufferPool()
        self._ids = np.zeros(0, "<u8")
        self.latest = np.zeros(0, ROW)
        """The latest one, dtype ROW, sorted by ``id``. It is never written to while somebody looks at it."""
        self.hists = NO_HISTOGRAMS
        """Its histograms."""
        self.next_number = 1
        """Of the next one."""

    def build(self, dump: DumpIndex, alone: Mask, reading: SlotReading, entries: SlotState) -> Rows:
        """The next one: those of ``dump`` that are ``alone``, and ``entries``.

        Args:
            reading: has all entries that have changed; for this table they were taken.
        """
        self.hists = reading.hists
        dump.changed_in[alone & ~dump.in_table] = self.next_number
        dump.in_table[:] = alone
        plan = _Plan.from_parts(dump, alone, entries)
        number, self.next_number = self.next_number, self.next_number + 1
        same = np.array_equal(plan.ids, self._ids)
        if same and not (plan.changed_in == number).any():
            return self.latest
        buffer, rows = self._buffers.acquire(len(plan.ids))
        differs = np.flatnonzero(buffer.differing_rows(plan.ids, plan.changed_in))
        buffer.ids = plan.ids[:0]  # until all rows are written
        new = plan.changed_in[differs] == number
        self._copy_unchanged(rows, plan, differs[~new])
        slots = plan.slots[differs]
        _write_dump_rows(rows, differs[new & (slots < 0)], plan, dump)
        self._write_entries(rows, differs[new & (slots >= 0)], plan, dump, reading, entries)
        self.latest, self._ids = rows, self._ids if same else plan.ids  # one array for as many tables as it can be
        buffer.ids, buffer.table_number = self._ids, number
        return rows

    def _copy_unchanged(self, rows: Rows, plan: _Plan, which: NDArray[np.intp]) -> None:
        """Rows that are as the latest table has them."""
        for part in chunks(which, _ROWS_PER_CHUNK):
            overwrite(rows, part, self._rows_of_latest(plan.ids[part]))

    def _rows_of_latest(self, ids: NDArray[np.uint64]) -> Rows:
        """Rows of the latest table, which has them all; a copy."""
        return picked(self.latest, np.searchsorted(self._ids, ids))

    def _write_entries(
        self,
        rows: Rows,
        which: NDArray[np.intp],
        plan: _Plan,
        dump: DumpIndex,
        reading: SlotReading,
        entries: SlotState,
    ) -> None:
        """What has not been read again has not moved, and the dump is the first one that knows it."""
        read = np.isin(plan.slots[which], reading.slot_numbers)
        for part in chunks(which[read], _ROWS_PER_CHUNK):
            slots = plan.slots[part]
            made = rows_from_conns(picked(reading.conns, np.searchsorted(reading.slot_numbers, slots)))
            made["id"], made["skaddr"], made["hist"] = plan.ids[part], entries.skaddr[slots], slots + 1
            clear_inodes(made)
            _fill_from_dump(made, slots, dump, entries)
            overwrite(rows, part, made)
        for part in chunks(which[~read], _ROWS_PER_CHUNK):
            made = self._rows_of_latest(plan.ids[part])
            _fill_from_dump(made, plan.slots[part], dump, entries)
            overwrite(rows, part, made)


def _write_dump_rows(rows: Rows, which: NDArray[np.intp], plan: _Plan, dump: DumpIndex) -> None:
    for part in chunks(which, _ROWS_PER_CHUNK):
        overwrite(rows, part, rows_from_dump(picked(dump.rows, -1 - plan.slots[part])))


def _fill_from_dump(rows: Rows, slots: NDArray[np.intp], dump: DumpIndex, entries: SlotState) -> None:
    """Give the entries in these slots what the dump knows of them. Ports are used again: not those born since."""
    known = (entries.dump_row[slots] != NO_ROW) & (entries.born_ns[slots] < dump.now_ns)
    _fill_rows(rows, np.flatnonzero(known), dump, entries.dump_row[slots[known]])


def _fill_rows(rows: Rows, which: NDArray[np.intp], dump: DumpIndex, place: NDArray[np.intp]) -> None:
    """Take owner and gauges from the dump where the map has not seen them or less of them."""
    if not len(which):
        return
    other, mine = picked(dump.rows, place), rows if len(which) == len(rows) else picked(rows, which)
    # who has it open, where nobody has been seen with it
    guessed = np.flatnonzero((other["pid"] != 0) & ((mine["pid"] == 0) | ((mine["flags"] & Flag.OWNER_SURE) == 0)))
    copy_owner(mine, guessed, other, guessed)
    for name in ("cgroup", "srtt_us", "cookie"):
        unknown = np.flatnonzero(mine[name] == 0)
        mine[name][unknown] = other[name][unknown]
    later = np.flatnonzero(
        (mine["state"] == other["state"]) & ~np.isin(mine["state"], _RTT_STATES) & (other["srtt_us"] != 0)
    )
    mine["srtt_us"][later] = other["srtt_us"][later]
    # the map has a socket's device by its last change of state
    rebound = np.flatnonzero((mine["dev"] != other["dev"]) & (mine["state_ns"] < dump.now_ns))
    mine["dev"][rebound] = other["dev"][rebound]
    resolve_syn(other, mine["syn_sent"])
    unknown = np.flatnonzero((mine["syn_sent"] == SynSent.UNKNOWN) & (mine["state"] == other["state"]))
    mine["syn_sent"][unknown] = other["syn_sent"][unknown]
    for name in ("tx_bytes", "rx_bytes", "retrans"):  # 0 where sock_diag does not know them
        np.maximum(mine[name], other[name], out=mine[name])
    mine["flags"] |= other["flags"] & Flag.GAUGES
    for name in ("accept_queue", "backlog", "holders", "holder_lookup"):
        mine[name] = other[name]
    if mine is not rows:
        overwrite(rows, which, mine)
