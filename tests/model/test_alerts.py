"""What is wrong is found unasked, and a busy host is not wrong."""

from __future__ import annotations

import socket
import subprocess
from typing import Any

import numpy as np
import pytest

from tcptop_tui.export.alert_text import alert_text
from tcptop_tui.fields import BY_KEY
from tcptop_tui.fields.connect_results import result_codes
from tcptop_tui.filters import RowContext, parse
from tcptop_tui.filters.lexer import quoted
from tcptop_tui.model.alert_kinds import Alert
from tcptop_tui.model.alerts import CLOSE_WAIT_COUNT, FAILED_COUNT, HOLD_S, MIN_SECONDS, AlertRules
from tcptop_tui.model.connect_outcomes import by_destination
from tcptop_tui.model.per_second import SECONDS, EventKind
from tcptop_tui.records import TRANSITION, Rows, State, SynSent
from tcptop_tui.stream.batches import Table
from tcptop_tui.widgets.panels.alerts import AlertStrip
from tcptop_tui.widgets.views.connections import ConnectionTable
from tcptop_tui.widgets.views.connects import destination_filter
from tests.support.dashboard import dashboard
from tests.support.samples import NOW, SECOND, UTC, connections, transitions
from tests.support.sockets import listening, pair, port
from tests.support.terminal import Terminal

pytestmark = pytest.mark.host

NO_LOG = np.zeros(0, TRANSITION)
NO_PULSE = np.zeros((len(EventKind), 0))
OLD = NOW - 900 * SECOND


def alerts(*given: dict[str, Any], log: Rows = NO_LOG) -> list[Alert]:
    alarms = AlertRules()
    alarms.update(connections(*given), log, NO_PULSE, NOW)
    return list(alarms.alerts)


def piled(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"state": State.CLOSE_WAIT, "state_ns": OLD, **fields} for _ in range(count)]


def test_close_wait_piles_up() -> None:
    rows = piled(214) + [{"comm": b"other"}] * 300
    (alert,) = alerts(*rows)
    assert alert_text(alert) == "nginx 100: 200+ in CLOSE_WAIT, oldest 15m"
    shown = parse(alert.filter).matches(RowContext(connections(*rows), NOW, None, None))
    assert shown.sum() == 214


@pytest.mark.parametrize(
    "rows",
    [
        piled(CLOSE_WAIT_COUNT - 1), piled(50, state_ns=NOW - SECOND), [{"state": State.TIME_WAIT}] * 5000,
        [{"state": State.SYN_SENT, "syn_sent": SynSent.OUT, "state_ns": NOW - SECOND // 2}] * 100,
        [{"state": State.SYN_SENT, "syn_sent": SynSent.NONE, "state_ns": NOW - 60 * SECOND}] * 100,
        [{"state": State.LISTEN, "accept_queue": 0, "backlog": 128}],
        [{"state": State.LISTEN, "accept_queue": 100, "backlog": 128}],
        [{"srtt_us": 900_000}] * 10, [],
    ],
)  # fmt: skip
def test_a_busy_host_is_not_wrong(rows: list[dict[str, Any]]) -> None:
    assert alerts(*rows) == []


@pytest.mark.parametrize(("since_s", "oldest"), [(2, "under 10 s"), (12, "10 s"), (70, "1m")])
def test_nobody_answers(since_s: int, oldest: str) -> None:
    rows = [
        {"state": State.SYN_SENT, "syn_sent": SynSent.OUT, "state_ns": NOW - since_s * SECOND, "raddr": "10.9.9.9"}
    ] * 3 + [{}]
    (alert,) = alerts(*rows)
    assert alert_text(alert) == f"10.9.9.9 does not answer: 3 in SYN_SENT, oldest {oldest}"
    assert parse(alert.filter).matches(RowContext(connections(*rows), NOW, None, None)).tolist() == [True] * 3 + [False]


def test_an_accept_queue() -> None:
    listener = {"state": State.LISTEN, "rport": 0, "raddr": "::", "backlog": 128}
    full, filling = alerts(listener | {"accept_queue": 129}, listener | {"accept_queue": 110, "lport": 8080})
    assert (alert_text(full), full.severe) == ("nginx: accept queue of port 443 is full, 129 of 128", True)
    assert (alert_text(filling), filling.severe) == ("nginx: accept queue of port 8080 fills up, 110 of 128", False)


def test_many_connects_fail() -> None:
    lost = {"oldstate": State.SYN_SENT, "newstate": State.CLOSE, "err": 111, "rport": 9, "ts_ns": NOW - SECOND}
    (alert,) = alerts(log=transitions(*[lost] * FAILED_COUNT))
    assert alert_text(alert) == f"10.0.0.2 port 9: {FAILED_COUNT} connects failed in 10 s, refused"
    assert alert.view == "connects"
    assert alerts(log=transitions(*[lost] * (FAILED_COUNT - 1))) == []
    assert alerts(log=transitions(*[lost | {"ts_ns": NOW - 20 * SECOND}] * FAILED_COUNT)) == []


def test_who_connects_to_port_0_can_be_looked_at() -> None:
    """No listener can have it: the way from the alert, and from view 2, is a filter all the same."""
    lost = {"oldstate": State.SYN_SENT, "newstate": State.CLOSE, "err": 111, "rport": 0, "ts_ns": NOW - SECOND}
    log = transitions(*[lost] * FAILED_COUNT, lost | {"rport": 9})
    (alert,) = alerts(log=log)
    assert alert_text(alert) == f"10.0.0.2 port 0: {FAILED_COUNT} connects failed in 10 s, refused"
    (row, _) = made = by_destination(log, result_codes(log))
    assert BY_KEY["rport"].values(RowContext(made, NOW)) == BY_KEY["rport"].values(RowContext(log[-2:], NOW)) == [0, 9]
    for wanted in (alert.filter, destination_filter(row)):
        assert parse(wanted).matches(RowContext(log, NOW, None, None)).tolist() == [True] * FAILED_COUNT + [False]


def test_a_remote_address_becomes_slow() -> None:
    alarms = AlertRules()
    there = {"raddr": "10.3.3.3"}
    for second in range(MIN_SECONDS + 1):
        alarms.update(connections({"srtt_us": 1000 + second, **there}), NO_LOG, NO_PULSE, NOW + second * SECOND)
        assert alarms.alerts == ()
    later = NOW + (MIN_SECONDS + 1) * SECOND
    alarms.update(connections({"srtt_us": 15_000, **there}), NO_LOG, NO_PULSE, later)
    assert alarms.alerts == ()  # many times as slow, but nobody notices 15 ms
    alarms.update(connections({"srtt_us": 80_000, **there}), NO_LOG, NO_PULSE, later + SECOND)
    (alert,) = alarms.alerts
    assert alert_text(alert).startswith("10.3.3.3: round-trip time 80.0ms, usually 1.")
    assert alert.filter == "raddr:10.3.3.3"


def test_retransmits_come_in_a_burst() -> None:
    pulse = np.full((len(EventKind), SECONDS), 2.0)
    alarms = AlertRules()
    alarms.update(connections({}), NO_LOG, pulse, NOW)
    assert alarms.alerts == ()
    pulse[EventKind.RETRANS, -3:] = 120
    alarms.update(connections({}), NO_LOG, pulse, NOW + SECOND)
    assert [alert_text(alert) for alert in alarms.alerts] == ["120 segments a second are sent again, usually 2"]


def test_an_alert_stays_a_little_and_then_goes() -> None:
    alarms = AlertRules()
    alarms.update(connections(*piled(CLOSE_WAIT_COUNT)), NO_LOG, NO_PULSE, NOW)
    for second in range(1, HOLD_S + 1):
        alarms.update(connections({}), NO_LOG, NO_PULSE, NOW + second * SECOND)
        assert len(alarms.alerts) == 1
    alarms.update(connections({}), NO_LOG, NO_PULSE, NOW + (HOLD_S + 1) * SECOND)
    assert alarms.alerts == ()


@pytest.mark.parametrize("name", ["ng", "my prog", 'a"b', "a\\b", "a,b", "-x", "12", "ünï", "!no", "a:b", "/x/"])
def test_a_filter_with_any_name_means_that_name(name: str) -> None:
    rows = connections(*piled(CLOSE_WAIT_COUNT, comm=name.encode(), pid=0), *piled(3, comm=b"nobody", pid=0))
    alarms = AlertRules()
    alarms.update(rows, NO_LOG, NO_PULSE, NOW)
    (alert,) = alarms.alerts
    assert parse(alert.filter).matches(RowContext(rows, NOW, None, None)).sum() == CLOSE_WAIT_COUNT
    assert quoted(name)


async def test_from_an_alert_to_what_it_is_about() -> None:
    async with dashboard() as board:
        strip = board.app.panel(AlertStrip)
        await board.press("a")
        assert not strip.display
        rows = connections(*piled(30), *piled(20, comm=b"java", pid=7), *({"comm": b"sshd"} for _ in range(50)))
        rows["id"] = np.arange(1, 101)
        await board.deliver(Table(rows, NOW + 2 * SECOND, UTC))
        assert strip.display
        assert [strip.render_line(y).text.split("  ")[0].strip() for y in range(strip.size.height)] == [
            "! java 7: 20 in CLOSE_WAIT, oldest 15m",
            "! nginx 100: 30 in CLOSE_WAIT, oldest 15m",
        ]
        await board.press("2", "a", "down", "enter")
        assert board.app.view_options.view == "connections"
        assert board.row_count == 30
        assert isinstance(board.app.focused, ConnectionTable)
        await board.press("a", "up", "escape")
        assert isinstance(board.app.focused, ConnectionTable)
        await board.press("a", "k", "enter")
        assert board.row_count == 20
        # it goes by itself, and gives the keys back
        await board.press("a")
        await board.deliver(Table(connections({}), NOW + 10 * SECOND, UTC))
        assert not strip.display
        assert isinstance(board.app.focused, ConnectionTable)


def test_on_the_real_kernel(bpf_possible: None) -> None:
    """A listener that accepts nobody, as ``ss`` sees it; then a click's worth of keys."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        waiting = [socket.create_connection(listener.getsockname()) for _ in range(2)]
        told = subprocess.run(
            ["ss", "-ltnH", f"sport = :{port(listener)}"], capture_output=True, text=True, check=True
        ).stdout.split()
        assert told[1:3] == ["2", "1"]
        terminal = Terminal()
        try:
            terminal.shows(f"accept queue of port {port(listener)} is full, 2 of 1")
            terminal.type("a\r")
            terminal.shows(f"match lport:{port(listener)}")
        finally:
            terminal.close()
        del waiting


def test_close_wait_on_the_real_kernel(bpf_possible: None) -> None:
    with listening() as listener:
        pairs = [pair(listener) for _ in range(CLOSE_WAIT_COUNT)]
        for client, _ in pairs:
            client.close()
        # they closed before the start: how long ago is not known, so their number alone counts
        terminal = Terminal()
        try:
            terminal.shows(f"{CLOSE_WAIT_COUNT} in CLOSE_WAIT")
        finally:
            terminal.close()
