"""The map's entries from one reading to the next: who they are, and which of the dump's sockets.

Of 100,000 connections most have not moved since the reading before: what has been found out about an
entry stays beside its slot, and only the rest is looked at.
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
"""Ends may be incomplete yet: ``tcp_v4_connect``, net/ipv4/tcp_ipv4.c; ``remote_unknown`` in ``c/filter.c``."""
NO_ROW = -1
_NO_SLOTS = np.zeros(0, np.intp)


class SlotState:
    """By number of the slot, columns of shape (slots,); of one thread.

    A closed one is none: where the guard was skipped it keeps its slot until it is destroyed.
    """

    def __init__(self) -> None:
        self.skaddr = np.zeros(0, "<u8")
        """0 where there is none."""
        self.born_ns = np.zeros(0, "<u8")
        self.ids = np.zeros(0, "<u8")
        """0 if it is new, until whoever numbers them has."""
        self.entry_keys = np.zeros(0, "<u8")
        """``inode_keys.entry_key``"""
        self._keyed_dev = np.zeros(0, "<u4")
        """Of which device this was made."""
        self.dump_row = np.zeros(0, np.intp)
        """Row of the latest dump with the same ends, or ``NO_ROW``."""
        self.changed_in = np.zeros(0, np.intp)
        """Number of the first table that shows it as it is."""
        self._complete = np.zeros(0, np.bool_)
        self._contradicted = _NO_SLOTS

    @property
    def present(self) -> NDArray[np.intp]:
        """The slots that there are entries in."""
        return np.flatnonzero(self.skaddr)

    def ids_of(self, dump: DumpIndex) -> NDArray[np.uint64]:
        """Of the rows of ``dump``, the latest one, as the latest table has them."""
        ids, present = dump.ids.copy(), self.present
        known = present[(self.dump_row[present] != NO_ROW) & (self.born_ns[present] < dump.now_ns)]
        ids[self.dump_row[known]] = self.ids[known]
        return ids

    @property
    def slots_to_reread(self) -> NDArray[np.intp]:
        """Slots to be read whether or not they have moved, ascending.

        Their ends may be incomplete, or what they were given from a dump is not what the latest one says.
        """
        return np.union1d(np.flatnonzero(~self._complete), self._contradicted)

    def update(self, reading: SlotReading, dump: DumpIndex, number: int) -> None:
        """Another reading, for table ``number``; ``dump`` is the one that ``dump_row`` is about.

        Ports that only the dump knows are written into the reading.
        """
        self._grow(reading.slot_count)
        self._contradicted = _NO_SLOTS
        at, conns = reading.slot_numbers, reading.conns
        skaddr = np.where(conns["state"] != State.CLOSE, reading.skaddr, 0)
        born_ns = np.where(skaddr != 0, conns["born_ns"], 0)
        same = (self.skaddr[at] == skaddr) & (self.born_ns[at] == born_ns) & (self._keyed_dev[at] == conns["dev"])
        self._replace_occupants(at[~same], skaddr[~same], born_ns[~same])
        self.changed_in[at] = number
        self._complete[at[skaddr == 0]] = True
        self._match_endpoints(reading, np.flatnonzero((skaddr != 0) & ~(same & self._complete[at])), dump)

    def _grow(self, slots: int) -> None:
        more = slots - len(self.skaddr)
        if more > 0:
            self.skaddr = np.pad(self.skaddr, (0, more))
            self.born_ns = np.pad(self.born_ns, (0, more))
            self.ids = np.pad(self.ids, (0, more))
            self.entry_keys = np.pad(self.entry_keys, (0, more))
            self._keyed_dev = np.pad(self._keyed_dev, (0, more))
            self.dump_row = np.pad(self.dump_row, (0, more))
            self.changed_in = np.pad(self.changed_in, (0, more))
            self._complete = np.pad(self._complete, (0, more), constant_values=True)

    def _replace_occupants(self, at: NDArray[np.intp], skaddr: NDArray[np.uint64], born_ns: NDArray[np.uint64]) -> None:
        """Other entries lie in these slots now; one that has been taken away and has come back is still the same."""
        left, fresh = at[self.skaddr[at] != 0], np.flatnonzero(skaddr)
        lives = KeyIndex.from_keys(key_with_birth(self.skaddr[left], self.born_ns[left]))
        place, moved = lives.find(key_with_birth(skaddr[fresh], born_ns[fresh]))
        ids = np.zeros(len(at), "<u8")
        ids[fresh[moved]] = self.ids[left[place[moved]]]
        self.skaddr[at], self.born_ns[at], self.ids[at] = skaddr, born_ns, ids

    def _match_endpoints(self, reading: SlotReading, which: NDArray[np.intp], dump: DumpIndex) -> None:
        """Of the reading's entries ``which``, that were not known or not complete."""
        if not len(which):
            return
        at, conns = reading.slot_numbers[which], picked(reading.conns, which)
        complete = ~np.isin(conns["state"], _INCOMPLETE_STATES) & ~portless_mask(conns)
        if len(dump.portless.give_ports(conns, dump.now_ns)):
            overwrite(reading.conns, which, conns)
        self.entry_keys[at], self._keyed_dev[at] = entry_key(conns), conns["dev"]
        self.dump_row[at] = self._dump_rows(dump, at)
        self._complete[at] = complete

    def rematch(self, before: DumpIndex, latest: DumpIndex, successors: DumpMatch, number: int) -> None:
        """Look for them in another dump, which came after ``before``; table ``number`` is the first one with it."""
        old, self.dump_row = self.dump_row, self._dump_rows(latest, np.arange(len(self.entry_keys)))
        present, told = self.skaddr != 0, self.dump_row != NO_ROW
        # who was born after the dump before was not given what it says: ports are used again
        was_told = (old != NO_ROW) & (self.born_ns < before.now_ns)
        self.changed_in[present & told & ~was_told] = number
        same = np.zeros(len(old), np.bool_)
        both = np.flatnonzero(was_told & told)
        same[both] = successors.unchanged[self.dump_row[both]] & (
            successors.earlier_row[self.dump_row[both]] == old[both]
        )
        self._contradicted = np.flatnonzero(present & was_told & ~same)

    def _dump_rows(self, dump: DumpIndex, at: NDArray[np.intp]) -> NDArray[np.intp]:
        """Row of ``dump`` for each of these slots, or ``NO_ROW``."""
        place, there = dump.index.find(self.entry_keys[at])
        places = np.where(there, place, NO_ROW)
        if len(dump.rebound):
            number, found = KeyIndex.from_keys(dump.rebound["life"]).find(
                key_with_birth(self.skaddr[at], self.born_ns[at])
            )
            place, there = dump.index.find(dump.rebound["key"][number[found]])
            places[np.flatnonzero(found)[there]] = place[there]
        return places
