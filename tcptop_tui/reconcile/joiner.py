"""One table out of two truths: the kernel map that follows events, and sock_diag's dump.

The map knows every connection that moved since the start, with times, owner and histogram. sock_diag knows every
socket that exists, in each network namespace, with none of these. Each reading of the map is joined with the latest
dump by (netns, addresses, ports, device): sockets from before our time and TIME_WAIT come from the dump alone; gauges
of a connection that is quiet come from whichever saw more. What the two still disagree on a whole dump later is
mended and counted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.diag.decode_rows import resolve_syn
from tcptop_tui.diag.dump import Dump
from tcptop_tui.host.socket_holders import NO_SHARED_SOCKETS, SharedSockets
from tcptop_tui.reconcile.dump_index import (
    DumpIndex,
    DumpMatch,
    closed_since,
    drop_duplicate_ids,
    in_namespaces,
    inherit,
    take_ends,
)
from tcptop_tui.reconcile.entry_digests import ENDED_DIGEST, ended_digests
from tcptop_tui.reconcile.owner_fill import OwnerIndex
from tcptop_tui.reconcile.rebinding import NO_REBOUND
from tcptop_tui.reconcile.slot_reading import SlotReading
from tcptop_tui.reconcile.slot_state import NO_ROW, SlotState
from tcptop_tui.reconcile.state_depth import STATE_DEPTH
from tcptop_tui.reconcile.table_builder import TableBuilder
from tcptop_tui.records import TRANSITION, UNKNOWN_NS, CloseFlag, Mask, Rows, State
from tcptop_tui.row_copy import concat, picked
from tcptop_tui.stream.histograms import HistogramStore
from tcptop_tui.stream.identity import KeyIndex, socket_key, tuple_hash
from tcptop_tui.stream.socket_details import numbered

_MAX_ENDED = 65_536
_HALF_WAITS_NS = 10**10
"""For its session: the kernel side writes it microseconds later, the rings are read one after the other."""


class Joiner:
    """Keeps identities and the latest dump between readings; used from the worker thread only."""

    def __init__(self) -> None:
        self.missed = 0
        self.mended = 0
        self.unseen_transitions = 0
        """Transitions, at least, that the kernel programs were not run for, as far as a comparison or an end shows."""
        self._next_id = 1
        self._tables = TableBuilder()
        self.owners = OwnerIndex(self._tables.latest)
        """Owners, by the latest table."""
        self._slot_state = SlotState()
        """Of the map, in the latest table."""
        self._dump_index = DumpIndex.empty()
        self._sharing = NO_SHARED_SOCKETS
        self._unconfirmed_entries = np.zeros(0, "<u8")
        self._closed_since_dump: Mask = np.zeros(0, np.bool_)
        self._tombstones_applied = 0
        self._tombstones: list[tuple[NDArray[np.uint64], NDArray[np.uint64]]] = []
        self._ended_digests: list[Rows] = []
        self._half_closed = np.zeros(0, TRANSITION)

    def remember_closed(self, rows: Rows) -> None:
        """Remember which connections closed after the dump, so that it does not bring them back."""
        halves = (rows["newstate"] == State.CLOSE) & (rows["oldstate"] == State.FIN_WAIT2)
        halves &= rows["time_in_state_ns"] != UNKNOWN_NS
        self._half_closed = concat(TRANSITION, self._half_closed, picked(rows, halves))[-_MAX_ENDED:]
        closed = picked(rows, (rows["newstate"] == State.CLOSE) & (rows["ts_ns"] > self._dump_index.now_ns))
        if len(closed):
            self._tombstones.append((closed["ts_ns"].copy(), tuple_hash(closed)))

    def remember_ended(self, rows: Rows) -> None:
        """Remember who owned what has just ended: TIME_WAIT sockets themselves do not know."""
        # a reset leaves no TIME_WAIT; and what comes in between two dumps is not bounded by anything else
        kept = np.flatnonzero((rows["close_flags"] & (CloseFlag.RST_SENT | CloseFlag.RST_RECEIVED)) == 0)[-_MAX_ENDED:]
        ended = picked(rows, kept)
        self._ended_digests.append(ended_digests(ended))
        self._remember_half_closed(ended, self._ended_digests[-1])
        while sum(map(len, self._ended_digests)) > _MAX_ENDED:
            self._ended_digests.pop(0)
        self.unseen_transitions += self._unseen_transitions(rows)

    def _remember_half_closed(self, ended: Rows, left_over: Rows) -> None:
        """Those ``ended`` (dtype ENDED) out of FIN_WAIT2 may wait on in it: when it began goes to ``left_over``."""
        halves = self._half_closed
        if not len(halves):
            return
        place, found = KeyIndex.from_keys(socket_key(halves)).find(socket_key(ended))
        place = place[found]
        left_over["half_ns"][found] = halves["ts_ns"][place] - halves["time_in_state_ns"][place]
        # a session may be read after its transition: the others wait for theirs
        waiting = halves["ts_ns"] + np.uint64(_HALF_WAITS_NS) > halves["ts_ns"].max()
        waiting[place] = False
        self._half_closed = picked(halves, waiting)

    def _unseen_transitions(self, ended: Rows) -> int:
        """Transitions of connections that came and went between two dumps, but were met late.

        Each dump gives the sockets that it finds a cookie: who has none at its end was born after the last one.
        """
        late = (ended["born_ns"] == 0) & (ended["cookie"] == 0) & (ended["end_ns"] > self._dump_index.now_ns)
        if not late.any():
            return 0
        late &= in_namespaces(ended, self._dump_index.netns)
        return int(np.where(ended["established_ns"][late] != 0, 1, 2).sum())

    def reset(self) -> None:
        """The capture changed: what it lets in again was not missed, what it leaves out is not left over."""
        self._dump_index = replace(self._dump_index, netns=frozenset())  # the next dump is each namespace's first one
        self._unconfirmed_entries = np.zeros(0, "<u8")

    @property
    def hists(self) -> HistogramStore:
        """Of the latest table."""
        return self._tables.hists

    @property
    def has_unconfirmed(self) -> bool:
        """The latest dump and the map did not agree: another dump shall say who is right."""
        return bool(len(self._unconfirmed_entries) or self._dump_index.unconfirmed.any())

    @property
    def slots_to_reread(self) -> NDArray[np.intp]:
        """Slots that the next reading must have whether or not they have moved, ascending."""
        return self._slot_state.slots_to_reread

    def make_table(self, reading: SlotReading, *, surveying: bool = False, now_ns: int = 0) -> Rows:
        """Join the map with the latest dump.

        Args:
            reading: what has changed in the map since the last call, and ``again``; its entries may be written to.
            surveying: another dump is being made: what has closed meanwhile may be in it.
            now_ns: CLOCK_MONOTONIC; a TIME_WAIT whose minute is over by then has gone, whatever the dump said.

        Returns:
            dtype ROW, sorted by ``id``; the same array as before if nothing has changed.
        """
        self._apply_tombstones(surveying=surveying)
        entries = self._slot_state
        entries.update(reading, self._dump_index, self._tables.next_number)
        self._assign_ids(entries)
        alone = self._unmapped_rows(entries) & ~self._dump_index.expired(now_ns)
        rows = self._tables.build(self._dump_index, alone, reading, entries)
        if rows is not self.owners.table:
            self.owners = OwnerIndex(rows)
        return rows

    def _apply_tombstones(self, *, surveying: bool) -> None:
        """What has closed since the dump is gone from it; a TIME_WAIT socket is what is left after the CLOSE."""
        fresh = [hashes for _, hashes in self._tombstones[self._tombstones_applied :]]
        if fresh:
            self._closed_since_dump |= self._dump_index.full & self._dump_index.index.mask_of(np.concatenate(fresh))
        if not surveying:
            self._tombstones.clear()
        self._tombstones_applied = len(self._tombstones)

    def _unmapped_rows(self, entries: SlotState) -> Mask:
        """Which sockets of the dump have no entry in the map: in none of the two readings, the dump's own and now."""
        dump, present = self._dump_index, entries.present
        dumped = entries.dump_row[present]
        taken = np.zeros(len(dump.rows), np.bool_)
        taken[dumped[dumped != NO_ROW]] = True
        dump.index.spread_to_duplicates(taken)
        alone: Mask = dump.unmapped & ~(taken | self._closed_since_dump)
        again = np.flatnonzero(alone & dump.id_claimed)
        if len(again):
            alone[again] = ~np.isin(dump.ids[again], entries.ids[present])
        return alone

    def _assign_ids(self, entries: SlotState) -> None:
        """Give those an ``id`` that have not kept theirs by socket and birth: by addresses and ports, or a new one."""
        ids, fresh = entries.ids, np.flatnonzero((entries.ids == 0) & (entries.skaddr != 0))
        met = fresh[entries.born_ns[fresh] == 0]
        if len(met):
            place, taken = self._dump_index.claimable.find(entries.entry_keys[met])
            place, first = np.unique(place[taken], return_index=True)
            ids[met[taken][first]] = self._dump_index.ids[place]
            self._dump_index.id_claimed[place] = True
        self._assign_new_ids(ids, fresh[ids[fresh] == 0])

    def _assign_new_ids(self, ids: NDArray[np.uint64], fresh: NDArray[np.intp]) -> None:
        ids[fresh] = np.arange(self._next_id, self._next_id + len(fresh), dtype=np.uint64)
        self._next_id += len(fresh)

    @property
    def holders(self) -> Rows:
        """Of the latest table, dtype HOLDING, sorted by ``id`` and PID."""
        return self._sharing.rows_by_id(self._slot_state.ids_of(self._dump_index))

    @property
    def details(self) -> Rows:
        """Of the latest table, dtype SOCKET_DETAIL, sorted by ``id``."""
        return numbered(self._dump_index.details, self._slot_state.ids_of(self._dump_index))

    def reconcile(
        self, dump: Dump, met: Rows, expected: Mask | None = None, rebound: Rows = NO_REBOUND,
        sharing: SharedSockets = NO_SHARED_SOCKETS,
    ) -> NDArray[np.uint64]:  # fmt: skip
        """Make ``dump`` the latest one and compare it with entries of the map after it, dtype ENTRY_DIGEST.

        Args:
            dump: with owners.
            met: of the map.
            expected: which rows of the dump can be missed in the map; None: all.
            rebound: entries (dtype REBOUND) that have the dump's key in ``met``.
            sharing: which of them several processes have open.

        Returns:
            Keys of map entries that are wrong for the second time: the caller deletes them.
        """
        before, latest, self._sharing = self._dump_index, DumpIndex.from_dump(dump, rebound), sharing
        successors = DumpMatch.from_dumps(before, latest)
        self._inherit_from_dump(latest, before, successors)
        self._assign_new_ids(latest.rows["id"], np.flatnonzero(latest.rows["id"] == 0))
        latest, rows = latest.with_ids(), latest.rows
        latest.changed_in[:] = self._tables.next_number
        successors = successors.with_unchanged(before, latest)
        latest.mark_unchanged(before, successors)
        latest = replace(latest, unmapped=~latest.index.mask_of(met["hash"]))
        judged = latest.full & in_namespaces(rows, dump.netns & before.netns)
        if expected is not None:
            judged &= expected
        self._dump_index = self._count_missed(latest, judged, before, successors)
        self._slot_state.rematch(before, self._dump_index, successors, self._tables.next_number)
        self._tombstones = [(ts_ns, closed) for ts_ns, closed in self._tombstones if ts_ns[-1] > dump.now_ns]
        self._closed_since_dump, self._tombstones_applied = np.zeros(len(rows), np.bool_), 0
        # what ended while the dump was read turns TIME_WAIT only in the next one
        self._ended_digests = [
            ended for ended in self._ended_digests if len(ended) and ended["state_ns"].max() > dump.now_ns
        ]
        return self._wrong_entries(met)

    def _inherit_from_dump(self, latest: DumpIndex, before: DumpIndex, successors: DumpMatch) -> None:
        """Carry ids over by cookie, and what TIME_WAIT forgot over by addresses and ports."""
        rows, full = latest.rows, latest.full
        same = successors.rows_of(before.unmapped)
        place = successors.earlier_row[same]
        inherit(rows, np.flatnonzero(same), before.rows, place, full)
        rows["id"][same] = before.ids[place]
        latest.id_claimed[same] = before.id_claimed[place]
        syn = np.zeros(len(rows), "u1")
        syn[same] = before.rows["syn_sent"][place]
        resolve_syn(rows, syn)
        # a timewait socket that the dump before did not have is younger, whatever its timer was set to
        fresh = np.flatnonzero(
            ~full & ~successors.matched & (rows["state_ns"] != 0) & in_namespaces(rows, before.netns)
        )
        rows["state_ns"][fresh] = np.maximum(rows["state_ns"][fresh], before.now_ns)
        ended = concat(ENDED_DIGEST, *reversed(self._ended_digests))  # the latest end counts
        take_ends(rows, closed_since(latest, before, same, place), ended)
        # closed by its process before the dump, gone from the map after it: only its end tells whose it was
        orphaned = full & (rows["pid"] == 0) & ~latest.listening
        sought = np.flatnonzero(orphaned | (~same & ~full & (rows["state"] != State.SYN_RECV)))
        sought = _inherit_from_ended(rows, sought, ended, ended["hash"], full) if len(sought) else sought
        if len(sought):
            _inherit_from_ended(rows, sought, self._tables.latest, tuple_hash(self._tables.latest), full)
        early = np.flatnonzero((rows["state_ns"] != 0) & (rows["state_ns"] < rows["born_ns"]))
        rows["state_ns"][early] = rows["born_ns"][early]
        drop_duplicate_ids(rows)

    def _count_missed(self, latest: DumpIndex, judged: Mask, before: DumpIndex, successors: DumpMatch) -> DumpIndex:
        """A full socket that the map does not know is doubtful once and missed the second time.

        Not at a namespace's first dump: what is in it may be from before our time.
        """
        expected = latest.unmapped & judged
        confirmed = expected & successors.rows_of(before.unconfirmed)
        self.missed += int(confirmed.sum())
        self.mended += int(confirmed.sum())
        self.unseen_transitions += int(STATE_DEPTH[latest.rows["state"][confirmed]].sum())
        return replace(latest, unconfirmed=expected & ~successors.rows_of(before.unmapped))

    def _wrong_entries(self, met: Rows) -> NDArray[np.uint64]:
        """Entries that sock_diag contradicts, now and a whole dump ago, unchanged in between."""
        dump = self._dump_index
        place, found = dump.index.find(met["hash"])
        dumped_state = np.full(len(met), State.CLOSE, "u1")  # a connection that is not there has come to its end
        dumped_state[found] = dump.rows["state"][place[found]]
        doubtful = ~(found & (dumped_state == met["state"])) & in_namespaces(met, dump.netns) & (met["lport"] != 0)
        doubtful &= (met["state_ns"] < dump.now_ns) & (met["state"] != State.CLOSE)  # see table()
        marks = met["skaddr"] ^ met["state_ns"]
        confirmed = doubtful & np.isin(marks, self._unconfirmed_entries)
        self._unconfirmed_entries = marks[doubtful & ~confirmed]
        self.mended += int(confirmed.sum())
        dump.unmapped[place[confirmed & found]] = True  # it is to be shown, and not to be missed in its turn
        if len(dump.rows):  # the end is no step in STATE_DEPTH
            steps = STATE_DEPTH[dumped_state[confirmed]] - STATE_DEPTH[met["state"][confirmed]]
            self.unseen_transitions += int(np.maximum(steps, 1).sum())
        wrong: NDArray[np.uint64] = met["skaddr"][confirmed]
        return wrong


def _inherit_from_ended(
    rows: Rows, sought: NDArray[np.intp], lives: Rows, hashes: NDArray[np.uint64], full: Mask
) -> NDArray[np.intp]:
    """Have those ``sought`` take over what ``lives`` with these hashes know; which of them were not found."""
    place, found = KeyIndex.from_keys(hashes).find(tuple_hash(picked(rows, sought)))
    inherit(rows, sought[found], lives, place[found], full)
    return sought[~found]
