"""What to draw instead of characters that the terminal has not: one cell for one cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from rich.cells import get_character_cell_size

Glyphs: TypeAlias = Mapping[int, str]

_ASCII: Final = {
    **dict.fromkeys("─━═╌┄—–‐", "-"),
    **dict.fromkeys("│┃║▏▕", "|"),
    **dict.fromkeys("┌┐└┘╭╮╰╯├┤┬┴┼┏┓┗┛╔╗╚╝", "+"),
    **dict.fromkeys("█▉▊▋▌▇▆▐▀", "#"),
    **dict.fromkeys("▍▎▅▄▒", "="),
    **dict.fromkeys("▃▂▁▔", "_"),
    "░": ".", "▓": "%",
    **dict.fromkeys("…", "~"),
    **dict.fromkeys("·•×", "."),
    **dict.fromkeys("▼↓▾⌄", "v"),
    **dict.fromkeys("▲↑▴", "^"),
    **dict.fromkeys("▶→⏎►▸", ">"),
    **dict.fromkeys("←◀", "<"),
    "↔": "=", "µ": "u", "✓": "+", "✗": "x", "●": "*", "○": "o",
}  # fmt: skip

# The Linux console's fonts have the characters of code page 437 and not the finer ones.
_CONSOLE: Final = {
    **dict.fromkeys("━╌┄", "─"),
    **dict.fromkeys("┃▏▎▍", "│"),
    "╭": "┌", "╮": "┐", "╰": "└", "╯": "┘", "▶": "►", "⏎": "◄", "…": "~", "–": "-",
    **dict.fromkeys("▉▊▋▇▆", "█"),
    **dict.fromkeys("▅▃▂▁", "▄"),
}  # fmt: skip


class _Ascii(dict[int, str]):
    """For ``str.translate``: whatever is not ASCII gets a stand-in, as wide as it is."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        shown = character if code < 0x80 else "?" * get_character_cell_size(character)
        self[code] = shown
        return shown


def _is_utf8(environ: Mapping[str, str]) -> bool:
    """Whether the locale that the user has set is in UTF-8; the first of the three that is set counts (POSIX).

    Python sets ``LC_CTYPE`` to C.UTF-8 itself where there is none (PEP 538): that says nothing.
    """
    given = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG") or ""
    if given == "C.UTF-8" and not environ.get("LC_ALL") and environ.get("LANG", "C") in {"", "C", "POSIX"}:
        return False
    return given.lower().replace("-", "").endswith("utf8")


def glyphs(environ: Mapping[str, str]) -> Glyphs:
    """What to translate for this terminal; empty: it has everything."""
    if environ.get("TCPTOP_ASCII") or not _is_utf8(environ):
        return _Ascii({ord(character): stand_in for character, stand_in in _ASCII.items()})
    if environ.get("TERM") == "linux":
        return {ord(character): stand_in for character, stand_in in _CONSOLE.items()}
    return {}
