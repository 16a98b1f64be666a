"""``trace life`` as a process: bytes that were counted, pauses that were measured."""

from __future__ import annotations

import csv
import fcntl
import socket
import sys
import termios
from array import array
from pathlib import Path

import pytest

from tests.support.sockets import listening, pair, reset
from tests.support.trace_process import calling, refused, streaming

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from measure import tcp_count

pytestmark = [pytest.mark.host, pytest.mark.usefixtures("bpf_possible")]

CSV = "PID,COMM,IP,LADDR,LPORT,RADDR,RPORT,TX_KB,RX_KB,MS"
PIPE_BYTES = 65536
MOST_LINE_BYTES = 700
SENT, ANSWERED = 100 * 1024, 3 * 1024 + 100


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_every_json_name(host: str) -> None:
    with streaming("life", "--json") as stream:
        before = tcp_count("RetransSegs")
        with calling(host) as call:
            call.exchange(SENT, ANSWERED)
            call.close()
        repeats = tcp_count("RetransSegs") - before
        assert stream.end() == 0
    (client,) = (line for line in stream.objects() if line["lport"] == call.client_port)
    (server,) = (line for line in stream.objects() if line["rport"] == call.client_port)
    assert (client["pid"], client["comm"], client["uid"]) == (call.client_pid, "actor-call", 0)
    assert (server["pid"], server["comm"]) == (call.server_pid, "actor-serve")
    assert (client["laddr"], client["raddr"], client["rport"]) == (host, host, call.server_port)
    assert (client["tx_bytes"], client["rx_bytes"]) == (SENT, ANSWERED)
    assert (server["tx_bytes"], server["rx_bytes"]) == (ANSWERED, SENT)
    assert (client["opened"], server["opened"]) == ("connect", "accept")
    assert (client["why"], server["why"]) == ("FIN by us", "FIN by peer")
    assert client["reset_in"] is None
    # none, but a host that is busy may repeat a segment
    assert client["retrans"] == sum(client["retrans_in"].values()) <= repeats
    assert client["rtt_avg_us"] > 0
    # SYN to the last ACK: longer than from the end of connect() to close(), handshake within connect()
    assert client["ms"] * 1e6 >= call.closed["began_ns"] - call.connected["ended_ns"]
    assert client["handshake_ms"] * 1e6 <= call.connected["ended_ns"] - call.connected["began_ns"]


def test_every_line_is_whole_when_a_signal_comes_while_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """write(2) into a full pipe stops halfway at a signal."""
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    with streaming("life", "--json") as stream, listening() as server:
        assert stream.process.stdout is not None
        waiting = array("i", [0])
        # what is written at once takes a page, and leaves room there for less than a line
        while waiting[0] < PIPE_BYTES - 16 * MOST_LINE_BYTES:
            _end_one(server)
            fcntl.ioctl(stream.process.stdout, termios.FIONREAD, waiting)
        for _ in range(PIPE_BYTES // 1024):  # more than there is room for
            _end_one(server)
        assert stream.end() == 0
    assert len(stream.objects()) > (PIPE_BYTES - 16 * MOST_LINE_BYTES) / MOST_LINE_BYTES


def _end_one(server: socket.socket) -> None:
    for side in pair(server):
        reset(side)


def test_csv_has_the_columns_of_bcc() -> None:
    with streaming("life", "-T", "-t", "--csv", "-6") as stream:
        with calling("::1") as call:
            call.exchange(SENT, ANSWERED)
            call.close()
        with calling("127.0.0.1") as four:
            four.close()
        stream.end()
    assert stream.header.decode().strip() == f"TIME,TIME(s),{CSV}"
    rows = list(csv.reader(stream.lines))
    (mine,) = (row for row in rows if row[6] == str(call.client_port))
    assert mine[2:11] == [
        str(call.client_pid), "actor-call", "6", "::1", str(call.client_port), "::1", str(call.server_port), "100", "3",
    ]  # fmt: skip
    assert {row[4] for row in rows} == {"6"}


def test_every_text_column_and_no_listener() -> None:
    with streaming("life") as stream:
        with calling() as call:
            call.exchange(10, 2048)
            call.close()
        actor, free = refused()
        stream.end()
    titles = stream.header.decode().split()
    assert " ".join(titles) == "PID COMM LADDR LPORT RADDR RPORT TX_KB RX_KB MS WHY"
    rows = [dict(zip(titles, line.split(None, len(titles) - 1), strict=False)) for line in stream.lines]
    (client,) = (row for row in rows if row["LPORT"] == str(call.client_port))
    assert (client["TX_KB"], client["RX_KB"]) == ("0.01", "2")  # less than one is not nothing
    (failed,) = (row for row in rows if row["RPORT"] == str(free))
    assert (failed["PID"], failed["TX_KB"], failed["WHY"]) == (str(actor.facts["pid"]), "0", "refused")
    assert all(row["RPORT"] != "0" for row in rows)
    assert len([row for row in rows if row["LPORT"] == str(call.server_port)]) == 1  # the accepted one


def test_a_session_from_before_has_bytes_and_owner_but_no_duration() -> None:
    with calling() as call:
        call.exchange(5000, 6000)
        with streaming("life", "-s", "-L", str(call.client_port)) as stream:
            call.exchange(1, 1)
            call.close()
            stream.end()
    (line,) = csv.reader(stream.lines)
    client = dict(zip(CSV.split(","), line, strict=True))
    assert client["MS"] == ""
    assert (client["TX_KB"], client["RX_KB"]) == (str(5001 // 1024), str(6001 // 1024))
    assert (client["PID"], client["COMM"]) == (str(call.client_pid), "actor-call")
