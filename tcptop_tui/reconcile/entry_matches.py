"""The map's entries from one reading to the next: who they are, and which of the dump's sockets.

Of 100,000 connections most have not moved since the reading before: what has been found out about an
entry stays beside its slot, and only the rest is looked at.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.reconcile.dump_index import Compared, Successors
from tcptop_tui.reconcile.inode_keys import entry_key, portless
from tcptop_tui.reconcile.reading import Reading
from tcptop_tui.records import State, overwrite, picked
from tcptop_tui.stream.identity import Index, with_birth

_MOVING = [State.SYN_SENT, State.SYN_RECV]
"""Ends may be incomplete yet: ``tcp_v4_connect``, net/ipv4/tcp_ipv4.c; ``remote_unknown`` in ``c/filter.c``."""
NOWHERE = -1
_NOTHING = np.zeros(0, np.intp)


class Entries:
    """By number of the slot, columns of shape (slots,); of one thread.

    A closed one is none: where the guard was skipped it keeps its slot until it is destroyed.
    """

    def __init__(self) -> None:
        self.skaddr = np.zeros(0, "<u8")
        """0 where there is none."""
        self.born_ns = np.zeros(0, "<u8")
        self.ids = np.zeros(0, "<u8")
        """0 if it is new, until whoever numbers them has."""
        self.hashes = np.zeros(0, "<u8")
        """``inodes.entry_key``"""
        self._dev = np.zeros(0, "<u4")
        """Of which device this was made."""
        self.dumped = np.zeros(0, np.intp)
        """Row of the latest dump with the same ends, or ``NOWHERE``."""
        self.changed = np.zeros(0, np.intp)
        """Number of the first table that shows it as it is."""
        self._settled = np.zeros(0, np.bool_)
        self._doubtful = _NOTHING

    @property
    def present(self) -> NDArray[np.intp]:
        """The slots that there are entries in."""
        return np.flatnonzero(self.skaddr)

    def ids_of(self, dump: Compared) -> NDArray[np.uint64]:
        """Of the rows of ``dump``, the latest one, as the latest table has them."""
        ids, present = dump.ids.copy(), self.present
        known = present[(self.dumped[present] != NOWHERE) & (self.born_ns[present] < dump.now_ns)]
        ids[self.dumped[known]] = self.ids[known]
        return ids

    @property
    def again(self) -> NDArray[np.intp]:
        """Slots to be read whether or not they have moved, ascending.

        Their ends may be incomplete, or what they were given from a dump is not what the latest one says.
        """
        return np.union1d(np.flatnonzero(~self._settled), self._doubtful)

    def take(self, reading: Reading, dump: Compared, number: int) -> None:
        """Another reading, for table ``number``; ``dump`` is the one that ``dumped`` is about.

        Ports that only the dump knows are written into the reading.
        """
        self._grow(reading.slots)
        self._doubtful = _NOTHING
        at, conns = reading.numbers, reading.conns
        skaddr = np.where(conns["state"] != State.CLOSE, reading.skaddr, 0)
        born_ns = np.where(skaddr != 0, conns["born_ns"], 0)
        same = (self.skaddr[at] == skaddr) & (self.born_ns[at] == born_ns) & (self._dev[at] == conns["dev"])
        self._move(at[~same], skaddr[~same], born_ns[~same])
        self.changed[at] = number
        self._settled[at[skaddr == 0]] = True
        self._find_ends(reading, np.flatnonzero((skaddr != 0) & ~(same & self._settled[at])), dump)

    def _grow(self, slots: int) -> None:
        more = slots - len(self.skaddr)
        if more > 0:
            for name in ("skaddr", "born_ns", "ids", "hashes", "_dev", "dumped", "changed"):
                setattr(self, name, np.pad(getattr(self, name), (0, more)))
            self._settled = np.pad(self._settled, (0, more), constant_values=True)

    def _move(self, at: NDArray[np.intp], skaddr: NDArray[np.uint64], born_ns: NDArray[np.uint64]) -> None:
        """Other entries lie in these slots now; one that has been taken away and has come back is still the same."""
        left, fresh = at[self.skaddr[at] != 0], np.flatnonzero(skaddr)
        lives = Index.of(with_birth(self.skaddr[left], self.born_ns[left]))
        place, moved = lives.find(with_birth(skaddr[fresh], born_ns[fresh]))
        ids = np.zeros(len(at), "<u8")
        ids[fresh[moved]] = self.ids[left[place[moved]]]
        self.skaddr[at], self.born_ns[at], self.ids[at] = skaddr, born_ns, ids

    def _find_ends(self, reading: Reading, which: NDArray[np.intp], dump: Compared) -> None:
        """Of the reading's entries ``which``, that were not known or not complete."""
        if not len(which):
            return
        at, conns = reading.numbers[which], picked(reading.conns, which)
        complete = ~np.isin(conns["state"], _MOVING) & ~portless(conns)
        if len(dump.waiting.give_ports(conns, dump.now_ns)):
            overwrite(reading.conns, which, conns)
        self.hashes[at], self._dev[at] = entry_key(conns), conns["dev"]
        self.dumped[at] = self._places(dump, at)
        self._settled[at] = complete

    def beside(self, before: Compared, latest: Compared, successors: Successors, number: int) -> None:
        """Look for them in another dump, which came after ``before``; table ``number`` is the first one with it."""
        old, self.dumped = self.dumped, self._places(latest, np.arange(len(self.hashes)))
        present, told = self.skaddr != 0, self.dumped != NOWHERE
        # who was born after the dump before was not given what it says: ports are used again
        was_told = (old != NOWHERE) & (self.born_ns < before.now_ns)
        self.changed[present & told & ~was_told] = number
        same = np.zeros(len(old), np.bool_)
        both = np.flatnonzero(was_told & told)
        same[both] = successors.unchanged[self.dumped[both]] & (successors.of[self.dumped[both]] == old[both])
        self._doubtful = np.flatnonzero(present & was_told & ~same)

    def _places(self, dump: Compared, at: NDArray[np.intp]) -> NDArray[np.intp]:
        """Row of ``dump`` for each of these slots, or ``NOWHERE``."""
        place, there = dump.index.find(self.hashes[at])
        places = np.where(there, place, NOWHERE)
        if len(dump.rebound):
            number, found = Index.of(dump.rebound["life"]).find(with_birth(self.skaddr[at], self.born_ns[at]))
            place, there = dump.index.find(dump.rebound["key"][number[found]])
            places[np.flatnonzero(found)[there]] = place[there]
        return places
