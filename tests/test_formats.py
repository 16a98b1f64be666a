"""Numbers come out right and short."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcptop_tui import formats
from tcptop_tui.records import UNKNOWN_UID, State
from tests.support.timezones import timezone


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
    assert formats.rate(1536.0) == "1.5K"
    assert formats.login_name(0) == "root"
    assert formats.login_name(3_999_999_999) is None
    assert formats.login_name(UNKNOWN_UID) is None
    assert formats.count(1234567) == "1,234,567"


@given(st.integers(0, 2**128 - 1))
def test_addresses_read_back(number: int) -> None:
    told = formats.address((number >> 64, number & (2**64 - 1)))
    parsed = ipaddress.ip_address(told)
    assert int(parsed) == (number if parsed.version == 6 else number & 0xFFFF_FFFF)
    assert (parsed.version == 4) == (number >> 32 == 0xFFFF)


_KERNEL_STATES = Path("/usr/include/linux/bpf.h")


def test_state_names_are_the_kernel_s() -> None:
    if not _KERNEL_STATES.exists():
        pytest.skip("no kernel headers for user space")
    found = re.findall(r"BPF_TCP_(\w+?)(?: = 1)?,", _KERNEL_STATES.read_text())
    names = [name for name in found if name != "MAX_STATES"]
    assert names[0] == "ESTABLISHED"
    assert len(names) >= 12
    for number, name in enumerate(names, 1):
        assert formats.state_name(number) == name
    assert formats.state_name(max(State) + 1) == f"?{max(State) + 1}"


@pytest.mark.parametrize(
    ("number", "shown"),
    [(999.4, "999"), (999.5, "1.0K"), (9.95 * 1024, "10K"), (999.5 * 1024, "1.0M"), (2**64 - 1, "16E")],
)
def test_sizes_at_the_edges(number: float, shown: str) -> None:
    assert formats.size_bytes(number) == shown


_SIZE = re.compile(r"([0-9.]+)([KMGTPE]?)")


@given(st.integers(0, 2**64 - 1))
def test_sizes_are_near(number: int) -> None:
    told = _SIZE.fullmatch(formats.size_bytes(number))
    assert told is not None
    unit = 1024 ** " KMGTPE".index(told[2] or " ")
    assert abs(float(told[1]) * unit - number) <= 0.0501 * max(number, unit)


@given(st.integers(0, 2**63))
def test_durations_are_short(span_ns: int) -> None:
    assert len(formats.duration_ns(span_ns)) <= 7


@pytest.mark.parametrize(
    ("span_ns", "shown"),
    [
        (999_499, "999µs"), (999_500, "1.0ms"), (9_950_000, "10ms"), (999_499_999, "999ms"), (999_500_000, "1.0s"),
        (59_949_999_999, "59.9s"), (59_950_000_000, "1m00s"), (3_599_600_000_000, "1h00m"),
        (86_399_600_000_000, "1d00h"), (999 * 86_400 * 10**9, "999d00h"), (1000 * 86_400 * 10**9, "1000d"),
    ],
)  # fmt: skip
def test_durations_at_the_edges(span_ns: int, shown: str) -> None:
    assert formats.duration_ns(span_ns) == shown


@pytest.fixture
def india(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from timezone(monkeypatch, "IST-5:30")


@pytest.mark.usefixtures("india")
def test_clock_is_local() -> None:
    assert formats.clock(0) == "05:30:00.000"
    assert formats.clock(1_234_999_999) == "05:30:01.234"
    assert formats.clock(-1) == "05:29:59.999"
