"""Takes pastes out of what is typed: whatever is in them, none of it is a key.

Textual's parser looks for escape sequences in a paste as well; one that it does not know it hands out as keys, and a
paste with ESC in it (``tmux paste-buffer -p`` takes none out) could quit.
"""

from __future__ import annotations

from collections.abc import Iterator

from textual.events import Paste

_BEGIN, _END = "\x1b[200~", "\x1b[201~"
_LEAST_HELD = 2
"""Characters of a beginning paste that are waited for; an Escape by itself is a key."""
_MOST_CHARS = 1 << 16


class PasteParser:
    """What comes in pieces, as pieces of keys and whole pastes."""

    def __init__(self) -> None:
        self.is_open = False
        """The end of a paste has not come yet."""
        self._buffer = ""

    def feed(self, text: str) -> Iterator[str | Paste]:
        """Take a piece in."""
        rest, self._buffer = self._buffer + text, ""
        while rest:
            before, marker, rest = rest.partition(_END if self.is_open else _BEGIN)
            if not marker:
                yield from self._unfinished(before)
            elif self.is_open:
                yield Paste(before[:_MOST_CHARS])
            elif before:
                yield before
            self.is_open ^= bool(marker)

    def _unfinished(self, text: str) -> Iterator[str]:
        """Hold what may go on with the next piece."""
        if self.is_open:
            self._buffer = text if len(text) < 2 * _MOST_CHARS else text[:_MOST_CHARS] + text[-len(_END) :]
            return
        held = next((n for n in range(len(_BEGIN) - 1, _LEAST_HELD - 1, -1) if text.endswith(_BEGIN[:n])), 0)
        self._buffer = text[len(text) - held :]
        if held < len(text):
            yield text[: len(text) - held]

    def flush(self) -> Iterator[str | Paste]:
        """Nothing more comes: hand out what is held."""
        held, was_open, self._buffer, self.is_open = self._buffer, self.is_open, "", False
        if was_open:
            yield Paste(held[:_MOST_CHARS])
        elif held:
            yield held

    @property
    def is_incomplete(self) -> bool:
        """Whether something is held, or a paste is open."""
        return self.is_open or bool(self._buffer)
