"""The signals that mean: come to an end. After the first one there is a second left; the next one ends at once."""

from __future__ import annotations

import _thread
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DEADLY = (
    signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO,
    signal.SIGPWR, signal.SIGXCPU,
)  # fmt: skip
"""These end a process that does not know them, and would leave the terminal as the dashboard has it."""
PATIENCE_S = 0.8
"""From the first signal on; what still waits then, for a full pipe, a terminal or a thread, is left."""

Handler = Callable[[int, FrameType | None], object]


class Wake:
    """As ``threading.Event``, but a signal handler may set it.

    An event's lock may be held by the very code that the handler has interrupted: ``set`` would wait for ever.
    """

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.is_set = False

    def fileno(self) -> int:
        """Readable while it is set."""
        return self._fd

    def set(self) -> None:
        """Wake whoever waits, now and from now on."""
        self.is_set = True
        with suppress(BlockingIOError):
            os.eventfd_write(self._fd, 1)

    def wait(self, timeout_s: float) -> bool:
        """Wait at most so long; whether it is set."""
        if not self.is_set:
            select.select([self._fd], [], [], max(0.0, timeout_s))
        return self.is_set

    def __del__(self) -> None:
        os.close(self._fd)


class ShutdownTimer:
    """Sees to it that the process ends, however it is stuck, from the first signal on.

    Args:
        told: called with the first signal's number, in the main thread: to come to an end by itself.
        last: called before the process is ended from outside, in any thread; must neither block nor take a lock.
        code: the exit code then, by signal.
    """

    def __init__(
        self,
        told: Callable[[int], object],
        last: Callable[[], object] = lambda: None,
        code: Callable[[int], int] = lambda number: 128 + number,
    ) -> None:
        self.number = 0
        """The first signal; 0 while there was none."""
        self._on_first_signal, self._last, self._code = told, last, code

    def handle(self, number: int, _frame: FrameType | None = None) -> None:
        """For ``signal.signal``. Takes no lock: it may interrupt who holds it."""
        if self.number:
            self.force()
        self.number = number
        self.arm()
        self._on_first_signal(number)

    def arm(self, patience_s: float = PATIENCE_S) -> None:
        """Let the process end when the patience is over, whatever it does then."""
        _thread.start_new_thread(self._watch, (patience_s,))  # threading's own threads take locks when they start

    def _watch(self, patience_s: float) -> None:
        time.sleep(patience_s)
        self.force()

    def force(self) -> NoReturn:
        """End now; nothing is flushed, no thread is waited for."""
        try:
            self._last()
        finally:
            os._exit(self._code(self.number))


@contextmanager
def handle_signals(handler: Handler, *others: signal.Signals) -> Iterator[None]:
    """Meanwhile ``ENDING`` and ``others`` only call ``handler``; main thread only.

    An exception instead, such as KeyboardInterrupt, is raised in whatever runs just then, and is lost where that
    is a callback of C code that clears errors, or a finalizer. A hang-up that is ignored (nohup) stays so.
    """
    numbers = [one for one in (*ENDING, *others) if not (one == signal.SIGHUP and _is_ignored(one))]
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, one in before.items():
            signal.signal(number, one)


def _is_ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN
