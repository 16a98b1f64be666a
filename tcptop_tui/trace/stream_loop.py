"""Runs a feed in this thread and hands its batches to a stream, until something ends it."""

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
"""After the end that was asked for, events are still written for so long; what is left in the rings is counted."""
_STUCK_S = 0.65
"""After it, a reader that takes nothing is waited for no longer."""
_ROWS_AT_ONCE = 1024
"""Between two looks at whether it is time to end: 20,000 rows, a part of a ring, take seconds on a busy host."""


class LineFeed(Protocol):
    """What a stream listens to; never raises, its end is a ``Status``."""

    def run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        """Feed ``sink`` until ``stopped``."""
        ...


class LineStream(Protocol):
    """Makes lines of batches."""

    def start(self) -> None:
        """Write what stands above the lines; from now on nothing escapes."""
        ...

    def write_batch(self, batch: Batch, moment: LineContext) -> None:
        """Write what ``batch`` has for this stream."""
        ...

    def finish(self, moment: LineContext) -> None:
        """Write what is only known at the end."""
        ...

    def lost(self, loss: Loss) -> int:
        """How many of the events that this stream is made of are gone."""
        ...


@dataclass(slots=True)
class LineContext:
    """What lines need to know beside their rows."""

    utc_offset_ns: int = field(default_factory=lambda: time.time_ns() - clock.monotonic_ns())
    first_ns: int = 0
    """Time of the first line; 0 before it."""
    now_ns: int = 0
    """Of the latest table."""
    names: Names = field(default_factory=Names)

    def subject(self, rows: Rows) -> RowContext:
        """``rows`` as a filter sees them."""
        return RowContext(rows, self.now_ns, names=self.names)

    def lines(self, rows: Rows) -> LineRows:
        """``rows`` as lines."""
        offset_ns = self.utc_offset_ns
        lines = LineRows(rows, self.now_ns, names=self.names, utc_ns=lambda ts_ns: ts_ns + offset_ns)
        if not self.first_ns and len(rows):
            self.first_ns = times_ns(lines)[0]
        return replace(lines, first_ns=self.first_ns)


class StreamRunner:
    """The sink between a feed and a stream; knows when it is enough.

    Args:
        stream: what makes the lines.
        output: where they go.
        duration_s: from the moment that the tracer is attached; None: for ever.
        attached: called then, before the first line.
    """

    def __init__(
        self, stream: LineStream, output: Output, duration_s: float | None, attached: Callable[[], object]
    ) -> None:
        self.loss = Loss()
        self.error: Exception | None = None
        self.stuck = False
        """The reader took nothing at the end."""
        self.late_loss = Loss()
        """Events that there was no time left to write, as if the ring had had no room for them."""
        self.has_ended = False
        """There is nothing more to say: it has been said, or nobody reads it."""
        self.begun_s = time.monotonic()
        self._stream, self._output = stream, output
        self._duration_s = duration_s
        self._attached = attached
        self._begun = False
        self._is_live = True
        self._stop = Wake()
        self._stopped_s = 0.0
        self._moment = LineContext()

    def offer(self, batch: Batch) -> bool:
        """Take every batch; what goes wrong here ends the run instead of the feed."""
        if self.has_ended:
            return True
        try:
            for part in _in_chunks(batch):
                self._offer(part)
        except PipeClosed:
            self.has_ended = True
            self.stop()
        except Exception as error:  # noqa: BLE001  raised again when the feed has ended
            self.error, self.has_ended = error, True
            self.stop()
        return True

    def _offer(self, batch: Batch) -> None:
        late = self.stuck or (self._stop.is_set and time.monotonic() > self._stopped_s + _DRAIN_S)
        if late and isinstance(batch, Transitions | Pings):
            self.late_loss = replace(self.late_loss, ring_full=self.late_loss.ring_full + len(batch.rows))
        elif late and isinstance(batch, EndedConnections):
            self.late_loss = replace(
                self.late_loss, sessions_ring_full=self.late_loss.sessions_ring_full + len(batch.rows)
            )
        else:
            try:
                self._dispatch(batch)
            except WriteAbandoned:
                self.stuck = True

    def _dispatch(self, batch: Batch) -> None:
        if isinstance(batch, Status):
            self._begin(batch)
        elif isinstance(batch, Loss):
            self._note_loss(batch)
        elif isinstance(batch, Names):
            self._moment.names = batch
        elif isinstance(batch, Transitions | EndedConnections) and self._is_live:
            # the clock may have been set, or the host been asleep, since the last table: lines stay as they are written
            self._moment.utc_offset_ns = time.time_ns() - clock.monotonic_ns()
        elif isinstance(batch, Table):
            self._moment.utc_offset_ns = batch.utc_ns - batch.now_ns
            self._moment.now_ns = batch.now_ns
        self._stream.write_batch(batch, self._moment)

    def _begin(self, status: Status) -> None:
        self._is_live = status.backend != "replay"
        if status.ended and status.backend != "replay":
            raise TcptopError(status.note)
        if status.ended:
            self.stop()
        if status.note and (status.backend != "replay" or CUT_OFF in status.note):
            print_note(status.note)
        if not self._begun:
            self._begun = True
            self._attached()
            self._stream.start()
            if self._duration_s is not None:
                signal.setitimer(signal.ITIMER_REAL, self._duration_s)

    def _note_loss(self, loss: Loss) -> None:
        if self._stream.lost(loss) and not self._stream.lost(self.loss):
            print_note("events are being lost; --ring-mb makes more room, a filter leaves less to carry")
        self.loss = loss

    def stopped(self, wait_s: float) -> bool:
        """Wait, and say whether it is enough."""
        self._stop.wait(wait_s)
        if self._output.closed():
            self.has_ended = True
        return self._stop.is_set or self._output.is_full or self.has_ended

    def finish(self) -> None:
        """The stream's last lines, if it has any, and there is somebody to read them."""
        if self.has_ended or self.stuck:
            return
        try:
            self._stream.finish(self._moment)
        except PipeClosed:
            self.has_ended = True
        except WriteAbandoned:
            self.stuck = True

    def stop(self) -> None:
        """End at the next look; from a signal handler, too."""
        self._stopped_s = self._stopped_s or time.monotonic()
        self._stop.set()

    def on_signal(self, _number: int) -> None:
        """It is asked for from outside: there is not much time."""
        self.stop()
        signal.setitimer(signal.ITIMER_REAL, _STUCK_S)

    def on_timer(self, _number: int, _frame: FrameType | None) -> None:
        """The duration is over; or else the time that there was for the end.

        Raises:
            WriteAbandoned: out of a write that waits for the reader.
        """
        if self._stop.is_set:
            self._output.abandon()
        else:
            self.on_signal(signal.SIGALRM)


def _in_chunks(batch: Batch) -> Iterator[Batch]:
    """The same events, a few at a time."""
    if not isinstance(batch, Transitions | EndedConnections) or len(batch.rows) <= _ROWS_AT_ONCE:
        yield batch
        return
    for start in range(0, len(batch.rows), _ROWS_AT_ONCE):
        yield type(batch)(batch.rows[start : start + _ROWS_AT_ONCE])


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
        duration_s: for how long; None: until a signal.
        attached: called once the feed has what it needs, before the first line.

    Returns:
        The exit code: 0, also after Ctrl-C, which is how a stream ends; 128 + n after other signals.

    Raises:
        TcptopError: the feed ended with a reason, or the output cannot be written.
    """
    runner = StreamRunner(stream, output, duration_s, attached)

    def told() -> str:
        unwritten = stream.lost(runner.late_loss) + output.was_cut
        lost = stream.lost(runner.loss) + unwritten
        return summary(output.written, time.monotonic() - runner.begun_s, lost, runner.loss, unwritten)

    ending = ShutdownTimer(
        runner.on_signal, lambda: None if runner.has_ended else print_note_nonblocking(told()), _code
    )
    with handle_signals(ending.handle), _alarms(runner.on_timer):
        feed.run(runner, runner.stopped)
        runner.finish()
        if not runner.has_ended:
            runner.has_ended = True
            print_note(told())
    if isinstance(runner.error, OSError):
        raise TcptopError(f"cannot write to standard output: {runner.error.strerror}") from runner.error
    if runner.error is not None:
        raise runner.error
    return _code(ending.number)


def _code(number: int) -> int:
    """The exit code after a signal, or none: Ctrl-C is how a stream ends."""
    return 128 + number if number not in {0, signal.SIGINT} else 0


@contextmanager
def _alarms(handler: Handler) -> Iterator[None]:
    """Meanwhile SIGALRM calls ``handler``; afterwards none comes."""
    before = signal.signal(signal.SIGALRM, handler)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
