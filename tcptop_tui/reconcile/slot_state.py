"""What is known of the entry in each slot from one reading to the next: which socket it is, and which row of the dump.

Of 100,000 connections most have not changed since the reading before. What has been found out about an entry stays
beside its slot, and only changed entries are looked at again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.reconcile.dump_index import DumpIndex, DumpMatch
from tcptop_tui.reconcile.inode_keys import entry_key, portless_mask
from tcptop_tui.reconcile.slot_reading import SlotReading
from tcptop_tui.records import State
from tcptop_tui.row_copy import overwrite, picked
from tcptop_tui.stream.identity import KeyIndex, key_with_birth

_INCOMPLETE_STATES = [State.SYN_SENT, State.SYN_RECV]
"""Endpoints may be incomplete yet: ``tcp_v4_connect``, net/ipv4/tcp_ipv4.c; ``remote_unknown`` in ``c/filter.c``."""
NO_ROW = -1
"""Stands for a row of the dump where there is none."""
_NO_SLOTS = np.zeros(0, np.intp)


class SlotState:
    """Columns by slot number, shape (slots,); used from the source's thread only.

    The entry of a closed socket counts as none: where the guard was skipped it keeps its slot until the socket is
    destroyed.
    """

    def __init__(self) -> None:
        self.skaddr = np.zeros(0, "<u8")
        """0 where there is no entry."""
        self.born_ns = np.zeros(0, "<u8")
        self.ids = np.zeros(0, "<u8")
        """The ids of their table rows; 0 if the entry is new, until the joiner has numbered it."""
        self.entry_keys = np.zeros(0, "<u8")
        """``inode_keys.entry_key``"""
        self._keyed_dev = np.zeros(0, "<u4")
        """The device that the entry had when ``entry_keys`` was made."""
        self.dump_row = np.zeros(0, np.intp)
        """Row of the latest dump with the same endpoints, or ``NO_ROW``."""
        self.changed_in = np.zeros(0, np.intp)
        """Number of the first table that shows the entry as it is."""
        self._is_complete = np.zeros(0, np.bool_)
        """Whether the endpoints are complete; True where there is no entry."""
        self._contradicted_slots = _NO_SLOTS

    @property
    def present(self) -> NDArray[np.intp]:
        """The slots that have an entry, ascending."""
        return np.flatnonzero(self.skaddr)

    def ids_of(self, dump: DumpIndex) -> NDArray[np.uint64]:
        """The ids of the rows of ``dump``, the latest one, as the latest table has them."""
        ids, slots = dump.ids.copy(), self.present
        matched = slots[(self.dump_row[slots] != NO_ROW) & (self.born_ns[slots] < dump.now_ns)]
        ids[self.dump_row[matched]] = self.ids[matched]
        return ids

    @property
    def slots_to_reread(self) -> NDArray[np.intp]:
        """Slots to be read whether or not they have changed, ascending.

        Their endpoints may be incomplete, or the latest dump says something else than the one that filled their table
        row.
        """
        return np.union1d(np.flatnonzero(~self._is_complete), self._contradicted_slots)

    def update(self, reading: SlotReading, dump: DumpIndex, table_number: int) -> None:
        """Take over a reading for the table with this number.

        Args:
            reading: ports that only the dump knows are written into its entries.
            dump: the latest one, which ``dump_row`` is about.
            table_number: number of the table that will show the reading.
        """
        self._grow(reading.slot_count)
        self._contradicted_slots = _NO_SLOTS
        slots, conns = reading.slot_numbers, reading.conns
        skaddr = np.where(conns["state"] != State.CLOSE, reading.skaddr, 0)
        born_ns = np.where(skaddr != 0, conns["born_ns"], 0)
        is_same = (self.skaddr[slots] == skaddr) & (self.born_ns[slots] == born_ns)
        is_same &= self._keyed_dev[slots] == conns["dev"]
        self._replace_occupants(slots[~is_same], skaddr[~is_same], born_ns[~is_same])
        self.changed_in[slots] = table_number
        self._is_complete[slots[skaddr == 0]] = True
        unmatched = (skaddr != 0) & ~(is_same & self._is_complete[slots])
        self._match_endpoints(reading, np.flatnonzero(unmatched), dump)

    def _grow(self, slot_count: int) -> None:
        more = slot_count - len(self.skaddr)
        if more > 0:
            self.skaddr = np.pad(self.skaddr, (0, more))
            self.born_ns = np.pad(self.born_ns, (0, more))
            self.ids = np.pad(self.ids, (0, more))
            self.entry_keys = np.pad(self.entry_keys, (0, more))
            self._keyed_dev = np.pad(self._keyed_dev, (0, more))
            self.dump_row = np.pad(self.dump_row, (0, more))
            self.changed_in = np.pad(self.changed_in, (0, more))
            self._is_complete = np.pad(self._is_complete, (0, more), constant_values=True)

    def _replace_occupants(
        self, slots: NDArray[np.intp], skaddr: NDArray[np.uint64], born_ns: NDArray[np.uint64]
    ) -> None:
        """Put other entries into these slots; one that has moved from one of them to another keeps its id."""
        old_slots, with_entry = slots[self.skaddr[slots] != 0], np.flatnonzero(skaddr)
        old_keys = KeyIndex.from_keys(key_with_birth(self.skaddr[old_slots], self.born_ns[old_slots]))
        old_index, has_moved = old_keys.find(key_with_birth(skaddr[with_entry], born_ns[with_entry]))
        ids = np.zeros(len(slots), "<u8")
        ids[with_entry[has_moved]] = self.ids[old_slots[old_index[has_moved]]]
        self.skaddr[slots], self.born_ns[slots], self.ids[slots] = skaddr, born_ns, ids

    def _match_endpoints(self, reading: SlotReading, reading_row: NDArray[np.intp], dump: DumpIndex) -> None:
        """Find the dump's rows of entries that are new or had incomplete endpoints."""
        if not len(reading_row):
            return
        slots, conns = reading.slot_numbers[reading_row], picked(reading.conns, reading_row)
        is_complete = ~np.isin(conns["state"], _INCOMPLETE_STATES) & ~portless_mask(conns)
        if len(dump.portless.give_ports(conns, dump.now_ns)):
            overwrite(reading.conns, reading_row, conns)
        self.entry_keys[slots], self._keyed_dev[slots] = entry_key(conns), conns["dev"]
        self.dump_row[slots] = self._dump_rows(dump, slots)
        self._is_complete[slots] = is_complete

    def rematch(self, earlier: DumpIndex, dump: DumpIndex, match: DumpMatch, table_number: int) -> None:
        """Find the rows of another dump for all entries.

        Args:
            earlier: the dump before.
            dump: the new one.
            match: which of their rows are the same sockets.
            table_number: number of the first table with the new dump.
        """
        earlier_row, self.dump_row = self.dump_row, self._dump_rows(dump, np.arange(len(self.entry_keys)))
        is_present, in_dump = self.skaddr != 0, self.dump_row != NO_ROW
        # an entry born after the earlier dump was not filled from it, because ports are used again
        in_earlier = (earlier_row != NO_ROW) & (self.born_ns < earlier.now_ns)
        self.changed_in[is_present & in_dump & ~in_earlier] = table_number
        is_unchanged = np.zeros(len(earlier_row), np.bool_)
        slots = np.flatnonzero(in_earlier & in_dump)
        dump_row = self.dump_row[slots]
        is_unchanged[slots] = match.unchanged[dump_row] & (match.earlier_row[dump_row] == earlier_row[slots])
        self._contradicted_slots = np.flatnonzero(is_present & in_earlier & ~is_unchanged)

    def _dump_rows(self, dump: DumpIndex, slots: NDArray[np.intp]) -> NDArray[np.intp]:
        """Row of ``dump`` for each of these slots, or ``NO_ROW``."""
        row, matched = dump.index.find(self.entry_keys[slots])
        dump_row = np.where(matched, row, NO_ROW)
        if len(dump.rebound):
            rebound_row, is_rebound = KeyIndex.from_keys(dump.rebound["socket_key"]).find(
                key_with_birth(self.skaddr[slots], self.born_ns[slots])
            )
            row, matched = dump.index.find(dump.rebound["dump_key"][rebound_row[is_rebound]])
            dump_row[np.flatnonzero(is_rebound)[matched]] = row[matched]
        return dump_row
