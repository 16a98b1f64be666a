"""The terminal as it was before, to be given back whatever happens to the dashboard."""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import json
import os
import select
import signal
import socket
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any, Self

from tcptop_tui.drawing import terminal_watcher
from tcptop_tui.errors import UsageError

_SMALL_BYTES = 1
"""Of the socket's buffer (the kernel takes its least): who writes down a crash has to wait for the reader."""


def wait_for_foreground(terminal: int) -> None:
    """Stop like every job that wants its terminal and is in the background; go on when it has it (fg).

    Raises:
        UsageError: it is in the background for good: no shell could bring it back.
    """
    before = signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    try:
        while True:
            try:
                # changes nothing, and is looked at like a change (tty_check_change, drivers/tty/tty_jobctrl.c)
                termios.tcflow(terminal, termios.TCOON)
            except termios.error as error:
                if error.args[0] == errno.EINTR:  # continued, perhaps in the background
                    continue
                if error.args[0] == errno.EIO and os.tcgetpgrp(terminal) != os.getpgrp():
                    raise UsageError("the dashboard is in the background for good", hint="start it without &") from None
            return
    finally:
        signal.signal(signal.SIGTTOU, before)


def own_descriptor(terminal: int) -> int:
    """Another one of the same terminal, which does not block; ``terminal`` is shared with the shell and left alone."""
    flags = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
    with contextlib.suppress(OSError):
        os.tcgetpgrp(terminal)  # it is the controlling one
        return os.open("/dev/tty", flags)
    with contextlib.suppress(OSError):
        return os.open(f"/proc/self/fd/{terminal}", flags)
    return os.dup(terminal)


class ScreenFile:
    """Writes to a terminal without waiting in the kernel.

    A write that waits there keeps all others out, also the one that gives the terminal back.

    Args:
        descriptor: does not block.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        """Its descriptor."""
        return self._descriptor

    def write(self, data: str) -> int:
        """Wait until the terminal has taken it.

        Raises:
            OSError: it has gone.
        """
        rest = memoryview(data.encode("utf-8", "replace"))
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [])
        return len(data)

    def flush(self) -> None:
        """Nothing waits here."""


class BorrowedTerminal:
    """A context in which the terminal is somebody else's; afterwards it is as before.

    Args:
        terminal: its descriptor.
    """

    def __init__(self, terminal: int) -> None:
        self.is_given_back = False
        """Ctrl+Z: others have it until the dashboard is in the foreground again."""
        self._is_taken = False
        self._settings: list[Any] = termios.tcgetattr(terminal)
        self._screen = own_descriptor(terminal)
        self.file = ScreenFile(self._screen)
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SMALL_BYTES)
        with theirs:
            self._watcher = self._start_watcher(theirs)
        if self._watcher is not None:
            faulthandler.enable(self._link.fileno(), all_threads=False)

    def _start_watcher(self, link: socket.socket) -> subprocess.Popen[bytes] | None:
        *flags, control = self._settings
        settings = [*flags, [int(one[0]) if isinstance(one, bytes) else one for one in control]]
        program = [sys.executable, "-I", "-S", str(Path(terminal_watcher.__file__)), json.dumps(settings)]
        try:
            return subprocess.Popen(
                program, stdin=link.fileno(), stdout=self._screen, stderr=subprocess.DEVNULL, cwd="/", process_group=0
            )
        except OSError:  # no process to be had: signals and exceptions are seen to here
            return None

    def is_elsewhere(self) -> bool:
        """Whether others have it: after Ctrl+Z, and when somebody has stopped the dashboard (kill -STOP)."""
        with contextlib.suppress(OSError):  # it is not the controlling one
            return self.is_given_back or os.tcgetpgrp(self._screen) != os.getpgrp()
        return self.is_given_back

    def __enter__(self) -> Self:
        return self

    def acquire(self) -> None:
        """To be called before it is changed."""
        self.is_given_back, self._is_taken = False, True
        self._tell_watcher(terminal_watcher.TAKEN)

    def give_back(self, *, lend: bool = False) -> None:
        """It is as before, for good or until the next ``take``; what others do with it meanwhile is left alone."""
        self.is_given_back, self._is_taken = lend, False
        self._tell_watcher(terminal_watcher.GIVEN_BACK)

    def restore(self) -> None:
        """Give it back at once, from a handler or a thread; nothing that is drawn later gets there."""
        if not self._is_taken:
            return
        null = os.open(os.devnull, os.O_WRONLY)
        kept = os.dup(self._screen)
        os.dup2(null, self._screen)
        terminal_watcher.restore(kept, self._settings)
        self.give_back()

    def _tell_watcher(self, word: bytes) -> None:
        with contextlib.suppress(OSError):
            self._link.send(word, socket.MSG_DONTWAIT)

    def __exit__(self, *_: object) -> None:
        if faulthandler.is_enabled():
            faulthandler.disable()
        self.give_back()
        self._link.close()
        if self._watcher is not None:
            self._watcher.wait()
        os.close(self._screen)
