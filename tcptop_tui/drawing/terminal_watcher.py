"""Gives the terminal back when the dashboard cannot: a process of its own, with nothing but Python's own modules.

A crash in a C library, or SIGKILL, leaves no time for anything. Run as ``python -I -S watcher.py SETTINGS``, with the
dashboard's socket as standard input and the terminal as standard output. What comes on the socket:

- ``taken``: the dashboard is about to change the terminal;
- ``given back``: it is as before; after Ctrl+Z others use it, and nothing of theirs is touched;
- anything else: the first words of a crash (``faulthandler``), whose writer waits until the others are read, so that
  the terminal is in order before the shell hears of it;
- the end: the dashboard has gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import termios
from typing import Any

TAKEN, GIVEN_BACK = b"taken", b"given back"
LEAVE = b"".join(
    (
        b"\x18",  # CAN: whatever sequence was cut short
        b"\x1b[?2026l", b"\x1b[m", b"\x1b[r", b"\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1016l",
        b"\x1b[?2004l\x1b[?2048l\x1b[?1004l", b"\x1b[?7h", b"\x1b[<u", b"\x1b[?1049l", b"\x1b[?25h",
    )
)  # fmt: skip
"""Everything off that Textual's driver may have switched on."""


_IFLAG, _LFLAG = 0, 3
_OFF_IFLAG = termios.IXON | termios.IXOFF | termios.ICRNL | termios.INLCR | termios.IGNCR
_OFF_LFLAG = termios.ECHO | termios.ICANON | termios.IEXTEN | termios.ISIG
"""What Textual's driver switches off (``_patch_iflag``, ``_patch_lflag``)."""


def _is_ours(now: list[Any], before: list[Any]) -> bool:
    """Whether the settings are the dashboard's still; a shell that has got the terminal meanwhile has set its own."""
    input_off, local_off = before[_IFLAG] & ~_OFF_IFLAG, before[_LFLAG] & ~_OFF_LFLAG
    return bool(now[_IFLAG] == input_off and now[_LFLAG] & ~termios.ISIG == local_off)


def restore(screen: int, settings: list[Any]) -> None:
    """Give the terminal back; waits for nothing.

    Settings that somebody else has made since stay, and so does the screen of another program in the foreground. A
    shell at its prompt gets the screen back: it has set nothing but the settings.

    Args:
        screen: a descriptor of it that does not block.
        settings: of ``termios.tcgetattr``, from before.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})  # also from the background
    try:
        with contextlib.suppress(OSError, termios.error):
            if _is_ours(termios.tcgetattr(screen), settings):
                termios.tcflush(screen, termios.TCIFLUSH)
                termios.tcsetattr(screen, termios.TCSANOW, settings)
            elif termios.tcgetattr(screen) != settings and os.tcgetpgrp(screen) not in {os.getpgrp(), os.getsid(0)}:
                return
        with contextlib.suppress(OSError, termios.error):
            if _written(screen) < len(LEAVE):  # it takes nothing: what waits there is for a screen that has gone
                termios.tcflow(screen, termios.TCOON)
                termios.tcflush(screen, termios.TCOFLUSH)
                _written(screen)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _written(screen: int) -> int:
    try:
        return os.write(screen, LEAVE)
    except BlockingIOError:
        return 0


def main(settings: list[Any]) -> None:
    """Wait for the end of the dashboard."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    is_taken = False
    while heard := os.read(0, 4096):
        if is_taken and heard not in {TAKEN, GIVEN_BACK}:
            restore(1, settings)
        is_taken = heard == TAKEN
    if is_taken:
        restore(1, settings)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
