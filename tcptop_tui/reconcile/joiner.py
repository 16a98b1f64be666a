"""One table out of two sources: the entries of the kernel programs, and sock_diag's dumps.

The entries know every connection that had an event since the start, with times, owner and histogram. A dump knows every
socket that exists, in each network namespace, with none of these. Each reading of the entries is joined with the
latest dump by (netns, addresses, ports, device): sockets from before the start and TIME_WAIT come from the dump alone;
gauges of a connection that is quiet come from whichever saw more. Reconciling compares each new dump with the one
before and with the entries: a difference that two dumps show is mended and counted.

The same words stand for the same things in all of ``reconcile/``: *dump* and *earlier* (``DumpIndex``), *reading*
(``SlotReading``), *slot state* (``SlotState``) and *table*. A number of a row in one of them is a ``dump_row``,
``earlier_row``, ``reading_row``, a ``slot`` or a ``table_row``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.diag.dump import Dump
from tcptop_tui.host.socket_holders import NO_SHARED_SOCKETS, SharedSockets
from tcptop_tui.reconcile.differences import Differences
from tcptop_tui.reconcile.dump_index import DumpIndex, DumpMatch
from tcptop_tui.reconcile.inheritance import inherit_all
from tcptop_tui.reconcile.owner_fill import OwnerIndex
from tcptop_tui.reconcile.rebinding import NO_REBOUND
from tcptop_tui.reconcile.recent_ends import RecentEnds
from tcptop_tui.reconcile.slot_reading import SlotReading
from tcptop_tui.reconcile.slot_state import NO_ROW, SlotState
from tcptop_tui.reconcile.table_builder import TableBuilder
from tcptop_tui.reconcile.tombstones import Tombstones
from tcptop_tui.records import Mask, Rows
from tcptop_tui.stream.histograms import HistogramStore
from tcptop_tui.stream.socket_details import numbered


class Joiner:
    """Keeps ids and the latest dump between readings; used from the source's thread only."""

    def __init__(self) -> None:
        self.differences = Differences()
        self._next_id = 1
        self._table_builder = TableBuilder()
        self.owners = OwnerIndex(self._table_builder.latest)
        """Owners, by the latest table."""
        self._slot_state = SlotState()
        self._dump = DumpIndex.empty()
        self._shared_sockets = NO_SHARED_SOCKETS
        self._tombstones = Tombstones()
        self._recent_ends = RecentEnds()

    def remember_closed(self, transitions: Rows) -> None:
        """Remember which connections closed (dtype TRANSITION), so that the dump does not bring them back."""
        self._recent_ends.remember_transitions(transitions)
        self._tombstones.add(transitions, self._dump.now_ns)

    def remember_ended(self, ended: Rows) -> None:
        """Remember what ended connections (dtype ENDED) knew: their TIME_WAIT sockets have forgotten it."""
        self._recent_ends.remember_ended(ended)
        self.differences.count_unseen_before_end(ended, self._dump)

    def reset(self) -> None:
        """Start comparing anew after the capture filter has changed.

        What the new filter lets in was not missed, and what it leaves out is not left over.
        """
        self._dump.netns = frozenset()  # so the next dump is each namespace's first one
        self.differences.forget_unconfirmed_entries()

    @property
    def hists(self) -> HistogramStore:
        """Histograms of the latest table."""
        return self._table_builder.hists

    @property
    def has_unconfirmed(self) -> bool:
        """Whether the latest dump and the entries differ, so that another dump has to say which is right."""
        return self.differences.has_unconfirmed_entries or bool(self._dump.unconfirmed.any())

    @property
    def slots_to_reread(self) -> NDArray[np.intp]:
        """Slots that the next reading must have whether or not they have changed, ascending."""
        return self._slot_state.slots_to_reread

    def make_table(self, reading: SlotReading, *, dump_pending: bool = False, now_ns: int = 0) -> Rows:
        """Join the entries with the latest dump.

        Args:
            reading: the slots that have changed since the last call, and ``slots_to_reread``; its entries may be
                written to.
            dump_pending: whether another dump is being made, which may contain what has closed meanwhile.
            now_ns: CLOCK_MONOTONIC; a TIME_WAIT whose minute is over by then has gone, whatever the dump said.

        Returns:
            dtype ROW, sorted by ``id``; the same array as before if nothing has changed.
        """
        dump, slot_state = self._dump, self._slot_state
        self._tombstones.apply(dump, dump_pending=dump_pending)
        slot_state.update(reading, dump, self._table_builder.next_number)
        self._assign_entry_ids()
        unmapped = self._unmapped_rows() & ~dump.expired(now_ns)
        table = self._table_builder.build(dump, unmapped, reading, slot_state)
        if table is not self.owners.table:
            self.owners = OwnerIndex(table)
        return table

    def _unmapped_rows(self) -> Mask:
        """Which rows of the dump have no entry: neither when the dump was compared, nor in the latest reading."""
        dump, slots = self._dump, self._slot_state.present
        dump_row = self._slot_state.dump_row[slots]
        has_entry = np.zeros(len(dump.rows), np.bool_)
        has_entry[dump_row[dump_row != NO_ROW]] = True
        dump.index.spread_to_duplicates(has_entry)
        unmapped: Mask = dump.unmapped & ~(has_entry | self._tombstones.closed)
        claimed = np.flatnonzero(unmapped & dump.id_claimed)
        if len(claimed):
            unmapped[claimed] = ~np.isin(dump.ids[claimed], self._slot_state.ids[slots])
        return unmapped

    def _assign_entry_ids(self) -> None:
        """Give ids to entries that have not kept theirs by socket and birth: the same connection's, or a new one.

        An entry of a connection from before the start takes over the id of the dump's row with its addresses and ports.
        """
        slot_state, dump = self._slot_state, self._dump
        new_slots = np.flatnonzero((slot_state.ids == 0) & (slot_state.skaddr != 0))
        older_slots = new_slots[slot_state.born_ns[new_slots] == 0]
        if len(older_slots):
            dump_row, matched = dump.claimable.find(slot_state.entry_keys[older_slots])
            dump_row, first = np.unique(dump_row[matched], return_index=True)
            slot_state.ids[older_slots[matched][first]] = dump.ids[dump_row]
            dump.id_claimed[dump_row] = True
        self._assign_new_ids(slot_state.ids, new_slots[slot_state.ids[new_slots] == 0])

    def _assign_new_ids(self, ids: NDArray[np.uint64], row_index: NDArray[np.intp]) -> None:
        ids[row_index] = np.arange(self._next_id, self._next_id + len(row_index), dtype=np.uint64)
        self._next_id += len(row_index)

    @property
    def holders(self) -> Rows:
        """Holders of the latest table's sockets that several processes have open.

        dtype HOLDING, sorted by ``id`` and PID.
        """
        return self._shared_sockets.rows_by_id(self._slot_state.ids_of(self._dump))

    @property
    def details(self) -> Rows:
        """Socket details of the latest table, dtype SOCKET_DETAIL, sorted by ``id``."""
        return numbered(self._dump.details, self._slot_state.ids_of(self._dump))

    def reconcile(
        self,
        new_dump: Dump,
        entry_digests: Rows,
        *,
        expected: Mask | None = None,
        rebound: Rows = NO_REBOUND,
        shared_sockets: SharedSockets = NO_SHARED_SOCKETS,
    ) -> NDArray[np.uint64]:
        """Make ``new_dump`` the latest one, and compare it with the one before and with the entries right after it.

        Args:
            new_dump: with owners; its rows are written to.
            entry_digests: dtype ENTRY_DIGEST.
            expected: which rows of the dump should have an entry, shape (n,); None: all full sockets.
            rebound: entries (dtype REBOUND) that have the dump's key in ``entry_digests``.
            shared_sockets: which sockets of the dump several processes have open.

        Returns:
            Keys (skaddr) of entries that are wrong for the second time: the caller deletes them.
        """
        earlier, dump = self._dump, DumpIndex.from_dump(new_dump, rebound)
        table_number = self._table_builder.next_number
        match = DumpMatch.from_dumps(earlier, dump)
        inherit_all(dump, earlier, match, self._recent_ends.digests(), self._table_builder.latest)
        self._assign_new_ids(dump.rows["id"], np.flatnonzero(dump.rows["id"] == 0))
        dump.index_ids()
        dump.changed_in[:] = table_number
        match = match.with_unchanged(earlier, dump)
        dump.carry_over_unchanged(earlier, match)
        dump.unmapped = ~dump.index.mask_of(entry_digests["hash"])
        expected = np.ones(len(dump.rows), np.bool_) if expected is None else expected
        self.differences.count_missed(dump, expected, earlier, match)
        self._dump, self._shared_sockets = dump, shared_sockets
        self._slot_state.rematch(earlier, dump, match, table_number)
        self._tombstones.start_dump(dump)
        self._recent_ends.forget_before(dump.now_ns)
        return self.differences.confirm_wrong_entries(dump, entry_digests)
