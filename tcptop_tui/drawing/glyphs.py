"""What to draw instead of characters that the terminal has not: one cell for one cell."""

from __future__ import annotations

import os
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


def user_environ() -> Mapping[str, str]:
    """The environment, with the locale as the user has set it.

    Where that one is not installed, Python writes C.UTF-8 over ``LC_CTYPE`` (PEP 538). The kernel has what was given.
    """
    with open("/proc/self/environ", "rb") as file:
        pairs = (one.partition(b"=") for one in file.read().split(b"\0"))
        given = {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}
    return {**os.environ, "LC_CTYPE": given.get("LC_CTYPE", "")}


def _is_utf8(environ: Mapping[str, str]) -> bool:
    """Whether the locale that the user has set is in UTF-8, installed or not; the first one that is set counts.

    That is POSIX's order; what counts of it is the codeset in its name, as in ``de_DE.UTF-8@euro``. Python sets
    ``LC_CTYPE`` to C.UTF-8 itself where there is none (PEP 538): that says nothing.
    """
    given = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG") or ""
    if given == "C.UTF-8" and not environ.get("LC_ALL") and environ.get("LANG", "C") in {"", "C", "POSIX"}:
        return False
    codeset = given.partition("@")[0].rpartition(".")[2]
    return codeset.lower().replace("-", "") == "utf8"


def substitutions(environ: Mapping[str, str], *, ascii_only: bool = False) -> Glyphs:
    """What to translate for this terminal; empty: it has everything.

    Args:
        environ: the environment as the user has set it, with the locale and ``TERM``.
        ascii_only: the user wants ASCII, whatever the locale says.
    """
    if ascii_only or not _is_utf8(environ):
        return _Ascii({ord(character): stand_in for character, stand_in in _ASCII.items()})
    if environ.get("TERM") == "linux":
        return {ord(character): stand_in for character, stand_in in _CONSOLE.items()}
    return {}
