"""One table after the other, from readings of the entries and dumps: only rows that have changed are written.

100,000 rows are 21 MB, and most of them are what they were two tables ago, in the buffer that is used again. The others
are made a chunk at a time, so that they stay in the CPU's cache until they are where they belong.
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
"""In later states tcp_probe does not fire (``tcp_rcv_established``, net/ipv4/tcp_input.c)."""

_ROWS_PER_CHUNK = 2048
"""Rows: 400 KB."""

_NO_SLOT = -1
"""Stands for a slot where a row has no entry."""


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """Where each row of a table comes from; columns of shape (n,), sorted by ``ids``."""

    ids: NDArray[np.uint64]
    slots: NDArray[np.intp]
    """Slot of the row's entry; ``_NO_SLOT`` where the row comes from the dump alone."""
    dump_row: NDArray[np.intp]
    """Row of the dump that the row comes from alone; ``NO_ROW`` where it has an entry."""
    changed_in: NDArray[np.intp]
    """Number of the first table that shows the row as it is."""

    @classmethod
    def from_parts(cls, dump: DumpIndex, unmapped: Mask, slot_state: SlotState) -> _Plan:
        """Merge the ``unmapped`` rows of the dump and the entries."""
        dump_row, slots = dump.row_by_id[unmapped[dump.row_by_id]], slot_state.present
        ids = np.concatenate([dump.ids[dump_row], slot_state.ids[slots]])
        changed_in = np.concatenate([dump.changed_in[dump_row], slot_state.changed_in[slots]])
        slot_column, dump_column = np.full(len(ids), _NO_SLOT, np.intp), np.full(len(ids), NO_ROW, np.intp)
        dump_column[: len(dump_row)], slot_column[len(dump_row) :] = dump_row, slots
        if (ids[1:] > ids[:-1]).all():
            return cls(ids, slot_column, dump_column, changed_in)
        order = np.argsort(ids)
        return cls(ids[order], slot_column[order], dump_column[order], changed_in[order])


class TableBuilder:
    """Makes one table after the other; used from the source's thread only."""

    def __init__(self) -> None:
        self._buffers = TableBufferPool()
        self._ids = np.zeros(0, "<u8")
        """The ids of ``latest``."""
        self.latest = np.zeros(0, ROW)
        """The latest table, dtype ROW, sorted by ``id``. It is never written to while any array refers to it."""
        self.hists = NO_HISTOGRAMS
        """Its histograms."""
        self.next_number = 1
        """Number of the next table."""

    def build(self, dump: DumpIndex, unmapped: Mask, reading: SlotReading, slot_state: SlotState) -> Rows:
        """Make the next table.

        Args:
            dump: the latest one.
            unmapped: which of its rows come into the table from the dump alone.
            reading: the slots that were read for this table; it has all entries that have changed.
            slot_state: the entries, with the reading taken over.

        Returns:
            dtype ROW, sorted by ``id``; ``latest`` if no row has changed.
        """
        self.hists = reading.hists
        dump.changed_in[unmapped & ~dump.in_table] = self.next_number
        dump.in_table[:] = unmapped
        plan = _Plan.from_parts(dump, unmapped, slot_state)
        number, self.next_number = self.next_number, self.next_number + 1
        same_ids = np.array_equal(plan.ids, self._ids)
        if same_ids and not (plan.changed_in == number).any():
            return self.latest
        buffer, table = self._buffers.acquire(len(plan.ids))
        table_row = np.flatnonzero(buffer.differing_rows(plan.ids, plan.changed_in))
        buffer.ids = plan.ids[:0]  # until all rows are written
        _RowWriter(table, plan, self.latest, self._ids, dump, reading, slot_state).write(table_row, number)
        self.latest, self._ids = table, self._ids if same_ids else plan.ids  # successive tables share one array of ids
        buffer.ids, buffer.table_number = self._ids, number
        return table


@dataclass(slots=True, eq=False)
class _RowWriter:
    """Writes rows of one table; ``table_row`` in its methods are numbers of the rows to write."""

    table: Rows
    plan: _Plan
    previous: Rows
    """The table before; it has all rows that have not changed."""
    previous_ids: NDArray[np.uint64]
    dump: DumpIndex
    reading: SlotReading
    slot_state: SlotState

    def write(self, table_row: NDArray[np.intp], number: int) -> None:
        """Write rows; ``number`` is the number of the table."""
        has_changed = self.plan.changed_in[table_row] == number
        has_entry = self.plan.slots[table_row] != _NO_SLOT
        self._copy_unchanged(table_row[~has_changed])
        self._write_unmapped(table_row[has_changed & ~has_entry])
        self._write_entries(table_row[has_changed & has_entry])

    def _copy_unchanged(self, table_row: NDArray[np.intp]) -> None:
        for chunk in chunks(table_row, _ROWS_PER_CHUNK):
            overwrite(self.table, chunk, self._previous_rows(chunk))

    def _previous_rows(self, table_row: NDArray[np.intp]) -> Rows:
        """The previous table's rows with the same ids; a copy."""
        return picked(self.previous, np.searchsorted(self.previous_ids, self.plan.ids[table_row]))

    def _write_unmapped(self, table_row: NDArray[np.intp]) -> None:
        for chunk in chunks(table_row, _ROWS_PER_CHUNK):
            overwrite(self.table, chunk, rows_from_dump(picked(self.dump.rows, self.plan.dump_row[chunk])))

    def _write_entries(self, table_row: NDArray[np.intp]) -> None:
        """Make rows of entries anew if they were read, else fill the previous table's from the new dump."""
        was_read = np.isin(self.plan.slots[table_row], self.reading.slot_numbers)
        for chunk in chunks(table_row[was_read], _ROWS_PER_CHUNK):
            rows = self._rows_from_reading(self.plan.slots[chunk])
            rows["id"] = self.plan.ids[chunk]
            self._fill_from_dump(rows, self.plan.slots[chunk])
            overwrite(self.table, chunk, rows)
        for chunk in chunks(table_row[~was_read], _ROWS_PER_CHUNK):
            rows = self._previous_rows(chunk)
            self._fill_from_dump(rows, self.plan.slots[chunk])
            overwrite(self.table, chunk, rows)

    def _rows_from_reading(self, slots: NDArray[np.intp]) -> Rows:
        """The entries in these slots as rows without ids."""
        reading_row = np.searchsorted(self.reading.slot_numbers, slots)
        rows = rows_from_conns(picked(self.reading.conns, reading_row))
        rows["skaddr"], rows["hist"] = self.slot_state.skaddr[slots], slots + 1
        clear_inodes(rows)
        return rows

    def _fill_from_dump(self, rows: Rows, slots: NDArray[np.intp]) -> None:
        """Fill rows of entries in ``slots`` from the dump, in place.

        Not those that were born since the dump, because ports are used again.
        """
        in_dump = self.slot_state.dump_row[slots] != NO_ROW
        in_dump &= self.slot_state.born_ns[slots] < self.dump.now_ns
        _fill_rows(rows, np.flatnonzero(in_dump), self.dump, self.slot_state.dump_row[slots[in_dump]])


def _fill_rows(rows: Rows, row_index: NDArray[np.intp], dump: DumpIndex, dump_row: NDArray[np.intp]) -> None:
    """Take owner and gauges from the dump where the entries lack them or have seen less."""
    if not len(row_index):
        return
    dumped = picked(dump.rows, dump_row)
    filled = rows if len(row_index) == len(rows) else picked(rows, row_index)
    # the dump has the process that has the socket open, which counts where no process has been seen with it
    unsure = (filled["pid"] == 0) | ((filled["flags"] & Flag.OWNER_SURE) == 0)
    unsure_index = np.flatnonzero((dumped["pid"] != 0) & unsure)
    copy_owner(filled, unsure_index, dumped, unsure_index)
    for name in ("cgroup", "srtt_us", "cookie"):
        unknown = np.flatnonzero(filled[name] == 0)
        filled[name][unknown] = dumped[name][unknown]
    same_state = filled["state"] == dumped["state"]
    newer_rtt = np.flatnonzero(same_state & ~np.isin(filled["state"], _RTT_STATES) & (dumped["srtt_us"] != 0))
    filled["srtt_us"][newer_rtt] = dumped["srtt_us"][newer_rtt]
    # an entry has its socket's device by its last change of state
    rebound = np.flatnonzero((filled["dev"] != dumped["dev"]) & (filled["state_ns"] < dump.now_ns))
    filled["dev"][rebound] = dumped["dev"][rebound]
    resolve_syn(dumped, filled["syn_sent"])
    unknown = np.flatnonzero((filled["syn_sent"] == SynSent.UNKNOWN) & same_state)
    filled["syn_sent"][unknown] = dumped["syn_sent"][unknown]
    for name in ("tx_bytes", "rx_bytes", "retrans"):  # 0 where sock_diag does not know them
        np.maximum(filled[name], dumped[name], out=filled[name])
    filled["flags"] |= dumped["flags"] & Flag.GAUGES
    for name in ("accept_queue", "backlog", "holders", "holder_lookup"):
        filled[name] = dumped[name]
    if filled is not rows:
        overwrite(rows, row_index, filled)
