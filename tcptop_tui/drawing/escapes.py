"""Tells the Escape key from the beginning of a sequence, also where keys arrive together, as they do over SSH.

A terminal sends Alt+x as ESC x, and Textual's parser reads Escape and then x as that, or as the character that Alt and
a digit make on a Mac. Nothing in the dashboard is bound to Alt and a character, and who leaves a line and opens a view
wants both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

ESCAPE = "\x1b"
_ALONE = re.compile("\x1b(?=[^]\\[O\x7f\tbf])")
"""Followed by another key. Not: sequences (CSI, SS3, OSC), and what moves by words in a line that is typed in, or is
Shift+Tab of an old terminal."""


class Escapes:
    """What comes in pieces, as pieces that are ``ESCAPE`` by itself or have sequences and other keys in them."""

    def __init__(self) -> None:
        self.waits = False
        """An Escape came last: a sequence may go on with the next piece."""

    def read(self, text: str) -> Iterator[str]:
        """Take a piece in."""
        text = ESCAPE + text if self.waits else text
        self.waits = text.endswith(ESCAPE)
        for number, part in enumerate(_ALONE.split(text[: len(text) - self.waits])):
            if number:
                yield ESCAPE
            if part:
                yield part

    def give_up(self) -> Iterator[str]:
        """Nothing more comes: it was the key."""
        if self.waits:
            self.waits = False
            yield ESCAPE
