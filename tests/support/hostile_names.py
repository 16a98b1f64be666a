"""What strangers write into names, and what may reach a terminal: nothing but the driver's own sequences."""

from __future__ import annotations

import re

from hypothesis import strategies as st

NAMES = (
    b"\x1b]0;own\x07ed", b"\x1b[2J\x1b[31mred", b"\x9b31m\x9d0;x\x9c", b"\xc2\x9b31m", b"\x1bP0p\x1b\\", b"a\nb\r\tc",
    b"\x00\x08\x7f\x0e\x0f", b"\xff\xfe\xc3", b"[b]x[/b]", b"[/b]", b"[@click=app.quit]", b"[$error on red", b"\\[",
    b"=1+1", b"+cmd|' /C calc", b"-1", b"@SUM(A1)", "\uff1d1".encode(), b"a,=1", b'"', b"#", b"<b>&amp;]]>",
    "\u202eevil".encode(), "\u2066a\u2069".encode(), "a\u200b\u200d\ufeff".encode(), "e\u0301\u0301\u0301".encode(),
    "\u2028\u2029".encode(), "\U000e0041".encode(), "日本語".encode(), b"%s%n{0}", b"' OR 1=1", b" ", b"",
)  # fmt: skip
"""Escape sequences in 7 and 8 bits, controls, invalid UTF-8, markup, formulas, quotes, bidi, zero width, nothing."""

SPELLED = [name.decode(errors="surrogateescape") for name in NAMES]

TEXTS = st.one_of(
    st.sampled_from(SPELLED),
    st.text(max_size=40),
    st.lists(st.sampled_from(SPELLED), max_size=4).map("".join),
    st.binary(max_size=30).map(lambda raw: raw.decode(errors="surrogateescape")),
)
COMMS = st.one_of(st.sampled_from(NAMES), st.binary(max_size=16)).map(lambda raw: raw[:15])

_NUMBERS = rb"\d*(?:;\d+)*"
_OURS = re.compile(
    rb"\x1b\[" + _NUMBERS + rb"[HCmrMLJ]"  # drawing/grid.py
    rb"|\x1b\[\?(?:1000|1003|1015|1006|1016|1004|1049|2004|2026|2048|25|7)[hl]"  # Textual's modes
    rb"|\x1b\[\?(?:2026|2048)\$p|\x1b\[>\d+u|\x1b\[<u"
    rb"|\x1b\]52;c;[A-Za-z0-9+/=]*\x07|\x1b\]22;[a-z-]*\x07"  # copying; the mouse pointer's shape
    rb"|\r?\n"  # behind the screen: what is said at the end
    rb"|\x1b\[K\r?|\r(?=\r|\x1b\[K|tcptop-tui )"  # the line that stands there while the program starts
)


def foreign(output: bytes) -> list[str]:
    """Every character that a terminal would obey or not show, without the driver's own sequences."""
    rest = _OURS.sub(b"", output).decode()  # what is no UTF-8 fails
    return [repr(character) for character in rest if not character.isprintable()]
