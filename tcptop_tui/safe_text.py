"""Makes text of strangers harmless: names of processes and hosts, recordings.

Any user can name a process with escape sequences, and root's terminal would obey them. All text
from outside passes ``clean``. It does not escape markup, because nothing here parses any:
texts become rich ``Text`` and ``Segment`` objects, never markup strings.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from rich.cells import cell_len, get_character_cell_size, set_cell_size

REPLACEMENT = "·"
"""Stands for each character that a terminal would act on, or not show at all."""

_MAX_CHARS = 4096
_MAX_MARKS = 2

# Letters and marks that are meant not to be seen (Default_Ignorable_Code_Point in Unicode's
# DerivedCoreProperties.txt): grapheme joiner, Hangul fillers, Khmer inherent vowels, variation
# selectors. The others of that property are format characters, which str.isprintable knows.
_INVISIBLE = frozenset(
    map(chr, [0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x3164, *range(0xFE00, 0xFE10), 0xFFA0])
) | frozenset(map(chr, range(0xE0100, 0xE01F0)))


def _is_harmless(character: str) -> bool:
    """False for controls, bidi and other format characters, separators, private and unassigned ones.

    ``str.isprintable`` is false for exactly Unicode's categories "Other" and "Separator", blank excepted.
    """
    return character.isprintable() and character not in _INVISIBLE


def _joins(character: str) -> bool:
    """Whether a terminal draws it onto the preceding character: marks, and later parts of Hangul syllables."""
    return unicodedata.category(character)[0] == "M" or get_character_cell_size(character) == 0


@lru_cache(maxsize=4096)
def clean(raw: bytes | str) -> str:
    """``raw`` as one harmless line of at most 4,096 characters and an ellipsis.

    Invalid UTF-8 becomes U+FFFD; what a terminal would obey or not show becomes ``REPLACEMENT``, as
    does a combining mark with nothing to stand on, which would land on the column to the left. Of
    the marks on one character only the first two stay.
    """
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    shown: list[str] = []
    marks = 0
    for character in text[:_MAX_CHARS]:
        if not _is_harmless(character):
            shown.append(REPLACEMENT)
            marks = 0
        elif not _joins(character):
            shown.append(character)
            marks = 0
        elif not shown:
            shown.append(REPLACEMENT)
        elif marks < _MAX_MARKS:
            shown.append(character)
            marks += 1
    return "".join(shown) + ("…" if len(text) > _MAX_CHARS else "")


def fit_middle(text: str, cells: int) -> str:
    """As ``fit``, but cut in the middle: addresses differ at their ends."""
    if len(text) <= cells or not text.isascii() or cells < 3:
        return fit(text, cells)
    head = (cells - 1) // 2
    return f"{text[:head]}…{text[head + 1 - cells :]}"


def fit(text: str, cells: int, *, right: bool = False) -> str:
    """``text`` in exactly ``cells`` terminal cells, cut with an ellipsis, padded with blanks.

    Args:
        text: clean.
        right: pad on the left.
    """
    width = len(text) if text.isascii() else cell_len(text)
    if width > cells:
        return set_cell_size(text, cells - 1) + "…" if cells > 0 else ""
    padding = " " * (cells - width)
    return padding + text if right else text + padding
