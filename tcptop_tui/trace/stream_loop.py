"""Runs a feed in the main thread and hands its batches to a line stream, until something ends it.

What can end it: ``--duration``, ``--count``, a signal, the feed, or a reader of the output that goes away. Whatever the
reader does, the process ends within a second of that, and says on standard error what was lost.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Protocol

from tcptop_tui.errors import TcptopError
from tcptop_tui.fields import RowContext
from tcptop_tui.host import clock
from tcptop_tui.host.signals import Handler, ShutdownTimer, Wake, handle_signals
from tcptop_tui.records import Rows
from tcptop_tui.replay.source import CUT_OFF
from tcptop_tui.stream.batches import Batch, EndedConnections, Loss, Names, Pings, Sink, Status, Table, Transitions
from tcptop_tui.trace.columns import LineRows, times_ns
from tcptop_tui.trace.output import Output, PipeClosed, WriteAbandoned
from tcptop_tui.trace.summary import print_note, print_note_nonblocking, summary

_DRAIN_S = 0.5
"""Once the stream is to end, events are still written for this long; those that come later are counted as lost."""
_STUCK_S = 0.65
"""Once the stream is to end, a write that blocks is given up after this time."""
_MAX_CHUNK_ROWS = 1024
"""Rows between two looks at the time: 20,000 rows, a part of a ring, take seconds on a busy host."""


class LineFeed(Protocol):
    """What a stream listens to. It never raises: its end, also by an error, is a ``Status``."""

    def run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        """Offer batches to ``sink`` until ``stopped``, which waits for so many seconds, returns True."""
        ...


class LineStream(Protocol):
    """One of ``tcptop-tui trace``'s commands: makes lines of batches and writes them to its ``Output``."""

    def start(self) -> None:
        """Write what stands above the lines. Called once, when the tracer is attached."""
        ...

    def write_batch(self, batch: Batch, context: LineContext) -> None:
        """Write the lines of ``batch``; batches that are of no use to this stream have none."""
        ...

    def finish(self, context: LineContext) -> None:
        """Write the lines that are only known at the end."""
        ...

    def lost(self, loss: Loss) -> int:
        """How many of the lost events would have been lines of this stream."""
        ...


@dataclass(slots=True)
class LineContext:
    """What lines need to know beside their rows: clocks, and names of the host."""

    utc_offset_ns: int = field(default_factory=lambda: time.time_ns() - clock.monotonic_ns())
    """UTC less CLOCK_MONOTONIC."""
    first_ns: int = 0
    """CLOCK_MONOTONIC of the first line; 0 before it."""
    now_ns: int = 0
    """CLOCK_MONOTONIC of the latest table."""
    names: Names = field(default_factory=Names)

    def row_context(self, rows: Rows) -> RowContext:
        """``rows`` for a filter."""
        return RowContext(rows, self.now_ns, names=self.names)

    def line_rows(self, rows: Rows) -> LineRows:
        """``rows`` for an ``Output``; the first ones set the time of the stream's first line."""
        offset_ns = self.utc_offset_ns
        lines = LineRows(rows, self.now_ns, names=self.names, utc_ns=lambda ts_ns: ts_ns + offset_ns)
        if not self.first_ns and len(rows):
            self.first_ns = times_ns(lines)[0]
        return replace(lines, first_ns=self.first_ns)


class StreamRunner:
    """The sink between a feed and a stream, which decides when the stream ends.

    Args:
        stream: what makes the lines.
        output: where they go.
        duration_s: how long the stream goes on after the tracer is attached; None: until a signal.
        attached: called once the tracer is attached, before the first line.
    """

    def __init__(
        self, stream: LineStream, output: Output, duration_s: float | None, attached: Callable[[], object]
    ) -> None:
        self.loss = Loss()
        self.error: Exception | None = None
        self.is_stuck = False
        """A write was given up, because the reader of the output took nothing."""
        self.late_loss = Loss()
        """Events that came too late to be written, counted as if the ring had had no room for them."""
        self.has_ended = False
        """Nothing more is written, to the output or about it: all is said, or nobody reads it."""
        self.begun_s = time.monotonic()
        self._stream, self._output = stream, output
        self._duration_s = duration_s
        self._attached = attached
        self._has_begun = False
        self._is_live = True
        self._stop = Wake()
        self._stopped_s = 0.0
        self._context = LineContext()

    def offer(self, batch: Batch) -> bool:
        """Take every batch. An error ends the stream and is kept in ``error``: the feed is not to see it."""
        if self.has_ended:
            return True
        try:
            for chunk in _chunks(batch):
                self._write_or_count(chunk)
        except PipeClosed:
            self.has_ended = True
            self.stop()
        except Exception as error:  # noqa: BLE001  raised again when the feed has ended
            self.error, self.has_ended = error, True
            self.stop()
        return True

    def _write_or_count(self, batch: Batch) -> None:
        """Write a batch, or count its events as lost if they come too late."""
        is_late = self.is_stuck or (self._stop.is_set and time.monotonic() > self._stopped_s + _DRAIN_S)
        if is_late and isinstance(batch, Transitions | Pings):
            self.late_loss = replace(self.late_loss, ring_full=self.late_loss.ring_full + len(batch.rows))
        elif is_late and isinstance(batch, EndedConnections):
            self.late_loss = replace(
                self.late_loss, sessions_ring_full=self.late_loss.sessions_ring_full + len(batch.rows)
            )
        else:
            try:
                self._dispatch(batch)
            except WriteAbandoned:
                self.is_stuck = True

    def _dispatch(self, batch: Batch) -> None:
        """Keep what the batch says of clocks, names, loss and the feed; then let the stream write it."""
        if isinstance(batch, Status):
            self._take_status(batch)
        elif isinstance(batch, Loss):
            self._take_loss(batch)
        elif isinstance(batch, Names):
            self._context.names = batch
        elif isinstance(batch, Transitions | EndedConnections) and self._is_live:
            # the clock may have been set, or the host suspended, since the last table; a line cannot be corrected later
            self._context.utc_offset_ns = time.time_ns() - clock.monotonic_ns()
        elif isinstance(batch, Table):
            self._context.utc_offset_ns = batch.utc_ns - batch.now_ns
            self._context.now_ns = batch.now_ns
        self._stream.write_batch(batch, self._context)

    def _take_status(self, status: Status) -> None:
        """Begin with the first status; end with one that says that the feed has ended.

        Raises:
            TcptopError: the feed ended before anybody wanted it to.
        """
        self._is_live = status.backend != "replay"
        if status.ended and status.backend != "replay":
            raise TcptopError(status.note)
        if status.ended:
            self.stop()
        if status.note and (status.backend != "replay" or CUT_OFF in status.note):
            print_note(status.note)
        if not self._has_begun:
            self._has_begun = True
            self._attached()
            self._stream.start()
            if self._duration_s is not None:
                signal.setitimer(signal.ITIMER_REAL, self._duration_s)

    def _take_loss(self, loss: Loss) -> None:
        """Keep the counts, and tell the user as soon as events are lost for the first time."""
        if self._stream.lost(loss) and not self._stream.lost(self.loss):
            print_note("events are being lost; --ring-mb makes more room, a filter leaves less to carry")
        self.loss = loss

    def stopped(self, wait_s: float) -> bool:
        """Wait ``wait_s`` or until the stream is to end; returns whether it is."""
        self._stop.wait(wait_s)
        if self._output.closed():
            self.has_ended = True
        return self._stop.is_set or self._output.is_full or self.has_ended

    def finish(self) -> None:
        """Write the stream's last lines, unless nobody reads them."""
        if self.has_ended or self.is_stuck:
            return
        try:
            self._stream.finish(self._context)
        except PipeClosed:
            self.has_ended = True
        except WriteAbandoned:
            self.is_stuck = True

    def stop(self) -> None:
        """End the stream soon. May be called from a signal handler."""
        self._stopped_s = self._stopped_s or time.monotonic()
        self._stop.set()

    def on_signal(self, _number: int) -> None:
        """End the stream because of a signal: writes that block are given up after ``_STUCK_S``."""
        self.stop()
        signal.setitimer(signal.ITIMER_REAL, _STUCK_S)

    def on_timer(self, _number: int, _frame: FrameType | None) -> None:
        """For SIGALRM: the duration is over, or, if the stream is to end already, the time for its last lines.

        Raises:
            WriteAbandoned: a write was waiting for the reader; it ends with this.
        """
        if self._stop.is_set:
            self._output.abandon()
        else:
            self.on_signal(signal.SIGALRM)


def _chunks(batch: Batch) -> Iterator[Batch]:
    """The events of ``batch`` in batches of at most ``_MAX_CHUNK_ROWS`` rows."""
    if not isinstance(batch, Transitions | EndedConnections) or len(batch.rows) <= _MAX_CHUNK_ROWS:
        yield batch
        return
    for start in range(0, len(batch.rows), _MAX_CHUNK_ROWS):
        yield type(batch)(batch.rows[start : start + _MAX_CHUNK_ROWS])


def run_stream(
    feed: LineFeed,
    stream: LineStream,
    output: Output,
    duration_s: float | None,
    attached: Callable[[], object] = lambda: None,
) -> int:
    """Write ``stream`` to its end; main thread only.

    Args:
        feed: where its batches come from.
        stream: what makes lines of them.
        output: where these go.
        duration_s: how long it goes on after the tracer is attached; None: until a signal.
        attached: called once the tracer is attached, before the first line.

    Returns:
        The exit code: 0, also after Ctrl-C, which is how a stream ends; 128 + n after other signals.

    Raises:
        TcptopError: the feed ended with a reason, or the output cannot be written.
    """
    runner = StreamRunner(stream, output, duration_s, attached)

    def end_note() -> str:
        unwritten = stream.lost(runner.late_loss) + output.abandoned_lines
        lost = stream.lost(runner.loss) + unwritten
        return summary(output.written, time.monotonic() - runner.begun_s, lost, runner.loss, unwritten)

    ending = ShutdownTimer(
        runner.on_signal, lambda: None if runner.has_ended else print_note_nonblocking(end_note()), _exit_code
    )
    with handle_signals(ending.handle), _alarms(runner.on_timer):
        feed.run(runner, runner.stopped)
        runner.finish()
        if not runner.has_ended:
            runner.has_ended = True
            print_note(end_note())
    if isinstance(runner.error, OSError):
        raise TcptopError(f"cannot write to standard output: {runner.error.strerror}") from runner.error
    if runner.error is not None:
        raise runner.error
    return _exit_code(ending.number)


def _exit_code(number: int) -> int:
    """The exit code after signal ``number``; 0 after none, and after SIGINT, which is how a stream ends."""
    return 128 + number if number not in {0, signal.SIGINT} else 0


@contextmanager
def _alarms(handler: Handler) -> Iterator[None]:
    """Let SIGALRM call ``handler`` meanwhile; afterwards no timer is left."""
    previous_handler = signal.signal(signal.SIGALRM, handler)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous_handler)
