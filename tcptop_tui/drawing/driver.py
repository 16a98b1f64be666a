"""Textual's driver for Linux, but what it draws goes through a ``Grid``: only cells that differ are sent.

Textual repaints whole widgets, with all of a style before and a reset behind each piece of text:
15,800 bytes a second for a quiet host. And when the terminal is slower than the dashboard, its
drawings queue up, until the event loop waits for them. Here a drawing that has not left yet is
replaced by the next one. What is typed is read in ``keyboard.py``.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
from collections.abc import Callable
from typing import Any, Final

from textual.drivers.linux_driver import LinuxDriver

from tcptop_tui.drawing.borrowed_terminal import BorrowedTerminal, wait_for_foreground
from tcptop_tui.drawing.certain_width import with_certain_width
from tcptop_tui.drawing.glyphs import substitutions, user_environ
from tcptop_tui.drawing.grid import Grid
from tcptop_tui.drawing.keyboard import WakeEvent, read_keys
from tcptop_tui.drawing.pens import parse_sgr
from tcptop_tui.safe_text import REPLACEMENT

_TOKEN: Final = re.compile(
    r"\x1b\[(?P<y>\d+);(?P<x>\d+)H"
    r"|\x1b\[(?P<pen>[\d;]*)m"
    r"|(?P<sync>\x1b\[\?2026[hl])"
    r"|(?P<text>[^\x1b\r\n]+)"
    r"|(?P<line>[\r\n]+)"  # Textual ends lines, but says where the next one is besides
    r"|(?P<other>\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[^\[\]])?)"
)
_SYNC_BEGIN, _SYNC_END = "\x1b[?2026h", "\x1b[?2026l"
_PLAIN = "\x1b[m"
_BELL = "\a"


class _NotifyingFile:
    """A text file that tells when all that was written to it has left: Textual's thread flushes then."""

    def __init__(self, file: Any, left: Callable[[], None]) -> None:
        self._file, self._written_callback = file, left

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: str) -> int:
        """As the file does it; a terminal that has gone takes everything, or Textual's thread would end here."""
        with contextlib.suppress(OSError):
            self._file.write(data)
        return len(data)

    def flush(self) -> None:
        """Wait until the terminal has taken it."""
        with contextlib.suppress(OSError):
            self._file.flush()
        self._written_callback()


class DiffDriver(LinuxDriver):
    """Sends differences, one drawing at a time; reads what is typed."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._borrowed_terminal: BorrowedTerminal | None = getattr(self._app, "borrowed_terminal", None)
        self._file: Any = _NotifyingFile(
            self._borrowed_terminal.file if self._borrowed_terminal else self._file, self._output_written
        )
        self._size_cells = self._get_terminal_size()
        self._grid = Grid(*self._size_cells)
        self._glyphs = substitutions(user_environ(), ascii_only=getattr(self._app, "ascii_only", False))
        self._in_flight = False
        self._waiting = False
        self._has_screen = True
        self._synced = False
        self._rest = (0, 0)
        self._stopped = self.exit_event = WakeEvent()

    def run_input_thread(self) -> None:
        """In Textual's thread for it, each time the terminal is taken up.

        A terminal that is not the controlling one (setsid(1)) goes without a signal: who stayed would never be seen.
        """
        read_keys(self.fileno, self._stopped, self.process_message)
        if not self._stopped.is_set():
            self._loop.call_soon_threadsafe(self._app.exit, None, 128 + signal.SIGHUP)

    # -- what Textual draws -------------------------------------------------------------------

    def write(self, data: str) -> None:
        """Take a drawing in, or pass on what is none: Textual's own sequences come one by one."""
        self._fit_terminal()
        if data == _BELL:
            super().write(data)
            return
        for token in _TOKEN.finditer(data):
            kind, value = token.lastgroup, token.group()
            if kind == "text":
                self._draw(value)
            elif kind == "pen":
                self._grid.set_pen(parse_sgr(token["pen"]))
            elif kind == "x":
                self._rest = int(token["x"]) - 1, int(token["y"]) - 1
                self._grid.move(*self._rest)
            elif kind == "sync":
                self._synced = True
            elif kind == "other" and value != data:  # in a drawing: it stood in what is drawn
                self._draw(value)
            elif kind == "other":
                self._grid.lost_cursor()
                super().write(_PLAIN + value)
                if value.startswith("\x1b[?1049"):
                    self._has_screen = value.endswith("h")
                    self._grid.invalidate()

    def _draw(self, drawn: str) -> None:
        """Put text on the grid; the last barrier, should something from outside have come here uncleaned."""
        if not drawn.isprintable():
            drawn = "".join(c if c.isprintable() else REPLACEMENT for c in drawn)
        drawn = with_certain_width(drawn)
        self._grid.write(drawn.translate(self._glyphs) if self._glyphs else drawn)

    def flush(self) -> None:
        """Send what differs; while the last drawing is on its way, when it has arrived.

        What is drawn when the screen has been given back would stand on the shell's.
        """
        if not self._has_screen:
            return
        if self._in_flight:
            self._waiting = True
            return
        self._waiting = False
        drawing = self._grid.difference()
        if not drawing:
            return
        if self._rest != (0, 0):  # somebody types there
            drawing += self._grid.rest_at(*self._rest)
        self._in_flight = True
        super().write(f"{_SYNC_BEGIN}{drawing}{_SYNC_END}" if self._synced else drawing)

    def start_application_mode(self) -> None:
        """Take the terminal, as soon as we are in its foreground."""
        wait_for_foreground(self.fileno)
        if self._borrowed_terminal:
            self._borrowed_terminal.acquire()
        super().start_application_mode()  # type: ignore[no-untyped-call]

    def _sigtstp_application(self, *_: object) -> None:
        """Give the terminal back, stop as by Ctrl+Z in any other program, and take it up again.

        Textual sends SIGSTOP to itself, which also stops where no shell is that could say fg (the only program of a
        tmux window); SIGTSTP is ignored there by the kernel.
        """
        self.suspend_application_mode()
        if self._borrowed_terminal:
            self._borrowed_terminal.give_back(lend=True)
        before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.killpg(0, signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, before)
        self._must_signal_resume = True
        self.resume_application_mode()
        self._loop.call_soon_threadsafe(functools.partial(self._app.refresh, layout=True))

    def _sigcont_application(self, *_: object) -> None:
        """Draw everything again.

        Textual takes the terminal up again at every SIGCONT. One comes without a SIGTSTP when somebody stopped the
        process (kill -STOP), and when the terminal hangs up (``disassociate_ctty``, drivers/tty/tty_jobctrl.c).
        """
        if self._writer_thread is not None:
            self._loop.call_soon_threadsafe(self.redraw)

    # -- the terminal -------------------------------------------------------------------------

    def _output_written(self) -> None:
        """In Textual's writing thread."""
        self._loop.call_soon_threadsafe(self._drawing_delivered)

    def _drawing_delivered(self) -> None:
        self._in_flight = False
        if self._waiting:
            self.flush()

    def _fit_terminal(self) -> None:
        """Of a terminal of another size nobody knows what it shows; Textual will draw all of it."""
        size = self._get_terminal_size()
        if size != self._size_cells:
            self._size_cells = size
            self._grid = Grid(*size)
        elif self._grid.is_full:
            self._grid = Grid(*size)
            self._app.screen.refresh()

    def redraw(self) -> None:
        """Send everything again: somebody else has written on the terminal."""
        self._grid.invalidate()
        self.flush()
