"""Names instead of numbers: asked for in the background, shown when they come, harmless whoever wrote them."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from tcptop_tui.host.hostnames import _MAX_CACHED, _MOST_WAITING, HostNames, service_name
from tcptop_tui.stream.batches import Table
from tcptop_tui.widgets.panels.transitions import TransitionLog
from tcptop_tui.widgets.views.connections import ConnectionTable
from tests.support.dashboard import Dashboard, dashboard
from tests.support.samples import NOW, SECOND, UTC
from tests.support.sockets import listening, pair, port
from tests.support.terminal import Terminal

pytestmark = pytest.mark.host


def known(hosts: HostNames, told: threading.Event, address: str) -> str:
    hosts.host(address)
    assert told.wait(20)
    told.clear()
    return hosts.host(address)


def test_as_the_system_does_it() -> None:
    told = threading.Event()
    assert known(HostNames(told.set), told, "127.0.0.1") == "localhost"  # /etc/hosts


def test_who_asks_never_waits() -> None:
    let, told = threading.Event(), threading.Event()

    def slow(address: str) -> str:
        let.wait(20)
        return f"host-{address}"

    hosts = HostNames(told.set, slow)
    assert hosts.host("10.0.0.1") == "10.0.0.1"
    let.set()
    assert told.wait(20)
    assert hosts.host("10.0.0.1") == "host-10.0.0.1"


def test_nothing_grows_without_bound() -> None:
    let = threading.Event()

    def slow(address: str) -> str:
        let.wait(20)
        return address

    hosts = HostNames(lambda: None, slow)
    for number in range(3 * _MOST_WAITING):
        hosts.host(f"10.0.{number >> 8}.{number & 255}")
    assert len(hosts._queued) <= _MOST_WAITING + 4
    assert f"10.0.{number >> 8}.{number & 255}" in hosts._queued  # who came last is on the screen
    let.set()
    quick = HostNames(lambda: None, lambda address: address)
    quick._cache.update({str(number): ("x", 0.0) for number in range(_MAX_CACHED + 5)})
    told = threading.Event()
    quick._answered = told.set
    quick.host("10.9.9.9")
    assert told.wait(20)
    assert len(quick._cache) <= _MAX_CACHED


@pytest.mark.parametrize("raised", [OSError("no"), UnicodeError("no")])
def test_what_has_no_name_keeps_its_number(raised: Exception) -> None:
    asked: list[str] = []
    done = threading.Semaphore(0)

    def fails(address: str) -> str:
        asked.append(address)
        done.release()
        raise raised

    hosts = HostNames(lambda: None, fails)
    hosts.host("10.0.0.1")
    assert done.acquire(timeout=20)
    assert hosts.host("10.0.0.1") == "10.0.0.1"


def test_names_from_strangers_are_harmless() -> None:
    told = threading.Event()
    hosts = HostNames(told.set, lambda _address: "\x1b]0;own\x07" + "a" * 5000)
    name = known(hosts, told, "10.0.0.1")
    assert "\x1b" not in name
    assert len(name) <= 255


def test_a_resolver_that_never_answers_does_not_delay_the_end() -> None:
    script = (
        "import threading\nfrom tcptop_tui.host.hostnames import HostNames\n"
        "began = threading.Event()\n"
        "def ask(address):\n    began.set()\n    threading.Event().wait()\n"
        "HostNames(print, ask).host('10.0.0.1')\nassert began.wait(20)"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=30, check=False).returncode == 0


def test_services() -> None:
    told = subprocess.run(["getent", "services", "443/tcp"], capture_output=True, text=True, check=True).stdout.split()
    assert service_name(443) == told[0]
    assert service_name(1) in {"1", "tcpmux"}
    assert service_name(65_000) == "65000"


async def with_names(board: Dashboard) -> str:
    """Show names of hosts; the first line as it was with numbers."""
    board.app.host_names._ask = lambda address: f"name-of-{address[-2:]}"
    numbers = board.lines(ConnectionTable)[1]
    await board.press("n")
    while "name-of-.0" not in board.lines(ConnectionTable)[1]:
        await board.deliver(Table(board.app.frame.snapshot.rows, NOW + SECOND, UTC))
    return numbers


async def test_the_key_shows_names_and_numbers_again() -> None:
    async with dashboard() as board:
        numbers = await with_names(board)
        assert " ssh " in board.lines(ConnectionTable)[1]
        assert "name-of" in board.lines(TransitionLog)[-1]
        await board.press("slash", *"10.0.1.7", "enter")  # filters mean numbers
        assert board.row_count == 1
        await board.press("slash", "ctrl+u", "enter", "n")
        assert board.lines(ConnectionTable)[1] == numbers


async def test_numbers_come_back_at_once() -> None:
    async with dashboard() as board:
        numbers = await with_names(board)
        await board.press("n")
        assert board.lines(ConnectionTable)[1] == numbers


def test_in_a_terminal(bpf_possible: None) -> None:
    with listening() as listener:
        ours, theirs = pair(listener)
        terminal = Terminal("--filter", f"port:{port(listener)}")
        try:
            terminal.shows("127.0.0.1")
            terminal.type("n")
            terminal.shows("localhost")
        finally:
            terminal.close()
        ours.close()
        theirs.close()
