"""What is typed takes effect in its order, however fast it comes: over SSH many keys are there at once.

Textual hands a key to who has the focus, and letters take effect there at once, while other keys go up to the
application first: Backspace came after the letters behind it (Textualize/textual#6605). And who gets the next key may
change only when messages of the one before have been dealt with. So each key waits until the one before has done all
that it does.
"""

from __future__ import annotations

import asyncio
from collections import deque

from textual import events
from textual.app import App
from textual.message import Message
from textual.widgets import Input

_MOST_ROUNDS = 8
"""Messages that a key brings about may bring about others; a widget that never has an empty queue is not waited for."""
_QUIET_ROUNDS = 2
"""A message that somebody has just taken up is in no queue; the next marker has to wait until it is dealt with."""
_MARKER_TIMEOUT_S = 0.1
"""After this long a marker is taken for lost: a widget that is removed may take it along."""
_MOST_WAITING = 10_000


class KeyMarker(Message):
    """Goes the way of a key, right behind it: where it arrives, the key has been dealt with."""


def first_pasted_line(pasted: str) -> str:
    """The first line that has something, without what a terminal would act on."""
    lines = ("".join(c if c.isprintable() else " " if c == "\t" else "" for c in line) for line in pasted.splitlines())
    return next(filter(str.strip, lines), "")


class KeyQueueApp(App[None], inherit_bindings=False):
    """Hands out what is typed, one after the other."""

    def __init__(self, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)  # type: ignore[arg-type]
        self._typed: deque[events.Key | events.Paste] = deque(maxlen=_MOST_WAITING)
        self._marker: KeyMarker | None = None
        self._rounds = self._quiet_rounds = 0
        self._marker_timeout: asyncio.TimerHandle | None = None

    async def on_event(self, event: events.Event) -> None:
        """Let keys wait for those before them; everything else at once."""
        if not isinstance(event, events.Key | events.Paste) or event.is_forwarded:
            await super().on_event(event)
            return
        self._typed.append(event)
        if self._marker is None:
            await self._dispatch_next()

    async def _dispatch_next(self) -> None:
        """The next key, and a marker behind it."""
        event = self._typed.popleft()
        if isinstance(event, events.Paste):
            event = events.Paste(first_pasted_line(event.text))
        elif event.key == "ctrl+c" and isinstance(self.focused, Input):  # leaves the line, not the program
            event = events.Key("escape", "\x1b")
        self._rounds = self._quiet_rounds = 0
        self._marker = KeyMarker()  # what the key does may ask for the next one
        try:
            await super().on_event(event)
        finally:
            self._send_marker()

    def _send_marker(self) -> None:
        self._marker = marker = KeyMarker()
        self._rounds += 1
        if self._marker_timeout is not None:
            self._marker_timeout.cancel()
        self._marker_timeout = asyncio.get_running_loop().call_later(_MARKER_TIMEOUT_S, self.post_message, marker)
        (self.focused or self.screen).post_message(marker)

    def _is_busy(self) -> bool:
        """Whether who has the keys, or a widget around it, has messages to deal with."""
        return any(node.message_queue_size for node in (self.focused or self.screen).ancestors_with_self[:-1])

    async def on_key_marker(self, message: KeyMarker) -> None:
        """The key has been dealt with; what it has brought about is waited for, too."""
        message.stop()
        if message is not self._marker:
            return
        self._quiet_rounds = 0 if self._is_busy() else self._quiet_rounds + 1
        if self._rounds < _MOST_ROUNDS and self._quiet_rounds < _QUIET_ROUNDS:
            self._send_marker()
            return
        if self._marker_timeout is not None:
            self._marker_timeout.cancel()
        self._marker = None
        if self._typed:
            await self._dispatch_next()
