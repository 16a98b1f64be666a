"""Runs a feed in this thread and hands its batches to a stream, until something ends it."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Protocol

from tcptop_tui import clock
from tcptop_tui.errors import TcptopError
from tcptop_tui.records import Rows
from tcptop_tui.signals import told_by_signals
from tcptop_tui.source.batches import Batch, Loss, Names, Sessions, Sink, Status, Table, Transitions
from tcptop_tui.text import clean
from tcptop_tui.trace.columns import Lines
from tcptop_tui.trace.output import Output, PipeClosed


class Feeds(Protocol):
    """What a stream listens to; never raises, its end is a ``Status``."""

    def run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        """Feed ``sink`` until ``stopped``."""
        ...


class Stream(Protocol):
    """Makes lines of batches."""

    def begin(self) -> None:
        """Write what stands above the lines; from now on nothing escapes."""
        ...

    def take(self, batch: Batch, moment: Moment) -> None:
        """Write what ``batch`` has for this stream."""
        ...

    def finish(self, moment: Moment) -> None:
        """Write what is only known at the end."""
        ...

    def lost(self, loss: Loss) -> int:
        """How many of the events that this stream is made of are gone."""
        ...


@dataclass(slots=True)
class Moment:
    """What lines need to know beside their rows."""

    utc_offset_ns: int = field(default_factory=lambda: time.time_ns() - clock.monotonic_ns())
    first_ns: int = 0
    """Time of the first line; 0 before it."""
    now_ns: int = 0
    """Of the latest table."""
    names: Names = field(default_factory=Names)

    def lines(self, rows: Rows, time_ns: Rows) -> Lines:
        """``rows`` as lines of these times."""
        if not self.first_ns and len(time_ns):
            self.first_ns = int(time_ns[0])
        return Lines(rows, time_ns, self.utc_offset_ns, self.first_ns, self.names)


class Runner:
    """The sink between a feed and a stream; knows when it is enough.

    Args:
        stream: what makes the lines.
        output: where they go.
        duration_s: from the moment that the tracer is attached; None: for ever.
    """

    def __init__(
        self, stream: Stream, output: Output, duration_s: float | None, attached: Callable[[], object]
    ) -> None:
        self.loss = Loss()
        self.signal = 0
        self.error: Exception | None = None
        self.pipe_closed = False
        self.begun_s = time.monotonic()
        self._stream, self._output = stream, output
        self._duration_s = duration_s
        self._attached = attached
        self._deadline_s: float | None = None
        self._begun = False
        self._live = True
        self._stop = threading.Event()
        self._moment = Moment()

    def offer(self, batch: Batch) -> bool:
        """Take every batch; what goes wrong here ends the run instead of the feed."""
        if self.error is not None or self.pipe_closed:
            return True
        try:
            self._take(batch)
        except PipeClosed:
            self.pipe_closed = True
            self._stop.set()
        except Exception as error:  # noqa: BLE001  raised again when the feed has ended
            self.error = error
            self._stop.set()
        return True

    def _take(self, batch: Batch) -> None:
        if isinstance(batch, Status):
            self._begin(batch)
        elif isinstance(batch, Loss):
            self._note_loss(batch)
        elif isinstance(batch, Names):
            self._moment.names = batch
        elif isinstance(batch, Transitions | Sessions) and self._live:
            # the clock may have been set, or the host been asleep, since the last table: lines stay as they are written
            self._moment.utc_offset_ns = time.time_ns() - clock.monotonic_ns()
        elif isinstance(batch, Table):
            self._moment.utc_offset_ns = batch.utc_ns - batch.now_ns
            self._moment.now_ns = batch.now_ns
        self._stream.take(batch, self._moment)

    def _begin(self, status: Status) -> None:
        self._live = status.backend != "replay"
        if status.ended and status.backend != "replay":
            raise TcptopError(status.note)
        if status.ended:
            self._stop.set()
        if status.note and status.backend != "replay":
            say(status.note)
        if not self._begun:
            self._begun = True
            self._attached()
            self._stream.begin()
            if self._duration_s is not None:
                self._deadline_s = time.monotonic() + self._duration_s

    def _note_loss(self, loss: Loss) -> None:
        if self._stream.lost(loss) and not self._stream.lost(self.loss):
            say("events are being lost; --ring-mb makes more room, a filter leaves less to carry")
        self.loss = loss

    def stopped(self, wait_s: float) -> bool:
        """Wait, and say whether it is enough."""
        if self._deadline_s is not None:
            wait_s = min(wait_s, max(0.0, self._deadline_s - time.monotonic()))
        self._stop.wait(wait_s)
        late = self._deadline_s is not None and time.monotonic() >= self._deadline_s
        if not self.pipe_closed and self._output.closed():
            self.pipe_closed = True
        return self._stop.is_set() or late or self._output.full or self.pipe_closed

    def finish(self) -> None:
        """The stream's last lines."""
        try:
            self._stream.finish(self._moment)
        except PipeClosed:
            self.pipe_closed = True

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """End at the next look."""
        self.signal = number
        self._stop.set()


def run_stream(
    feed: Feeds,
    stream: Stream,
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
    runner = Runner(stream, output, duration_s, attached)
    with told_by_signals(runner.on_signal):
        feed.run(runner, runner.stopped)
        if runner.error is None and not runner.pipe_closed:
            runner.finish()
    if isinstance(runner.error, OSError):
        raise TcptopError(f"cannot write to standard output: {runner.error.strerror}") from runner.error
    if runner.error is not None:
        raise runner.error
    if not runner.pipe_closed:
        lost = stream.lost(runner.loss)
        say(summary(output.written, time.monotonic() - runner.begun_s, lost, runner.loss))
    return 128 + runner.signal if runner.signal not in {0, signal.SIGINT} else 0


def summary(written: int, seconds: float, lost: int, loss: Loss) -> str:
    """``312 lines in 12.3 s; lost 0, map full 0, missed 0``."""
    lines = f"{written:,} line{'' if written == 1 else 's'} in {seconds:.1f} s"
    return f"{lines}; lost {lost:,}, map full {loss.map_full:,}, missed {loss.missed:,}"


def say(message: str) -> None:
    """A line to the user, beside the stream."""
    sys.stdout.flush()
    sys.stderr.write(f"tcptop-tui: {clean(message)}\n")
    sys.stderr.flush()
