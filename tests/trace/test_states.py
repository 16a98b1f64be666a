"""``trace states`` as a process: every column against what the test's own programs did."""

from __future__ import annotations

import csv
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.sockets import listening, port
from tests.support.trace_process import Stream, calling, refused, streaming

pytestmark = [pytest.mark.host, pytest.mark.usefixtures("bpf_possible")]

CSV = "SKADDR,PID,COMM,IP,LADDR,LPORT,RADDR,RPORT,OLDSTATE,NEWSTATE,MS"
CLIENT = ["CLOSE>SYN_SENT", "SYN_SENT>ESTABLISHED", "ESTABLISHED>FIN_WAIT1", "FIN_WAIT1>FIN_WAIT2", "FIN_WAIT2>CLOSE"]
SERVER = [
    "LISTEN>SYN_RECV", "SYN_RECV>ESTABLISHED", "ESTABLISHED>CLOSE_WAIT", "CLOSE_WAIT>LAST_ACK", "LAST_ACK>CLOSE",
]  # fmt: skip
SENT, ANSWERED = 12_345, 54_321


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_every_json_name(host: str) -> None:
    with streaming("states", "--json") as stream:
        with calling(host) as call:
            call.exchange(SENT, ANSWERED)
            call.close()
        assert stream.end() == 0
    client = [line for line in stream.objects() if line["lport"] == call.client_port]
    server = [
        line for line in stream.objects() if (line["lport"], line["rport"]) == (call.server_port, call.client_port)
    ]
    assert [f"{line['oldstate']}>{line['newstate']}" for line in client] == CLIENT
    assert [f"{line['oldstate']}>{line['newstate']}" for line in server] == SERVER
    for line in client + server:
        assert (line["laddr"], line["raddr"], line["ip"], line["uid"]) == (host, host, 6 if ":" in host else 4, 0)
        assert line["time"].endswith("Z")
    assert {line["pid"] for line in client} == {call.client_pid}
    assert {line["comm"] for line in client} == {"actor-call"}
    # two processes have the listener: nobody's until one of them reads
    assert [line["pid"] for line in server] == [None] * 2 + [call.server_pid] * 3
    assert [line["comm"] for line in server] == [None] * 2 + ["actor-serve"] * 3
    assert (client[-1]["tx_bytes"], client[-1]["rx_bytes"]) == (SENT, ANSWERED)
    assert (server[-1]["tx_bytes"], server[-1]["rx_bytes"]) == (ANSWERED, SENT)
    assert (client[-1]["why"], server[-1]["why"]) == ("FIN by us", "FIN by peer")
    assert {line["why"] for line in client[:-1]} == {None}
    assert len({line["skaddr"] for line in client}) == 1
    assert client[0]["ms"] is None  # nobody saw how long it had been closed
    # the program's own clock around the system calls bounds what the kernel measured
    least = call.closed["began_ns"] - call.connected["ended_ns"]
    most = call.closed["ended_ns"] - call.connected["began_ns"]
    assert least <= client[2]["ms"] * 1e6 <= most


def test_every_text_column() -> None:
    with streaming("states", "-T", "-t", "-w", "-4") as stream:
        with calling() as call:
            call.exchange(1, 1)
            call.close()
        stream.end()
    titles = stream.header.decode().split()
    assert " ".join(titles) == (
        "TIME TIME(s) SKADDR PID COMM IP LADDR LPORT RADDR RPORT OLDSTATE -> NEWSTATE MS UID NETNS CGROUP WHY"
    )
    rows = [dict(zip(titles, line.split(None, len(titles) - 1), strict=False)) for line in stream.lines]
    mine = [row for row in rows if row["LPORT"] == str(call.client_port)]
    assert [f"{row['OLDSTATE']}>{row['NEWSTATE']}" for row in mine] == CLIENT
    assert all(datetime.strptime(row["TIME"], "%H:%M:%S.%f") for row in mine)
    since = [float(row["TIME(s)"]) for row in rows]
    assert since == sorted(since)
    assert all(re.fullmatch("[0-9a-f]{16}", row["SKADDR"]) for row in mine)
    assert {(row["PID"], row["COMM"], row["IP"]) for row in mine} == {(str(call.client_pid), "actor-call", "4")}
    assert {(row["LADDR"], row["RADDR"], row["RPORT"]) for row in mine} == {
        ("127.0.0.1", "127.0.0.1", str(call.server_port))
    }
    assert mine[0]["MS"] == "–"
    assert all(re.fullmatch(r"[0-9]+\.[0-9]{3}", row["MS"]) for row in mine[1:])
    assert mine[-1]["WHY"] == "FIN by us"


def test_csv_has_the_columns_of_bcc() -> None:
    with streaming("states", "--csv") as stream:
        with calling() as call:
            call.close()
        stream.end()
    assert stream.header.decode().strip() == CSV
    rows = [dict(zip(CSV.split(","), row, strict=True)) for row in csv.reader(stream.lines)]
    mine = [row for row in rows if row["LPORT"] == str(call.client_port)]
    assert [f"{row['OLDSTATE']}>{row['NEWSTATE']}" for row in mine] == CLIENT
    assert mine[0]["MS"] == ""


def test_context_shows_who_was_on_the_cpu() -> None:
    with streaming("states", "--json", "--context") as stream:
        with calling() as call:
            call.exchange(1, 1)
            call.close()
        stream.end()
    closes = [line for line in stream.objects() if line["lport"] == call.client_port]
    by_itself = {line["context_pid"] for line in closes if line["newstate"] in {"SYN_SENT", "FIN_WAIT1"}}
    assert by_itself == {call.client_pid}
    assert closes[0]["context_comm"] == "actor-call"
    last = [line for line in stream.objects() if line["lport"] == call.server_port and line["rport"]][-1]
    assert last["pid"] == call.server_pid


def test_local_port_filter_loses_nothing_of_a_connection() -> None:
    with streaming("states", "-L", "1024-65535", "-s") as stream:
        with calling() as call:
            call.close()
        stream.end()
    states = [row[8] + ">" + row[9] for row in csv.reader(stream.lines) if row[5] == str(call.client_port)]
    assert states == CLIENT  # bcc's -L loses the first one


def test_remote_port_and_pid_filters() -> None:
    with calling() as call, streaming("states", "-s", "-D", str(call.server_port)) as by_port:
        with streaming("states", "-s", "-p", str(call.client_pid)) as by_pid:
            with calling() as other:
                other.close()
            call.close()
            by_pid.end()
        by_port.end()
    for stream in (by_port, by_pid):
        rows = list(csv.reader(stream.lines))
        assert {row[5] for row in rows} == {str(call.client_port)}
        assert {row[1] for row in rows} == {
            str(call.client_pid)
        }  # a socket from before: its owner is known all the same


def test_refused_in_words() -> None:
    with streaming("states", "--json") as stream:
        actor, free = refused()
        stream.end()
    last = [line for line in stream.objects() if line["rport"] == free][-1]
    assert (last["newstate"], last["why"], last["reset_in"], last["pid"]) == (
        "CLOSE", "refused", "SYN_SENT", actor.facts["pid"],
    )  # fmt: skip


def test_ends_by_count_and_by_signal_with_a_summary() -> None:
    with streaming("states", "-s", "--count", "3") as stream:
        with calling() as call:
            call.close()
        assert stream.wait() == 0
    assert len(stream.lines) == 3
    assert re.fullmatch(r"tcptop-tui: 3 lines in [0-9.]+ s; lost 0, map full 0, missed 0\n", stream.said)
    with streaming("states", "-s") as stream:
        assert stream.end(signal.SIGTERM) == 128 + signal.SIGTERM


def test_closed_pipe_ends_it_quietly() -> None:
    with streaming("states", "-s") as stream:
        assert stream.process.stdout is not None
        stream.process.stdout.close()
        assert stream.process.wait(30) == 0
        assert stream.process.stderr is not None
        assert stream.process.stderr.read() == b""


def test_json_is_one_object_a_line() -> None:
    with streaming("states", "--json") as stream:
        assert json.loads(stream.header)["newstate"]
        stream.end()
    assert all(isinstance(line, dict) for line in stream.objects())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["states", "-4", "-6"], "-4 and -6 exclude each other: leave both out to see both"),
        (["life", "--csv", "--json"], "--csv and --json exclude each other: leave one out"),
        (["states", "-L", "99999"], "ports, column 1: '99999' is not a port number: they end at 65535"),
        (["rtt", "-a", "nowhere"], "'nowhere' is no address: as in 10.0.0.1, 10.0.0.0/8 or ::1"),
        (["rtt", "-b", "-B"], "-b and -B exclude each other: leave one out"),
        (["connect", "--replay", "/nothing/here"],
         "cannot read /nothing/here: No such file or directory: name a file made with --record"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line(arguments: list[str], said: str) -> None:
    stream = Stream(*arguments)
    assert stream.wait() == 2
    assert stream.said == f"tcptop-tui: {said}\n"
    assert not stream.lines


def test_without_a_stream_it_says_which_there_are() -> None:
    stream = Stream()
    assert stream.wait() == 2
    assert not stream.lines
    assert all(name in stream.said for name in ("states", "life", "connect", "rtt", "ping"))


def until_written(recording: Path) -> None:
    """Make connections until one of them stands in the file: what was before stands there too."""
    deadline_s = time.monotonic() + 30
    made: set[bytes] = set()
    with listening() as server:
        while not recording.exists() or not any(both in recording.read_bytes() for both in made):
            assert time.monotonic() < deadline_s
            with socket.create_connection(server.getsockname()) as client:
                # both ports, as they stand beside each other in a record: two bytes are there by chance
                made.add(struct.pack("<HH", port(client), port(server)))
            server.accept()[0].close()
            time.sleep(0.05)


def test_a_recording_gives_the_same_lines(tmp_path: Path) -> None:
    recording = tmp_path / "r.tcptop"
    command = [sys.executable, "-m", "tcptop_tui", "snapshot", "--after", "60", "--record", str(recording)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as recorder:
        until_written(recording)
        with calling("::1") as call:
            call.exchange(10, 20)
            call.close()
        until_written(recording)
        recorder.terminate()
    stream = Stream("states", "-s", "--replay", str(recording))
    assert stream.wait() == 0
    rows = list(csv.reader(stream.lines))
    mine = [row for row in rows if row[1] == str(call.client_pid)]
    assert [f"{row[8]}>{row[9]}" for row in mine] == CLIENT
    assert {(row[4], row[6], row[5], row[7]) for row in mine} == {
        ("::1", "::1", str(call.client_port), str(call.server_port))
    }
    others = [row for row in rows if row[1] == str(call.server_pid)]
    assert [f"{row[8]}>{row[9]}" for row in others] == SERVER[2:]
