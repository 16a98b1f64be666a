"""What strangers wrote comes out harmless; numbers come out right and short."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tcptop_tui import formats, text
from tcptop_tui.records import UNKNOWN_UID

HOSTILE = [
    b"\x1b[2J\x1b[31m", b"\x9b31m", b"\xc2\x9b31m", b"a\nb\rc", b"\x00\x07\x08\x7f", b"\xff\xfe", b"[bold red]x[/]",
    "\u202eevil\u2066".encode(), "e\u0301\u0301\u0301\u0301".encode(), "\u200b\u2028".encode(), "日本".encode(),
]  # fmt: skip


@pytest.mark.parametrize("raw", HOSTILE)
def test_nothing_that_a_terminal_obeys(raw: bytes) -> None:
    shown = text.clean(raw)
    assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"} for c in shown)
    assert shown


@given(st.binary(max_size=40))
def test_any_bytes(raw: bytes) -> None:
    shown = text.clean(raw)
    assert all(c.isprintable() or unicodedata.category(c)[0] == "M" for c in shown)
    assert text.clean(shown) == shown


@given(st.text(max_size=30), st.integers(0, 20), st.booleans())
def test_fit_is_exact(raw: str, cells: int, right: bool) -> None:
    assert cell_len(text.fit(text.clean(raw), cells, right=right)) == cells


def test_fit_cuts_and_pads() -> None:
    assert text.fit("process", 4) == "pro…"
    assert text.fit("ab", 4) == "ab  "
    assert text.fit("ab", 4, right=True) == "  ab"


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0"), (999, "999"), (1000, "1.0K"), (1536, "1.5K"), (10 * 1024, "10K"), (1048576, "1.0M"), (2**40, "1.0T")],
)
def test_sizes(number: int, shown: str) -> None:
    assert formats.size_bytes(number) == shown


@given(st.integers(0, 2**62))
def test_sizes_are_short(number: int) -> None:
    assert len(formats.size_bytes(number)) <= 5


@pytest.mark.parametrize(
    ("span_ns", "shown"),
    [
        (0, "0µs"), (87_000, "87µs"), (4_200_000, "4.2ms"), (123_000_000, "123ms"), (4_200_000_000, "4.2s"),
        (185 * 10**9, "3m05s"), (8040 * 10**9, "2h14m"), (442_800 * 10**9, "5d03h"), (-5, "0µs"),
    ],
)  # fmt: skip
def test_durations(span_ns: int, shown: str) -> None:
    assert formats.duration_ns(span_ns) == shown


@pytest.mark.parametrize(
    ("us", "shown"), [(87, "87µs"), (1240, "1.24ms"), (31_000, "31.0ms"), (310_000, "310ms"), (1_200_000, "1.20s")]
)
def test_round_trips(us: int, shown: str) -> None:
    assert formats.rtt_us(us) == shown


@given(st.integers(0, 2**29))
def test_round_trips_are_short(us: int) -> None:
    assert len(formats.rtt_us(us)) <= 6


def test_addresses_and_names() -> None:
    assert formats.address((0, 0xFFFF_0A00_0001)) == "10.0.0.1"
    assert formats.address((0, 1)) == "::1"
    assert formats.user_name(0) == "root"
    assert formats.user_name(UNKNOWN_UID) == formats.UNKNOWN
    assert formats.user_name(3_999_999_999) == "3999999999"
    assert formats.state_name(8) == "CLOSE_WAIT"
    assert formats.state_name(14) == "?14"
    assert formats.rate(float("nan")) == formats.UNKNOWN
