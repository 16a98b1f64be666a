"""What is typed, read in a thread that sleeps until there is something.

Textual's own wakes ten times a second, to see whether the program ends and whether an Escape came alone: a sixth
of what a quiet dashboard costs. It waits a tenth of a second more at the end, and a byte that is no UTF-8 ends it.
"""

from __future__ import annotations

import codecs
import os
import selectors
from collections.abc import Callable, Iterable
from threading import Event

from textual import constants
from textual._xterm_parser import XTermParser
from textual.events import Key, Paste
from textual.message import Message

from tcptop_tui.drawing.escapes import ESCAPE, Escapes
from tcptop_tui.drawing.pastes import PasteParser

_MOST_BYTES = 4096
_PASTE_S = 2.0
"""For the rest of a paste over a slow link: what came later would be keys."""


class WakeEvent(Event):
    """An event that a selector can wait for."""

    def __init__(self) -> None:
        super().__init__()
        self._fd = os.eventfd(0)

    def fileno(self) -> int:
        """Readable while it is set."""
        return self._fd

    def set(self) -> None:
        """Wake whoever waits."""
        if not self.is_set():
            super().set()
            os.eventfd_write(self._fd, 1)

    def clear(self) -> None:
        """Let them wait again."""
        if self.is_set():
            super().clear()
            os.eventfd_read(self._fd)

    def __del__(self) -> None:
        os.close(self._fd)


class _Typed:
    """Makes keys, pastes and the terminal's answers of what is typed.

    Args:
        take: gets each of them.
    """

    def __init__(self, take: Callable[[Message], object]) -> None:
        self._take = take
        self._parser, self._pastes, self._escapes = XTermParser(), PasteParser(), Escapes()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self, data: bytes) -> None:
        """Take in what has come."""
        self._hand_out(self._pastes.feed(self._decoder.decode(data)))

    def give_up(self) -> None:
        """Nothing more comes for now: what looked like the beginning of something is keys."""
        self._hand_out(self._pastes.flush())
        self._hand_on(self._escapes.give_up())

    def tick(self) -> None:
        """Let the parser look at its clock."""
        for message in self._parser.tick():
            self._take(message)

    @property
    def waits(self) -> bool:
        """Whether ``give_up`` would hand out anything."""
        return self._pastes.is_incomplete or self._escapes.waits

    @property
    def in_paste(self) -> bool:
        """The end of a paste has not come yet."""
        return self._pastes.is_open

    def _hand_out(self, parts: Iterable[str | Paste]) -> None:
        for part in parts:
            if isinstance(part, Paste):
                self._hand_on(self._escapes.give_up())
                self._take(part)
            else:
                self._hand_on(self._escapes.read(part))

    def _hand_on(self, parts: Iterable[str]) -> None:
        for part in parts:
            for message in [Key("escape", ESCAPE)] if part == ESCAPE else self._parser.feed(part):
                self._take(message)


def read_keys(fileno: int, ended: WakeEvent, take: Callable[[Message], object]) -> None:
    """Until ``ended``, or until the terminal has gone, give what is typed there to ``take``, key by key."""
    text = _Typed(take)
    with selectors.SelectSelector() as selector:
        selector.register(fileno, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        waits_s = None
        while not ended.is_set():
            typed = any(key.fd == fileno for key, _ in selector.select(waits_s))
            if typed:
                try:
                    read = os.read(fileno, _MOST_BYTES)
                except OSError:  # EIO, where the other end has gone
                    return
                if not read:
                    return
                text.read(read)
            elif text.waits:
                text.give_up()
                typed = True
            text.tick()
            # the rest of a paste, or of what Escape began, or nothing
            waits_s = _PASTE_S if text.in_paste else constants.ESCAPE_DELAY if typed else None
