"""The terminal of the dashboard: whether it can show one, how many colours it has, and keeping other output off it."""

from __future__ import annotations

import contextlib
import curses
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fcntl import F_GETFL, fcntl
from typing import BinaryIO

import psutil

from tcptop_tui.errors import TcptopError, UsageError
from tcptop_tui.safe_text import clean

_LEAST_COLORS = 8
"""Of what understands ECMA-48's sequences; VT100 and VT220 have none, and no alternate screen."""
_TEXTUAL = {"TEXTUAL_ANIMATIONS": "none", "TEXTUAL_FPS": "240"}
"""Over SSH each frame of an animation costs bytes. What a key has changed is drawn with the next period of the second
one, or the next but one if something else has just been drawn: 33 ms at Textual's 60."""
_MODERN_TERMINALS = (
    "alacritty", "contour", "foot", "ghostty", "iterm", "kitty", "konsole", "mintty", "rio", "st", "vte", "wezterm",
    "xterm-ghostty", "xterm-kitty",
)  # fmt: skip
"""Terminals with 256 colours, which the terminfo of an older host may not know."""
_TOO_SIMPLE = frozenset({"", "dumb", "unknown", "vt52"})


def configure_textual() -> None:
    """Set Textual's environment variables that the user has not set; to be called before Textual is imported."""
    defaults = {**_TEXTUAL, "TEXTUAL_COLOR_SYSTEM": _color_system(os.environ)}
    os.environ.update({name: os.environ.get(name) or value for name, value in defaults.items()})


def _color_system(environ: Mapping[str, str]) -> str:
    """How many colours to use, in Textual's words, which itself goes by ``COLORTERM`` and the end of ``TERM`` alone."""
    term = environ.get("TERM", "").lower()
    if environ.get("COLORTERM", "").strip().lower() in {"truecolor", "24bit"}:
        return "auto"
    if term.endswith("-direct"):
        return "truecolor"
    try:
        colors = curses.tigetnum("colors")
    except curses.error:  # there is no entry
        return "256" if term.startswith(_MODERN_TERMINALS) or "256" in term else "auto"
    return "256" if colors >= 256 else "auto"


def require_screen() -> None:
    """Check that a full-screen program can work here.

    Raises:
        UsageError: no terminal, or one that cannot position its cursor.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("the dashboard needs a terminal", hint="without one use: tcptop-tui snapshot")
    term = os.environ.get("TERM", "")
    if term in _TOO_SIMPLE or not _can_draw(term):
        raise UsageError(
            f"the dashboard cannot draw on TERM={term or '(not set)'}",
            hint="set TERM to what your terminal is, e.g. xterm-256color, or use: tcptop-tui snapshot",
        )


def _can_draw(term: str) -> bool:
    """Whether it can move its cursor and has colours. A terminal that terminfo does not know is newer, and can."""
    try:
        curses.setupterm(term, sys.stdout.fileno())
    except curses.error:
        return True
    return bool(curses.tigetstr("cup")) and curses.tigetnum("colors") >= _LEAST_COLORS


def mouse_possible() -> bool:
    """False in GNU screen: while a program listens to the mouse, screen 4.9 holds a lone Esc back until the next key.

    sudo drops the variables that tell of screen, so the processes above this one are looked at instead.
    """
    try:
        names = (parent.name() for parent in psutil.Process().parents())
        nearest = next((name for name in names if name == "screen" or name.startswith("tmux")), "")
    except psutil.Error:
        return True
    return nearest != "screen"


@contextmanager
def _drawing_on(screen: int) -> Iterator[None]:
    """Have Textual draw on a descriptor, which is closed at the end."""
    before = sys.__stderr__
    sys.__stderr__ = os.fdopen(screen, "w", encoding="utf-8", errors="replace")  # type: ignore[misc]
    try:
        yield
    finally:
        sys.__stderr__.close()
        sys.__stderr__ = before  # type: ignore[misc]


@contextmanager
def print_startup_line(words: str) -> Iterator[None]:
    """Show the header's first words where the cursor is, while the compiler and the imports are waited for.

    Nothing of the terminal is changed, so nothing has to be put back if the program is ended meanwhile.
    """
    room = shutil.get_terminal_size().columns - 1
    _write_line(clean(words)[:room])
    try:
        yield
    finally:
        _write_line("")


def _write_line(words: str) -> None:
    """Overwrite the cursor's line."""
    with contextlib.suppress(OSError):  # a terminal that has gone is noticed elsewhere
        os.write(sys.stdout.fileno(), f"\r{words}\x1b[K\r".encode("ascii", "replace"))


@contextmanager
def capture_stderr() -> Iterator[None]:
    """Keep the screen for Textual alone while it runs.

    Textual draws on ``sys.__stderr__``; C libraries (bcc's "Possibly lost ...", LLVM's warnings)
    print on file descriptor 2, which is the same terminal. So Textual gets a descriptor of its own
    and number 2 leads into memory; the last of that is printed when the screen is given back.
    """
    if not os.isatty(2):  # redirected: the screen is where standard output goes
        with _drawing_on(os.dup(1)):
            yield
        return
    screen = os.dup(2)
    aside = os.memfd_create("tcptop-aside")
    before = sys.__stderr__
    os.dup2(aside, 2)
    sys.__stderr__ = os.fdopen(screen, "w", encoding="utf-8", errors="replace")  # type: ignore[misc]
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the terminal may have gone
            sys.__stderr__.flush()
        os.dup2(screen, 2)
        with contextlib.suppress(OSError):
            sys.__stderr__.close()
        sys.__stderr__ = before  # type: ignore[misc]
        said = os.pread(aside, 4096, max(0, os.fstat(aside).st_size - 4096))
        os.close(aside)
        with contextlib.suppress(OSError):
            os.write(2, b"".join(clean(line).encode() + b"\n" for line in said.splitlines()))


def standard_output(*, buffered: bool = True) -> BinaryIO:
    """For bytes. With PYTHONUNBUFFERED sys.stdout.buffer has no buffer, and its ``write`` does not always take all.

    Raises:
        TcptopError: it is closed.
    """
    number = sys.stdout.fileno()
    if fcntl(number, F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise TcptopError("standard output is closed", hint="send it to a file or a pipe")
    return open(number, "wb", -1 if buffered else 0, closefd=False)
