"""What of a filter the capture takes over: exactly that, and never more."""

from __future__ import annotations

import numpy as np
import pytest

from tcptop_tui.filters import RowContext, parse
from tcptop_tui.filters.capture_terms import split_capture
from tcptop_tui.stream.batches import Capture
from tcptop_tui.stream.identity import endpoints_mask, process_mask
from tests.support.samples import connections


@pytest.mark.parametrize(
    ("text", "capture"),
    [
        ("lport:22,80", Capture(lports=frozenset({22, 80}))),
        ("sport:22-24", Capture(lports=frozenset({22, 23, 24}))),
        ("lport<4", Capture(lports=frozenset({1, 2, 3}))),
        ("!lport>2", Capture(lports=frozenset({0, 1, 2}))),
        ("rport:443", Capture(rports=frozenset({443}))),
        ("pid:7,9-11", Capture(pids=frozenset({7, 9, 10, 11}))),
        ("ip:4", Capture(ip=4)),
        ("!ip:4", Capture(ip=6)),
        ("lport:1-9 lport:5-20 pid:3", Capture(lports=frozenset(range(5, 10)), pids=frozenset({3}))),
    ],
)
def test_expressible(text: str, capture: Capture) -> None:
    pinned = split_capture(parse(text), Capture())
    assert pinned.capture == capture
    assert not pinned.remaining_terms


@pytest.mark.parametrize(
    "text",
    ["port:22", "22", "lport:22,rport:80", "rtt>10ms", "!pid:3", "pid>3", "pid:1-9999", "ip:4,6", "ip:::1", "nginx",
     "dev:lo", "ip:::1%lo"],
)  # fmt: skip
def test_stays_in_user_space(text: str) -> None:
    pinned = split_capture(parse(text), Capture())
    assert (pinned.capture, pinned.pushed_terms, pinned.remaining_terms) == (Capture(), (), (text,))


def test_it_narrows_what_the_command_line_asked_for() -> None:
    base = Capture(lports=frozenset({22, 80}), ip=4)
    assert split_capture(parse("lport:80,90"), base).capture == Capture(lports=frozenset({80}), ip=4)
    nothing = split_capture(parse("lport:99 ip:6"), base)  # an empty set would mean everything
    assert (nothing.capture, nothing.remaining_terms) == (base, ("lport:99", "ip:6"))


def test_what_is_said() -> None:
    assert split_capture(parse("lport:22 rtt>10ms"), Capture()).message == "capture lport:22 · in user space: rtt>10ms"
    assert split_capture(parse(""), Capture()).message == ""


@pytest.mark.parametrize("text", ["lport:22", "!rport:80", "rport<100", "pid:5", "!ip:6", "lport:22 rport:80"])
def test_the_capture_lets_through_all_that_the_filter_shows(text: str) -> None:
    rows = connections(
        *(
            {"lport": lport, "rport": rport, "pid": pid, "laddr": addr, "raddr": addr}
            for lport in (0, 22, 443)
            for rport in (0, 80, 443)
            for pid in (0, 5, 6)
            for addr in ("10.0.0.1", "fe80::1")
        )
    )
    shown = parse(text).matches(RowContext(rows, 0, None, None))
    capture = split_capture(parse(text), Capture()).capture
    caught = endpoints_mask(rows, capture) & process_mask(rows, capture)
    assert shown.any()
    assert not (shown & ~caught).any()
    known = (rows["lport"] != 0) & (rows["pid"] != 0)
    assert np.array_equal(shown[known], caught[known])
