"""Handles the signals that end the process: the first one leaves it a second to end, the next one ends it at once."""

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
"""Signals that end a process which does not handle them, and would leave the terminal in the dashboard's mode."""
PATIENCE_S = 0.8
"""Time to end after the first signal; whatever still waits then, for a pipe, a terminal or a thread, is given up."""

Handler = Callable[[int, FrameType | None], object]


class Wake:
    """As ``threading.Event``, but a signal handler may set it.

    The code that a handler interrupts may hold an event's lock, and then ``Event.set`` would wait for ever.
    """

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.is_set = False

    def fileno(self) -> int:
        """Readable while it is set."""
        return self._fd

    def set(self) -> None:
        """Wake whoever waits; from now on ``wait`` returns at once."""
        self.is_set = True
        with suppress(BlockingIOError):
            os.eventfd_write(self._fd, 1)

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is set, at most ``timeout_s``; returns whether it is set."""
        if not self.is_set:
            select.select([self._fd], [], [], max(0.0, timeout_s))
        return self.is_set

    def __del__(self) -> None:
        os.close(self._fd)


class ShutdownTimer:
    """Ends the process some time after the first signal, whatever it is stuck in.

    Args:
        on_first_signal: called in the main thread with the signal's number; it starts an orderly end.
        before_exit: called in any thread before the process is forced to end; it must neither block nor take a lock.
        exit_code: from the signal's number to the exit code of a forced end.
    """

    def __init__(
        self,
        on_first_signal: Callable[[int], object],
        before_exit: Callable[[], object] = lambda: None,
        exit_code: Callable[[int], int] = lambda number: 128 + number,
    ) -> None:
        self.number = 0
        """The first signal; 0 while there was none."""
        self._on_first_signal, self._before_exit, self._exit_code = on_first_signal, before_exit, exit_code

    def handle(self, number: int, _frame: FrameType | None = None) -> None:
        """For ``signal.signal``. Takes no lock, because it may have interrupted its holder."""
        if self.number:
            self.force()
        self.number = number
        self.arm()
        self._on_first_signal(number)

    def arm(self, patience_s: float = PATIENCE_S) -> None:
        """End the process after ``patience_s``, whatever it does then."""
        _thread.start_new_thread(self._watch, (patience_s,))  # threading's own threads take locks when they start

    def _watch(self, patience_s: float) -> None:
        time.sleep(patience_s)
        self.force()

    def force(self) -> NoReturn:
        """End the process now, without flushing files or waiting for threads."""
        try:
            self._before_exit()
        finally:
            os._exit(self._exit_code(self.number))


@contextmanager
def handle_signals(handler: Handler, *others: signal.Signals) -> Iterator[None]:
    """Let the signals of ``ENDING`` and ``others`` call ``handler`` meanwhile; main thread only.

    An exception such as KeyboardInterrupt would be raised in whatever runs just then, and be lost in a finalizer or in
    a callback of C code that clears errors. A hang-up that is ignored (nohup) stays ignored.
    """
    numbers = [one for one in (*ENDING, *others) if not (one == signal.SIGHUP and _is_ignored(one))]
    previous_handlers = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous_handler in previous_handlers.items():
            signal.signal(number, previous_handler)


def _is_ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN
