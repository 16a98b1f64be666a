"""What strangers wrote, made harmless: process names, host names, recordings.

Any user can name a process with escape sequences, and root's terminal would obey them. Everything
from outside goes through ``clean``. It does not escape markup, because nothing here parses any:
texts become rich ``Text`` and ``Segment`` objects, never markup strings.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from rich.cells import cell_len, set_cell_size

REPLACEMENT = "·"
"""Stands for each character that a terminal would act on instead of showing it."""

_MAX_CHARS = 4096
_MAX_MARKS = 2

# Cc control, Cf format (bidi overrides, zero width), Cs surrogate, Co private, Cn unassigned,
# Zl and Zp line and paragraph separators
_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MARKS = frozenset({"Mn", "Me", "Mc"})


@lru_cache(maxsize=4096)
def clean(raw: bytes | str) -> str:
    """``raw`` as one harmless line.

    Invalid UTF-8 becomes U+FFFD, what a terminal would obey or not show becomes ``REPLACEMENT``,
    and of the combining marks on one character only the first two stay.
    """
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    shown: list[str] = []
    marks = 0
    for character in text[:_MAX_CHARS]:
        category = unicodedata.category(character)
        marks = marks + 1 if category in _MARKS else 0
        if category in _HARMFUL:
            shown.append(REPLACEMENT)
        elif marks <= _MAX_MARKS:
            shown.append(character)
    return "".join(shown)


def fit(text: str, cells: int, *, right: bool = False) -> str:
    """``text`` in exactly ``cells`` terminal cells, cut with an ellipsis, padded with blanks.

    Args:
        right: pad on the left.
    """
    width = len(text) if text.isascii() else cell_len(text)
    if width > cells:
        return set_cell_size(text, max(0, cells - 1)) + "…" if cells else ""
    padding = " " * (cells - width)
    return padding + text if right else text + padding
