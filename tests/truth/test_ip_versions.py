"""IPv4 or IPv6: every consumer has one rule, also where an IPv6 socket speaks IPv4 (RFC 4291, 2.5.5.2)."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pytest

from tcptop_tui.bpf.program import Program
from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.diag.source import DiagSource
from tcptop_tui.fields import BY_KEY, RowContext
from tcptop_tui.filters import parse
from tcptop_tui.records import TRANSITION, Rows, speaks_ipv4
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Capture
from tcptop_tui.stream.identity import endpoints_mask
from tests.support.close_cases import own_namespace
from tests.support.running_source import Running
from tests.support.sockets import LI, SS, C, port
from tests.support.tracer import SMALL, WATCHING

pytestmark = pytest.mark.host

FOUR, SIX = socket.AF_INET, socket.AF_INET6
MAPPED = "::ffff:127.0.0.1"


@dataclass(frozen=True)
class Case:
    """Listener and client, each with its family and the address that it is given."""

    listener: tuple[int, str]
    client: tuple[int, str]
    listens: int
    """The version of the listener: what takes both is IPv6."""
    speaks: int
    """That of the two ends of the connection."""


CASES = {
    "four": Case((FOUR, "127.0.0.1"), (FOUR, "127.0.0.1"), 4, 4),
    "any four": Case((FOUR, "0.0.0.0"), (FOUR, "127.0.0.1"), 4, 4),  # noqa: S104  nobody is let in
    "six": Case((SIX, "::1"), (SIX, "::1"), 6, 6),
    "any six": Case((SIX, "::"), (SIX, "::1"), 6, 6),
    "four at any": Case((SIX, "::"), (FOUR, "127.0.0.1"), 6, 4),
    "mapped at any": Case((SIX, "::"), (SIX, MAPPED), 6, 4),
    "mapped at mapped": Case((SIX, MAPPED), (SIX, MAPPED), 4, 4),
    "mapped at four": Case((FOUR, "127.0.0.1"), (SIX, MAPPED), 4, 4),
}


@dataclass(frozen=True)
class Sockets:
    """A case's ports, while its sockets are open."""

    case: Case
    server: int
    client: int

    def versions(self, rows: Rows) -> set[tuple[str, int]]:
        """Which of its three sockets are among ``rows``, each with the version that it has by the case."""
        lport, rport = rows["lport"], rows["rport"]
        is_ours = {
            ("listener", self.case.listens): (lport == self.server) & (rport == 0),
            ("client", self.case.speaks): (lport == self.client) & (rport == self.server),
            ("accepted", self.case.speaks): (lport == self.server) & (rport == self.client),
        }
        return {what for what, mask in is_ours.items() if mask.any()}

    def expected(self, ip: int) -> set[tuple[str, int]]:
        """Those that have the version ``ip``, 0 for both."""
        case = self.case
        every = {("listener", case.listens), ("client", case.speaks), ("accepted", case.speaks)}
        return {what for what in every if ip in {0, what[1]}}


@pytest.fixture(params=[*CASES])
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def opened(case: Case, stack: ExitStack) -> Sockets:
    server, client = (stack.enter_context(socket.socket(family)) for family in (case.listener[0], case.client[0]))
    server.bind((case.listener[1], 0))
    server.listen()
    client.connect((case.client[1], port(server)))
    stack.enter_context(server.accept()[0])
    return Sockets(case, port(server), port(client))


@pytest.mark.parametrize("ip", [4, 6])
def test_the_kernel_programs(tracer: Program, case: Case, ip: int) -> None:
    """Every transition of a socket is logged, or none."""
    tracer.set_capture(Capture(ip=ip))
    with ExitStack() as stack:
        made = opened(case, stack)
    rows = tracer.transitions.read("ts_ns")
    for what, mask in (("listener", rows["rport"] == 0), ("client", rows["rport"] == made.server)):
        wanted = any(name == what for name, _ in made.expected(ip))
        ours = rows[mask & ((rows["lport"] == made.server) | (rows["rport"] == made.server))]
        first = {"listener": (C, LI), "client": (C, SS)}[what]
        steps = [(int(row["oldstate"]), int(row["newstate"])) for row in ours]
        assert (first in steps) == (len(steps) > 1) == wanted, what


@pytest.mark.parametrize("ip", [0, 4, 6])
@pytest.mark.parametrize("source", [BpfSource, DiagSource])
def test_the_table_of_each_source(
    bpf_possible: None, source: Callable[[Settings, Capture], BpfSource | DiagSource], ip: int
) -> None:
    """What was there before it started; and there, filters and the field are of the same opinion as the capture."""
    with ExitStack() as stack:
        every = [opened(case, stack) for case in CASES.values()]
        running = Running(source(WATCHING, Capture(ip=ip)), WATCHING)
        stack.callback(running.close)
        running.until(lambda: len(running.store.snapshot().rows) > 0)
        rows = running.store.snapshot().rows
        for made in every:
            assert made.versions(rows) == made.expected(ip)
        for version in (4, 6):
            asked = [
                parse(f"ip:{version}").matches(RowContext(rows, 0)),
                BY_KEY["ip"].read(RowContext(rows, 0)).values == version,
                endpoints_mask(rows, Capture(ip=version)),
            ]
            for made in every:
                for mask in asked:
                    assert made.versions(rows[mask]) == made.expected(ip) & made.expected(version)


NO_ROUTE = {
    "four": (FOUR, "10.7.1.1", 4),
    "six": (SIX, "fd07::1", 6),
    "mapped": (SIX, "::ffff:10.7.1.1", 4),
}


@pytest.fixture(scope="module")
def watching(bpf_possible: None) -> Iterator[Program]:
    capture = Capture(connects=True)
    program = Program(SMALL, capture)
    program.attach(capture)
    yield program
    program.close()


def failed(watching: Program, capture: Capture, to: tuple[int, str], here: str = "", lport: int = 0) -> Rows:
    """The lines of a connect() that finds no route, of a socket that is bound if ``here`` is an address."""
    watching.set_capture(capture)
    with own_namespace(), socket.socket(to[0]) as sock:
        watching.transitions.read("ts_ns")
        if here:
            sock.bind((here, lport))
        assert sock.connect_ex((to[1], 20_007)) == errno.ENETUNREACH
    rows = watching.transitions.read("ts_ns")
    return rows[rows["rport"] == 20_007]


@pytest.mark.parametrize("target", [*NO_ROUTE])
@pytest.mark.parametrize("ip", [0, 4, 6])
def test_a_connect_that_fails_early(watching: Program, target: str, ip: int) -> None:
    """An IPv6 socket that was to connect to an IPv4 address in its IPv6 form would have spoken IPv4."""
    family, address, version = NO_ROUTE[target]
    rows = failed(watching, Capture(ip=ip, connects=True), (family, address))
    assert len(rows) == (ip in {0, version})
    assert BY_KEY["ip"].read(RowContext(rows, 0)).values.tolist() == [version] * len(rows)
    assert parse(f"ip:{version}").matches(RowContext(rows, 0)).all()


BOUND = {"four": ("127.0.0.1", 5007), "six": ("::1", 5008), "mapped": (MAPPED, 5009)}


@pytest.mark.parametrize("target", [*NO_ROUTE])
def test_a_bound_socket_that_fails_early_has_its_own_address(watching: Program, target: str) -> None:
    family, address, _ = NO_ROUTE[target]
    here, lport = BOUND[target]
    rows = failed(watching, Capture(connects=True), (family, address), here, lport)
    context = RowContext(rows, 0)
    assert rows["lport"].tolist() == [lport]
    assert parse(f"laddr:{here.removeprefix('::ffff:')}").matches(context).all()


@pytest.mark.parametrize(("lport", "lines"), [(0, 0), (5010, 1), (5011, 0)])
def test_early_failures_of_one_local_port(watching: Program, lport: int, lines: int) -> None:
    """A socket that has been given no port is not on that one."""
    capture = Capture(connects=True, lports=frozenset({5010}))
    assert len(failed(watching, capture, (FOUR, "10.7.1.1"), "0.0.0.0" if lport else "", lport)) == lines  # noqa: S104


def test_the_rule() -> None:
    """The remote address tells where there is one, else the local one."""
    ends = [
        ("10.0.0.1", "10.0.0.2", True),
        ("::1", "::1", False),
        ("::", "::", False),
        (MAPPED, "::", True),
        ("::", "::ffff:10.0.0.1", True),
        ("::ffff:0.0.0.0", "::ffff:0.0.0.0", True),
    ]
    rows = np.zeros(len(ends), TRANSITION)
    for row, (here, there, _) in zip(rows, ends, strict=True):
        row["laddr"], row["raddr"] = words(here), words(there)
    assert speaks_ipv4(rows).tolist() == [four for _, _, four in ends]


def words(address: str) -> tuple[int, int]:
    packed = socket.inet_pton(SIX, address if ":" in address else f"::ffff:{address}")
    return int.from_bytes(packed[:8]), int.from_bytes(packed[8:])
