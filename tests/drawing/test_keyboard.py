"""What is typed arrives, whatever it is, and nobody wakes up while nothing is typed."""

from __future__ import annotations

import os
import pty
import queue
import selectors
import threading
import tty
from collections.abc import Iterator

import pytest
from textual.events import Key
from textual.message import Message

from tcptop_tui.drawing.keyboard import WakeEvent, read_keys
from tests.support.terminal import Terminal, closed_at_the_end

pytestmark = pytest.mark.host


class Typist:
    """One end of a terminal, whose other end is read."""

    def __init__(self) -> None:
        self.main, self.other = pty.openpty()
        tty.setraw(self.other)
        self.ended = WakeEvent()
        self.heard: queue.Queue[Message] = queue.Queue()
        self.thread = threading.Thread(target=read_keys, args=(self.other, self.ended, self.heard.put))
        self.thread.start()

    def type(self, typed: bytes) -> None:
        os.write(self.main, typed)

    def keys(self, count: int) -> list[str]:
        messages = [self.heard.get(timeout=10) for _ in range(count)]
        return [message.key for message in messages if isinstance(message, Key)]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """How long the reader was ready to wait, each time."""
    told: list[float | None] = []

    class Counted(selectors.SelectSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            told.append(timeout)
            return super().select(timeout)

    monkeypatch.setattr(selectors, "SelectSelector", Counted)
    return told


@pytest.fixture
def typist(waits: list[float | None]) -> Iterator[Typist]:
    typist = Typist()
    with os.fdopen(typist.main, "wb"), os.fdopen(typist.other, "rb"):
        yield typist
        typist.ended.set()
        typist.thread.join(10)
    assert not typist.thread.is_alive()


def test_keys_arrive(typist: Typist) -> None:
    typist.type(b"a\x1b[A\r")
    assert typist.keys(3) == ["a", "up", "enter"]


def test_a_lone_escape_is_one(typist: Typist, waits: list[float | None]) -> None:
    typist.type(b"\x1b")
    assert typist.keys(1) == ["escape"]
    typist.type(b"b")
    assert typist.keys(1) == ["b"]


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (b"\x1bq", ["escape", "q"]), (b"\x1b2", ["escape", "2"]), (b"\x1b/", ["escape", "slash"]),
        (b"\x1bT", ["escape", "T"]), (b"\x1b\r", ["escape", "enter"]), (b"\x1b\x1bq", ["escape", "escape", "q"]),
        (b"\x1b\x1b[A", ["escape", "up"]), (b"a\x1b2\x1b[B/", ["a", "escape", "2", "down", "slash"]),
        (b"\x1bOP\x1b[5~x", ["f1", "pageup", "x"]), (b"\x1bb\x1bf\x1b\x7f", ["ctrl+left", "ctrl+right", "ctrl+w"]),
        (b"q\x1b", ["q", "escape"]), (b"\x1b\x1b", ["escape", "escape"]),
        (b"\x1b[200~\x1bq\x1b[201~\x1bq", ["escape", "q"]),
    ],
)  # fmt: skip
def test_escape_and_a_key_that_come_together_are_two_keys(typist: Typist, typed: bytes, keys: list[str]) -> None:
    """Not Alt and that key, nor a character that Alt makes on a Mac."""
    typist.type(typed)
    assert typist.keys(len(keys) + typed.count(b"[200~")) == keys


def test_escape_and_a_key_in_two_parts(typist: Typist) -> None:
    """Sooner than a sequence is given up, as a fast hand or a slow link has it."""
    for part in (b"\x1b", b"2", b"\x1b", b"[A"):
        typist.type(part)
    assert typist.keys(3) == ["escape", "2", "up"]


def test_escape_leaves_the_line_and_the_next_key_opens_a_view() -> None:
    with closed_at_the_end() as start:
        terminal = start("--backend", "diag")
        terminal.shows("backend diag")
        terminal.type("/port:22")
        terminal.shows("Filter:  port:22")
        terminal.type("\x1b2")
        terminal.shows("LATENCY")
        terminal.type("q")
        assert terminal.ended() == 0


def test_a_character_in_two_parts(typist: Typist) -> None:
    first, second = "é".encode()[:1], "é".encode()[1:]
    typist.type(first)
    typist.type(second + b"x")
    (accented, after) = (typist.heard.get(timeout=10) for _ in range(2))
    assert isinstance(accented, Key)
    assert isinstance(after, Key)
    assert (accented.character, after.character) == ("é", "x")


def test_what_is_no_utf8_stops_nothing(typist: Typist) -> None:
    typist.type(b"\xe9\xff")
    typist.type(b"q")
    heard = [typist.heard.get(timeout=10) for _ in range(3)]
    assert isinstance(heard[-1], Key)
    assert heard[-1].key == "q"


def test_nobody_wakes_up_while_nothing_is_typed(typist: Typist, waits: list[float | None]) -> None:
    typist.type(b"\x1b")
    typist.keys(1)
    while waits[-1] is not None:  # until the rest of an Escape would have come
        typist.thread.join(0.01)
    before = len(waits)
    typist.type(b"a")
    typist.keys(1)
    assert len(waits) <= before + 1  # it waited in one go


def test_where_input_ends_nobody_asks_again(waits: list[float | None]) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb"):
        os.close(writing)
        read_keys(reading, WakeEvent(), [].append)
    assert len(waits) == 1


def test_a_latin1_terminal_does_not_end_the_dashboard(bpf_possible: None) -> None:
    terminal = Terminal()
    try:
        terminal.shows("backend bpf")
        terminal.type(b"\xe9\xff")
        terminal.type("/port:22")
        terminal.shows("port:22")
        assert "Traceback" not in terminal.text
    finally:
        terminal.close()


def test_nothing_is_drawn_on_the_shells_screen(bpf_possible: None) -> None:
    """The end comes at once: a drawing that still waits for its turn is not sent after it."""
    terminal = Terminal("--backend", "diag")
    try:
        terminal.shows("backend diag")
        terminal.type("q")
        assert terminal.ended() == 0
        after = terminal.output.partition(b"\x1b[?1049l")[2]
        assert b"tcptop-tui" not in after
        assert b"\x1b[2J" not in after
    finally:
        terminal.close()
