"""Text of which every terminal has the same opinion how many cells it takes.

Terminals disagree about what belongs together: two regional indicators (a flag) are two cells or four, tmux makes one
character of them, a skin tone joins the emoji before it or has cells of its own, U+FE0F widens the character before it
or does not, and parts of Hangul syllables have cells or none. One such name would move the rest of its row.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

from rich.cells import cell_len

_LETTERS: Final = {0x1F1E6 + number: chr(ord("A") + number) for number in range(26)}
_JOINING: Final = dict.fromkeys([*range(0x1160, 0x1200), *range(0xD7B0, 0xD800), *range(0x1F3FB, 0x1F400), 0xFE0E], "")
_STAND_INS: Final = {**_LETTERS, **_JOINING}
_WIDENED: Final = re.compile(".\ufe0f")


@lru_cache(maxsize=4096)
def with_certain_width(text: str) -> str:
    """``text`` in the same cells: a flag as its letters, what can be composed composed, tones and variants left out."""
    if text.isascii():
        return text
    shown = unicodedata.normalize("NFC", text).translate(_STAND_INS)
    shown = _WIDENED.sub(lambda found: found[0][0] + " " * (cell_len(found[0]) - cell_len(found[0][0])), shown)
    shown = shown.replace("\ufe0f", "")
    return shown if cell_len(shown) == cell_len(text) else "·" * cell_len(text)
