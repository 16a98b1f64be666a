"""What is drawn takes the cells that it was given, on every terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len, get_character_cell_size

from tcptop_tui.drawing.certain_width import with_certain_width
from tcptop_tui.safe_text import clean

_DISPUTED = [*map(chr, range(0x1F1E6, 0x1F200)), *"\U0001f3fd\ufe0f\ufe0e\u1161\u11a8\u1100\u0301\u20e3\u093e❤👍漢ea1"]


@given(st.text(st.sampled_from(_DISPUTED), max_size=12))
def test_the_cells_stay_and_nothing_disputed(text: str) -> None:
    shown = with_certain_width(text)
    assert cell_len(shown) == cell_len(text)
    assert not set(shown) & set(_DISPUTED[:27]) | set(shown) & set("\ufe0f\ufe0e\u1161\u11a8")


@given(st.text(max_size=20))
def test_any_name(name: str) -> None:
    assert cell_len(with_certain_width(clean(name))) == cell_len(clean(name))
    assert sum(map(get_character_cell_size, with_certain_width(clean(name)))) == cell_len(clean(name))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("🇩🇪-db", "DE-db"),
        ("👍🏽x", "👍x"),
        ("❤️x", "❤ x"),
        ("e\u0301", "é"),
        ("\u1112\u1161\u11ab", "한"),
        ("漢字", "漢字"),
        ("1\u0301\ufe0f", "··"),  # U+FE0F widens the digit across the accent
    ],
)
def test_how_it_looks(text: str, shown: str) -> None:
    assert with_certain_width(text) == shown
