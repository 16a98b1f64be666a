"""``trace states -Y``: what arrives at the journal's socket."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from tcptop_tui.errors import UsageError
from tcptop_tui.fields import RowContext
from tcptop_tui.records import State
from tcptop_tui.stream.batches import Names
from tcptop_tui.trace.journal import SOCKET, Journal
from tests.support.samples import UNKNOWN, transitions
from tests.support.trace_process import Stream, calling, streaming

pytestmark = pytest.mark.host


@pytest.fixture
def journald(tmp_path: Path):
    """A socket that listens where the journal would."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "socket"))
        server.settimeout(10)
        yield server


def fields(datagram: bytes) -> dict[str, str]:
    return dict(line.split("=", 1) for line in datagram.decode().splitlines())


def test_fields_are_those_of_tcpstates(journald: socket.socket) -> None:
    journal = Journal(Path(journald.getsockname()))
    journal.send(
        RowContext(
            transitions(
                {"pid": 7, "comm": b"nginx", "lport": 443, "rport": 5000, "time_in_state_ns": 1_234_567},
                {"laddr": "::1", "raddr": "::1"} | UNKNOWN | {"oldstate": State.CLOSE, "newstate": State.SYN_SENT},
            ),
            0,
        )
    )
    assert fields(journald.recv(65536)) == {
        "SYSLOG_IDENTIFIER": "tcpstates",
        "PRIORITY": "5",
        "MESSAGE": "nginx 10.0.0.1:443 - 10.0.0.2:5000 SYN_SENT -> ESTABLISHED",
        "OBJECT_PID": "7",
        "OBJECT_COMM": "nginx",
        "OBJECT_IPV4_SOURCE_ADDRESS": "10.0.0.1",
        "OBJECT_TCP_SOURCE_PORT": "443",
        "OBJECT_IPV4_DESTINATION_ADDRESS": "10.0.0.2",
        "OBJECT_TCP_DESTINATION_PORT": "5000",
        "OBJECT_TCP_OLD_STATE": "SYN_SENT",
        "OBJECT_TCP_NEW_STATE": "ESTABLISHED",
        "OBJECT_TCP_SPAN_TIME": "1234",
    }
    six = fields(journald.recv(65536))
    assert six["OBJECT_IPV6_SOURCE_ADDRESS"] == "::1"
    assert six.keys().isdisjoint({"OBJECT_PID", "OBJECT_COMM", "OBJECT_TCP_SPAN_TIME", "OBJECT_TCP_SOURCE_PORT"})
    journal.close()


def test_a_name_cannot_bring_fields_of_its_own(journald: socket.socket) -> None:
    journal = Journal(Path(journald.getsockname()))
    names = Names(devices={1: {3: "y\nPRIORITY=0"}})
    journal.send(RowContext(transitions({"comm": b"x\nPRIORITY=0\n", "dev": 3}), 0, names=names))
    told = fields(journald.recv(65536))
    assert told["PRIORITY"] == "5"
    assert told["OBJECT_INTERFACE"] == "y·PRIORITY=0"
    assert told["MESSAGE"].startswith("x·PRIORITY=0· 10.0.0.1%y·PRIORITY=0:443 - ")
    journal.close()


def test_one_that_stands_still_does_not_stop_the_stream(journald: socket.socket) -> None:
    journal = Journal(Path(journald.getsockname()))
    count = 2000  # more than any socket's queue holds
    journal.send(RowContext(transitions(*[{}] * count), 0))
    assert 0 < journal.refused < count
    for _ in range(count - journal.refused):
        assert journald.recv(65536)
    journal.close()


def test_no_journal_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no systemd journal"):
        Journal(tmp_path / "socket")


@pytest.mark.skipif(SOCKET.exists(), reason="this host's journal is not ours to fill")
@pytest.mark.usefixtures("bpf_possible")
def test_lines_go_to_both() -> None:
    made = [parent for parent in (SOCKET.parent, SOCKET.parent.parent) if not parent.exists()]
    SOCKET.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(SOCKET))
        ports: set[str | None] = set()

        def read() -> None:
            while datagram := server.recv(65536):
                ports.add(fields(datagram).get("OBJECT_TCP_SOURCE_PORT"))

        reader = threading.Thread(target=read)
        reader.start()
        with streaming("states", "-s", "-Y") as stream:
            with calling() as call:
                call.close()
            stream.end()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(SOCKET))
        reader.join()
    SOCKET.unlink()
    for parent in made:
        parent.rmdir()
    assert str(call.client_port) in ports
    without = Stream("states", "-Y")
    assert without.wait() == 2
    assert "no systemd journal" in without.said
