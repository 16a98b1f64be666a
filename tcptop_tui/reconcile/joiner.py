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

from tcptop_tui.diag.dump import Dump
from tcptop_tui.diag.socket_rows import resolve_doubt
from tcptop_tui.host.socket_holders import NOT_SHARED, Sharing
from tcptop_tui.reconcile.dump_index import (
    Compared,
    Successors,
    among,
    closed_since,
    drop_repeated_ids,
    take_ends,
    take_over,
)
from tcptop_tui.reconcile.entry_digests import LEFT, left
from tcptop_tui.reconcile.entry_matches import NOWHERE, Entries
from tcptop_tui.reconcile.owner_fill import Known
from tcptop_tui.reconcile.reading import Reading
from tcptop_tui.reconcile.rebinding import NO_REBOUND
from tcptop_tui.reconcile.state_depth import STEPS
from tcptop_tui.reconcile.table_writer import Tables
from tcptop_tui.records import TRANSITION, UNKNOWN_NS, End, Mask, Rows, State, joined, picked
from tcptop_tui.stream.histograms import Hists
from tcptop_tui.stream.identity import Index, socket_life, tuple_hash
from tcptop_tui.stream.socket_details import numbered

_MOST_ENDED = 65_536
_HALF_WAITS_NS = 10**10
"""For its session: the kernel side writes it microseconds later, the rings are read one after the other."""


class Joiner:
    """Keeps identities and the latest dump between readings; used from the worker thread only."""

    def __init__(self) -> None:
        self.missed = 0
        self.mended = 0
        self.escaped = 0
        """Transitions, at least, that the kernel programs were not run for, as far as a comparison or an end shows."""
        self._next_id = 1
        self._tables = Tables()
        self.known = Known(self._tables.latest)
        """Owners, by the latest table."""
        self._entries = Entries()
        """Of the map, in the latest table."""
        self._dump = Compared.nothing()
        self._sharing = NOT_SHARED
        self._doubted = np.zeros(0, "<u8")
        self._gone: Mask = np.zeros(0, np.bool_)
        self._closed_marked = 0
        self._closed: list[tuple[NDArray[np.uint64], NDArray[np.uint64]]] = []
        self._ended: list[Rows] = []
        self._halves = np.zeros(0, TRANSITION)

    def note_transitions(self, rows: Rows) -> None:
        """Remember which connections closed after the dump, so that it does not bring them back."""
        halves = (rows["newstate"] == State.CLOSE) & (rows["oldstate"] == State.FIN_WAIT2)
        halves &= rows["spent_ns"] != UNKNOWN_NS
        self._halves = joined(TRANSITION, self._halves, picked(rows, halves))[-_MOST_ENDED:]
        closed = picked(rows, (rows["newstate"] == State.CLOSE) & (rows["ts_ns"] > self._dump.now_ns))
        if len(closed):
            self._closed.append((closed["ts_ns"].copy(), tuple_hash(closed)))

    def note_sessions(self, rows: Rows) -> None:
        """Remember who owned what has just ended: TIME_WAIT sockets themselves do not know."""
        # a reset leaves no TIME_WAIT; and what comes in between two dumps is not bounded by anything else
        kept = np.flatnonzero((rows["ends"] & (End.RST_SENT | End.RST_RECEIVED)) == 0)[-_MOST_ENDED:]
        ended = picked(rows, kept)
        self._ended.append(left(ended))
        self._note_halves(ended, self._ended[-1])
        while sum(map(len, self._ended)) > _MOST_ENDED:
            self._ended.pop(0)
        self.escaped += self._not_seen_to_begin(rows)

    def _note_halves(self, ended: Rows, left_over: Rows) -> None:
        """Those ``ended`` (dtype SESSION) out of FIN_WAIT2 may wait on in it: when it began goes to ``left_over``."""
        halves = self._halves
        if not len(halves):
            return
        place, found = Index.of(socket_life(halves)).find(socket_life(ended))
        place = place[found]
        left_over["half_ns"][found] = halves["ts_ns"][place] - halves["spent_ns"][place]
        # a session may be read after its transition: the others wait for theirs
        waiting = halves["ts_ns"] + np.uint64(_HALF_WAITS_NS) > halves["ts_ns"].max()
        waiting[place] = False
        self._halves = picked(halves, waiting)

    def _not_seen_to_begin(self, ended: Rows) -> int:
        """Transitions of connections that came and went between two dumps, but were met late.

        Each dump gives the sockets that it finds a cookie: who has none at its end was born after the last one.
        """
        late = (ended["born_ns"] == 0) & (ended["cookie"] == 0) & (ended["end_ns"] > self._dump.now_ns)
        if not late.any():
            return 0
        late &= among(ended, self._dump.netns)
        return int(np.where(ended["established_ns"][late] != 0, 1, 2).sum())

    def start_anew(self) -> None:
        """The capture changed: what it lets in again was not missed, what it leaves out is not left over."""
        self._dump = replace(self._dump, netns=frozenset())  # the next dump is each namespace's first one
        self._doubted = np.zeros(0, "<u8")

    @property
    def hists(self) -> Hists:
        """Of the latest table."""
        return self._tables.hists

    @property
    def doubts(self) -> bool:
        """The latest dump and the map did not agree: another dump shall say who is right."""
        return bool(len(self._doubted) or self._dump.suspect.any())

    @property
    def again(self) -> NDArray[np.intp]:
        """Slots that the next reading must have whether or not they have moved, ascending."""
        return self._entries.again

    def table(self, reading: Reading, *, surveying: bool = False, now_ns: int = 0) -> Rows:
        """Join the map with the latest dump.

        Args:
            reading: what has changed in the map since the last call, and ``again``; its entries may be written to.
            surveying: another dump is being made: what has closed meanwhile may be in it.
            now_ns: CLOCK_MONOTONIC; a TIME_WAIT whose minute is over by then has gone, whatever the dump said.

        Returns:
            dtype ROW, sorted by ``id``; the same array as before if nothing has changed.
        """
        self._mark_closed(surveying=surveying)
        entries = self._entries
        entries.take(reading, self._dump, self._tables.number)
        self._name(entries)
        alone = self._left_alone(entries) & ~self._dump.over(now_ns)
        rows = self._tables.make(self._dump, alone, reading, entries)
        if rows is not self.known.table:
            self.known = Known(rows)
        return rows

    def _mark_closed(self, *, surveying: bool) -> None:
        """What has closed since the dump is gone from it; a TIME_WAIT socket is what is left after the CLOSE."""
        fresh = [hashes for _, hashes in self._closed[self._closed_marked :]]
        if fresh:
            self._gone |= self._dump.full & self._dump.index.among(np.concatenate(fresh))
        if not surveying:
            self._closed.clear()
        self._closed_marked = len(self._closed)

    def _left_alone(self, entries: Entries) -> Mask:
        """Which sockets of the dump have no entry in the map: in none of the two readings, the dump's own and now."""
        dump, present = self._dump, entries.present
        dumped = entries.dumped[present]
        taken = np.zeros(len(dump.rows), np.bool_)
        taken[dumped[dumped != NOWHERE]] = True
        dump.index.spread(taken)
        alone: Mask = dump.alone & ~(taken | self._gone)
        again = np.flatnonzero(alone & dump.replaced)
        if len(again):
            alone[again] = ~np.isin(dump.ids[again], entries.ids[present])
        return alone

    def _name(self, entries: Entries) -> None:
        """Give those an ``id`` that have not kept theirs by socket and birth: by addresses and ports, or a new one."""
        ids, fresh = entries.ids, np.flatnonzero((entries.ids == 0) & (entries.skaddr != 0))
        met = fresh[entries.born_ns[fresh] == 0]
        if len(met):
            place, taken = self._dump.replaceable.find(entries.hashes[met])
            place, first = np.unique(place[taken], return_index=True)
            ids[met[taken][first]] = self._dump.ids[place]
            self._dump.replaced[place] = True
        self._number(ids, fresh[ids[fresh] == 0])

    def _number(self, ids: NDArray[np.uint64], fresh: NDArray[np.intp]) -> None:
        ids[fresh] = np.arange(self._next_id, self._next_id + len(fresh), dtype=np.uint64)
        self._next_id += len(fresh)

    @property
    def holders(self) -> Rows:
        """Of the latest table, dtype HOLDING, sorted by ``id`` and PID."""
        return self._sharing.named(self._entries.ids_of(self._dump))

    @property
    def details(self) -> Rows:
        """Of the latest table, dtype SOCKET_DETAIL, sorted by ``id``."""
        return numbered(self._dump.details, self._entries.ids_of(self._dump))

    def take_dump(
        self, dump: Dump, met: Rows, expected: Mask | None = None, rebound: Rows = NO_REBOUND,
        sharing: Sharing = NOT_SHARED,
    ) -> NDArray[np.uint64]:  # fmt: skip
        """Make ``dump`` the latest one and compare it with entries of the map after it, dtype MET.

        Args:
            dump: with owners.
            met: of the map.
            expected: which rows of the dump can be missed in the map; None: all.
            rebound: entries (dtype REBOUND) that have the dump's key in ``met``.
            sharing: which of them several processes have open.

        Returns:
            Keys of map entries that are wrong for the second time: the caller deletes them.
        """
        before, latest, self._sharing = self._dump, Compared.of(dump, rebound), sharing
        successors = Successors.between(before, latest)
        self._inherit(latest, before, successors)
        self._number(latest.rows["id"], np.flatnonzero(latest.rows["id"] == 0))
        latest, rows = latest.numbered(), latest.rows
        latest.changed[:] = self._tables.number
        successors = successors.compared(before, latest)
        latest.after(before, successors)
        latest = replace(latest, alone=~latest.index.among(met["hash"]))
        judged = latest.full & among(rows, dump.netns & before.netns)
        if expected is not None:
            judged &= expected
        self._dump = self._judged(latest, judged, before, successors)
        self._entries.beside(before, self._dump, successors, self._tables.number)
        self._closed = [(ts_ns, closed) for ts_ns, closed in self._closed if ts_ns[-1] > dump.now_ns]
        self._gone, self._closed_marked = np.zeros(len(rows), np.bool_), 0
        # what ended while the dump was read turns TIME_WAIT only in the next one
        self._ended = [ended for ended in self._ended if len(ended) and ended["state_ns"].max() > dump.now_ns]
        return self._wrong_entries(met)

    def _inherit(self, latest: Compared, before: Compared, successors: Successors) -> None:
        """Carry ids over by cookie, and what TIME_WAIT forgot over by addresses and ports."""
        rows, full = latest.rows, latest.full
        same = successors.were(before.alone)
        place = successors.of[same]
        take_over(rows, np.flatnonzero(same), before.rows, place, full)
        rows["id"][same] = before.ids[place]
        latest.replaced[same] = before.replaced[place]
        syn = np.zeros(len(rows), "u1")
        syn[same] = before.rows["syn"][place]
        resolve_doubt(rows, syn)
        # a timewait socket that the dump before did not have is younger, whatever its timer was set to
        fresh = np.flatnonzero(~full & ~successors.there & (rows["state_ns"] != 0) & among(rows, before.netns))
        rows["state_ns"][fresh] = np.maximum(rows["state_ns"][fresh], before.now_ns)
        ended = joined(LEFT, *reversed(self._ended))  # the latest end counts
        take_ends(rows, closed_since(latest, before, same, place), ended)
        # closed by its process before the dump, gone from the map after it: only its end tells whose it was
        orphaned = full & (rows["pid"] == 0) & ~latest.listens
        sought = np.flatnonzero(orphaned | (~same & ~full & (rows["state"] != State.SYN_RECV)))
        sought = _inherited(rows, sought, ended, ended["hash"], full) if len(sought) else sought
        if len(sought):
            _inherited(rows, sought, self._tables.latest, tuple_hash(self._tables.latest), full)
        early = np.flatnonzero((rows["state_ns"] != 0) & (rows["state_ns"] < rows["born_ns"]))
        rows["state_ns"][early] = rows["born_ns"][early]
        drop_repeated_ids(rows)

    def _judged(self, latest: Compared, judged: Mask, before: Compared, successors: Successors) -> Compared:
        """A full socket that the map does not know is doubtful once and missed the second time.

        Not at a namespace's first dump: what is in it may be from before our time.
        """
        expected = latest.alone & judged
        confirmed = expected & successors.were(before.suspect)
        self.missed += int(confirmed.sum())
        self.mended += int(confirmed.sum())
        self.escaped += int(STEPS[latest.rows["state"][confirmed]].sum())
        return replace(latest, suspect=expected & ~successors.were(before.alone))

    def _wrong_entries(self, met: Rows) -> NDArray[np.uint64]:
        """Entries that sock_diag contradicts, now and a whole dump ago, unchanged in between."""
        dump = self._dump
        place, found = dump.index.find(met["hash"])
        dumped_state = np.full(len(met), State.CLOSE, "u1")  # a connection that is not there has come to its end
        dumped_state[found] = dump.rows["state"][place[found]]
        doubtful = ~(found & (dumped_state == met["state"])) & among(met, dump.netns) & (met["lport"] != 0)
        doubtful &= (met["state_ns"] < dump.now_ns) & (met["state"] != State.CLOSE)  # see table()
        marks = met["skaddr"] ^ met["state_ns"]
        confirmed = doubtful & np.isin(marks, self._doubted)
        self._doubted = marks[doubtful & ~confirmed]
        self.mended += int(confirmed.sum())
        dump.alone[place[confirmed & found]] = True  # it is to be shown, and not to be missed in its turn
        if len(dump.rows):  # the end is no step in STEPS
            steps = STEPS[dumped_state[confirmed]] - STEPS[met["state"][confirmed]]
            self.escaped += int(np.maximum(steps, 1).sum())
        wrong: NDArray[np.uint64] = met["skaddr"][confirmed]
        return wrong


def _inherited(
    rows: Rows, sought: NDArray[np.intp], lives: Rows, hashes: NDArray[np.uint64], full: Mask
) -> NDArray[np.intp]:
    """Have those ``sought`` take over what ``lives`` with these hashes know; which of them were not found."""
    place, found = Index.of(hashes).find(tuple_hash(picked(rows, sought)))
    take_over(rows, sought[found], lives, place[found], full)
    return sought[~found]
