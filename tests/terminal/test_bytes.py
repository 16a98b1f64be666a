"""What a slow link has to carry, in bytes: quiet, busy, scrolling."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.sockets import listening, pair, port
from tests.support.terminal import Terminal

pytestmark = pytest.mark.host

COLUMNS, LINES = 160, 50
WINDOW_S = 8
BUSY_BYTES_PER_S = 8 * 1024


@contextmanager
def connections(count: int, *, busy: bool) -> Iterator[int]:
    """``count`` sockets of this process in ESTABLISHED; busy ones send something each second."""
    with listening(backlog=1024) as listener:
        pairs = [pair(listener) for _ in range(count // 2)]
        ended = threading.Event()

        def talk() -> None:
            while not ended.wait(0.9):
                for ours, theirs in pairs:
                    for sender, receiver in ((ours, theirs), (theirs, ours)):
                        sender.sendall(b"x" * random.randint(1, 5000))
                        receiver.recv(1 << 16)

        thread = threading.Thread(target=talk, daemon=True)
        if busy:
            thread.start()
        try:
            yield port(listener)
        finally:
            ended.set()
            if busy:
                thread.join()
            for ends in pairs:
                for end in ends:
                    end.close()


@contextmanager
def terminal(*arguments: str, **how: object) -> Iterator[Terminal]:
    begun = Terminal(*arguments, columns=COLUMNS, lines=LINES, **how)  # type: ignore[arg-type]
    try:
        yield begun
    finally:
        begun.close()


@pytest.mark.skipif(not shutil.which("htop"), reason="htop is not installed")
def test_a_quiet_host_costs_at_most_half_more_than_htop(bpf_possible: None) -> None:
    with (
        listening() as listener,
        terminal(program=("htop",)) as htop,
        terminal("--filter", f"port:{port(listener)}") as ours,
    ):
        ours.shows("Connections 1")
        kept = [pair(listener) for _ in range(30)]  # after the start: their ages are known, and grow
        ours.shows("Connections 61")
        ours.read_for(2)
        htop.read_for(2)  # what it said so far
        before = len(ours.output)
        beside = threading.Thread(target=ours.read_for, args=(WINDOW_S,))
        beside.start()
        by_htop = htop.read_for(WINDOW_S)
        beside.join()
    by_us = len(ours.output) - before
    del kept
    print(f"{by_us / WINDOW_S:.0f} B/s, htop {by_htop / WINDOW_S:.0f} B/s")
    assert by_us > 0
    assert by_us <= 1.5 * by_htop


def test_a_thousand_changing_connections(bpf_possible: None) -> None:
    with connections(1000, busy=True) as number, terminal("--filter", f"port:{number}", "--refresh", "1") as ours:
        ours.shows("Connections 1,001")
        ours.read_for(2)
        sent = ours.read_for(WINDOW_S)
    print(f"{sent / WINDOW_S:.0f} B/s")
    assert WINDOW_S * 100 < sent <= WINDOW_S * BUSY_BYTES_PER_S


def test_scrolling_by_a_line(bpf_possible: None) -> None:
    """The lines that moved are moved by the terminal itself: what is sent is the new one, and the cursor's."""
    with connections(200, busy=False) as number, terminal("--filter", f"port:{number}", "--refresh", "60") as ours:
        ours.shows("Connections 201")
        ours.type(">")  # by a column that stands still
        ours.type("G")
        ours.type("k" * 60)
        ours.quiet()
        before, shown = len(ours.output), ours.screen.display[:]
        ours.type("k")
        ours.quiet()
        moved = sum(new != old for new, old in zip(ours.screen.display, shown, strict=True))
        sent = len(ours.output) - before
    print(f"{sent} B for {moved} lines that moved")
    assert moved > 10
    assert 0 < sent <= moved * COLUMNS
    assert sent <= 6 * COLUMNS
