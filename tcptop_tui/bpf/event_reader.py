"""From the kernel's two rings to the sink: transitions, ended connections and late endings, in order and complete.

An event passes through four hands here. ``_read_rings`` copies a batch of records out of each ring. ``LateResets``
holds records back for a few milliseconds, because a reset may follow that belongs to them. ``_queue`` makes batches of
what is settled. ``offer`` has ``EventFilter`` fill in owners and drop what the capture filter excludes, and offers the
rest to the sink. A batch that the sink refuses stays here, and then the rings are not read any more: the kernel side
counts what finds no room in them.
"""

from __future__ import annotations

from typing import TypeAlias

from tcptop_tui.bpf.name_offers import NameOffers
from tcptop_tui.bpf.program import Program
from tcptop_tui.host import clock
from tcptop_tui.reconcile.event_filter import EventFilter
from tcptop_tui.reconcile.half_closed import HalfClosed
from tcptop_tui.reconcile.joiner import Joiner
from tcptop_tui.reconcile.late_resets import LateResets, only_transitions
from tcptop_tui.records import Rows
from tcptop_tui.stream.batches import EndedConnections, LateEndings, Sink, Transitions

_BATCH_BYTES = 2**21
"""At most read from each ring at once. Whoever handles a batch needs a few times as much memory, and other threads wait
that long for their turn."""

EventBatch: TypeAlias = Transitions | EndedConnections | LateEndings


class EventReader:
    """Reads the rings of one tracer; used by the worker thread only.

    Args:
        program: the tracer.
        ring_bytes: size of the ring of transitions. One call of ``drain`` reads about as much and no more.
        joiner: is told which connections closed, and knows the owners by the latest table.
        event_filter: completes events and drops excluded ones; another one is set when the capture filter changes.
        names: is given the rows of transitions, and offers new names before the first event that needs them.
    """

    def __init__(
        self, program: Program, ring_bytes: int, joiner: Joiner, event_filter: EventFilter, names: NameOffers
    ) -> None:
        self._program = program
        self._ring_bytes = ring_bytes
        self._joiner = joiner
        self._names = names
        self._late_resets = LateResets()
        self._half_closed = HalfClosed()
        self._unfiltered: list[EventBatch] = []
        self._unsent: list[EventBatch] = []
        self._read_until_ns = 0
        self._has_new_transitions = False
        self.event_filter = event_filter
        self.holds_back = True
        """Nothing is offered yet: before the first table nobody knows who owns connections from before the start."""

    def drain(self, sink: Sink) -> int:
        """Read the rings batch by batch and offer what was in them, until they are empty or ``sink`` refuses.

        Slots are reserved first, so that the kernel side has some for connections until the next call.

        Returns:
            Bytes of the records that were read.
        """
        self._program.slots.reserve()
        total_bytes, has_more = 0, self.offer(sink)
        while has_more and total_bytes < self._ring_bytes:
            batch_bytes = self._read_rings(sink)
            total_bytes += batch_bytes
            # a small batch emptied the rings; what has come meanwhile is left to the next poll
            has_more = self.offer(sink) and batch_bytes > _BATCH_BYTES // 2
        return total_bytes

    def flush(self, sink: Sink) -> None:
        """Offer also what waits for a reset that may follow: nothing comes any more."""
        self._queue(*self._late_resets.flush(), sink)
        self.offer(sink)

    def offer(self, sink: Sink) -> bool:
        """Offer the batches that wait here, oldest first; False if ``sink`` has no room for all of them."""
        while self._unsent or (self._unfiltered and not self.holds_back):
            if not self._unsent:
                self._unsent = self.event_filter.filter(self._unfiltered.pop(0), self._joiner.owners)
            elif sink.offer(self._unsent[0]):
                self._unsent.pop(0)
            else:
                return False
        return True

    def release_ownerless(self, table_rows: Rows) -> None:
        """Queue the transitions whose owner has become known by a new table, dtype ROW."""
        self._unsent += self.event_filter.release(table_rows)

    def take_activity(self) -> bool:
        """Whether transitions have been read since the last call."""
        has_new_transitions, self._has_new_transitions = self._has_new_transitions, False
        return has_new_transitions

    @property
    def events_ns(self) -> int:
        """CLOCK_MONOTONIC: all events from before this have been offered."""
        batches = (*self._unsent, *self._unfiltered)
        waiting = (batch.rows["ts_ns"] for batch in batches if isinstance(batch, Transitions))
        return min([self._read_until_ns, *(int(times_ns.min()) for times_ns in waiting if len(times_ns))])

    def _read_rings(self, sink: Sink) -> int:
        """Read one batch from each ring and queue it; bytes of their records."""
        now_ns = clock.monotonic_ns()
        # in this order: an ended connection is read before the reset that followed it
        ended = self._program.ended.read(most_bytes=_BATCH_BYTES)
        transitions = self._program.transitions.read("ts_ns", _BATCH_BYTES)
        if len(transitions):
            self._has_new_transitions = True
            self._joiner.remember_closed(only_transitions(transitions))
        if len(ended):
            self._joiner.remember_ended(ended)
        self._queue(*self._late_resets.settle(transitions, ended, now_ns), sink)
        batch_bytes = transitions.nbytes + ended.nbytes
        if batch_bytes <= _BATCH_BYTES // 2:  # the rings are empty
            self._read_until_ns = now_ns
        elif len(transitions):
            self._read_until_ns = int(transitions["ts_ns"][-1])
        return batch_bytes

    def _queue(self, transitions: Rows, ended: Rows, resets: Rows, sink: Sink) -> None:
        """Make batches of settled records; ``resets`` (dtype TRANSITION) are those that TIME_WAIT sockets sent."""
        if len(transitions):
            self._unfiltered.append(Transitions(transitions))
            if self._names.collect(transitions):
                self._names.offer(sink)  # before the first line that needs them
        if len(ended):
            self._unfiltered.append(EndedConnections(ended))
        if len(ended) or len(resets):
            endings = self._half_closed.resolve(ended, resets)
            if len(endings):
                self._unfiltered.append(LateEndings(endings))
