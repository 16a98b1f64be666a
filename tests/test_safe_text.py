"""What strangers wrote comes out as one harmless line."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tcptop_tui import safe_text

HOSTILE = [
    b"\x1b[2J\x1b[31m", b"\x9b31m", b"\xc2\x9b31m", b"a\nb\rc", b"\x00\x07\x08\x7f", b"\xff\xfe", b"[bold red]x[/]",
    "\u202eevil\u2066".encode(), "e\u0301\u0301\u0301\u0301".encode(), "\u200b\u2028".encode(), "日本".encode(),
]  # fmt: skip


@pytest.mark.parametrize("raw", HOSTILE)
def test_nothing_that_a_terminal_obeys(raw: bytes) -> None:
    shown = safe_text.clean(raw)
    assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"} for c in shown)
    assert shown


@given(st.binary(max_size=40))
def test_any_bytes(raw: bytes) -> None:
    shown = safe_text.clean(raw)
    assert shown.isprintable()
    assert safe_text.clean(shown) == shown


@given(st.text(max_size=30), st.integers(0, 20), st.booleans())
def test_fit_is_exact(raw: str, cells: int, right: bool) -> None:
    assert cell_len(safe_text.fit(safe_text.clean(raw), cells, right=right)) == cells


def test_fit_cuts_and_pads() -> None:
    assert safe_text.fit("process", 4) == "pro…"
    assert safe_text.fit("ab", 4) == "ab  "
    assert safe_text.fit("ab", 4, right=True) == "  ab"
    assert safe_text.fit("日本語", 4) == "日 …"
    assert safe_text.fit("ab", 0) == ""


def test_what_people_write_stays() -> None:
    for harmless in ("nginx: worker", "[bold red]x[/]", "日本", "Ελλάδα", "e\u0301", "\u1112\u1161\u11ab", "a😀"):
        assert safe_text.clean(harmless.encode()) == harmless


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"a\xffb", "a\ufffdb"),
        ("a\udcffb", "a·b"),  # as os.fsdecode spells a byte that is no UTF-8
        ("a\ue000b", "a·b"),
        ("a\u0378b", "a·b"),  # unassigned
        ("a\xa0b", "a·b"),
        ("\u2764\ufe0f", "\u2764·"),
        ("a\u3164\uffa0\u034fb", "a···b"),
        ("\u0301a", "·a"),  # nothing of ours to stand on
    ],
)
def test_replaced_visibly(raw: bytes | str, shown: str) -> None:
    assert safe_text.clean(raw) == shown


def test_marks_do_not_pile_up() -> None:
    assert safe_text.clean("e" + "\u0301" * 9 + "f\u0300") == "e\u0301\u0301f\u0300"
    assert safe_text.clean("\u1112" + "\u1161" * 9) == "\u1112\u1161\u1161"


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
def test_no_more_than_three_characters_in_a_cell(raw: str) -> None:
    shown = safe_text.clean(raw)
    assert len(shown) <= 3 * cell_len(shown)


def test_long_ones_end_with_an_ellipsis() -> None:
    shown = safe_text.clean("x" * 10_000)
    assert len(shown) == 4097
    assert shown.endswith("x…")
    assert safe_text.clean(shown) == shown
