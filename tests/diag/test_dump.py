"""Dumps of sock_diag against what the test itself did, against ss and against /proc/net."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tcptop_tui.diag import netlink
from tcptop_tui.diag.netlink import SockDiag
from tcptop_tui.records import UNKNOWN_UID, Flag, Rows, State
from tests.support.sockets import LOOPBACK, listening, pair, port, reset, until_closed, until_state

pytestmark = pytest.mark.host

BOTH = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])


@pytest.fixture
def diag() -> Iterator[SockDiag]:
    made = SockDiag()
    yield made
    made.close()


def found(rows: Rows, lport: int, rport: int) -> Rows:
    return rows[(rows["lport"] == lport) & (rows["rport"] == rport)]


def one(rows: Rows, lport: int, rport: int) -> np.void:
    mine = found(rows, lport, rport)
    assert len(mine) == 1
    return mine[0]


def text(address: np.ndarray) -> str:
    return str(ipaddress.IPv6Address(int(address[0]) << 64 | int(address[1])))


@BOTH
def test_bytes_are_payload_and_never_the_fin(diag: SockDiag, family: int) -> None:
    with listening(family) as server:
        client, accepted = pair(server)
        here, there = port(client), port(server)
        client.sendall(b"x" * 5000)
        accepted.recv(5000, socket.MSG_WAITALL)
        accepted.sendall(b"y" * 77)
        client.recv(77, socket.MSG_WAITALL)
        rows = diag.dump().rows
        assert [one(rows, here, there)[name] for name in ("tx_bytes", "rx_bytes")] == [5000, 77]
        client.shutdown(socket.SHUT_WR)
        until_closed(accepted)
        until_state(client, State.FIN_WAIT2)
        rows = diag.dump().rows
        near, far = one(rows, here, there), one(rows, there, here)
        assert (near["state"], near["tx_bytes"], near["rx_bytes"]) == (State.FIN_WAIT2, 5000, 77)
        assert (far["state"], far["tx_bytes"], far["rx_bytes"]) == (State.CLOSE_WAIT, 77, 5000)
        assert near["flags"] == far["flags"] == Flag.GAUGES
        accepted.close()
        client.close()


@BOTH
def test_addresses_owner_and_namespace(diag: SockDiag, family: int) -> None:
    mapped = {socket.AF_INET: "::ffff:127.0.0.1", socket.AF_INET6: "::1"}[socket.AddressFamily(family)]
    with listening(family) as server:
        client, accepted = pair(server)
        os.fchown(client.fileno(), 4321, -1)  # sockfs_setattr gives the socket this uid
        row = one(diag.dump().rows, port(client), port(server))
        assert {text(row["laddr"]), text(row["raddr"])} == {str(ipaddress.IPv6Address(mapped))}
        assert row["uid"] == 4321
        assert row["netns"] == Path("/proc/self/ns/net").stat().st_ino
        listener = one(diag.dump().rows, port(server), 0)
        assert (listener["state"], listener["flags"], listener["srtt_us"]) == (State.LISTEN, 0, 0)
        reset(client)
        accepted.close()


def test_ipv4_over_an_ipv6_socket_has_the_same_form(diag: SockDiag) -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        client = socket.create_connection(("127.0.0.1", port(server)))
        accepted, _ = server.accept()
        rows = diag.dump().rows
        near, far = one(rows, port(client), port(server)), one(rows, port(server), port(client))
        assert (near["laddr"] == far["raddr"]).all()
        assert text(far["laddr"]) == str(ipaddress.IPv6Address("::ffff:127.0.0.1"))
        reset(client)
        accepted.close()


@BOTH
def test_time_wait_has_a_start_but_no_gauges(diag: SockDiag, family: int) -> None:
    with listening(family) as server:
        client, accepted = pair(server)
        here, there = port(client), port(server)
        before_ns = time.monotonic_ns()
        client.shutdown(socket.SHUT_WR)
        until_closed(accepted)
        accepted.close()
        until_closed(client)
        client.close()
        dump = diag.dump()
        took_ns = time.monotonic_ns() - dump.now_ns  # what is left of it is read a bit after the clock
        row = one(dump.rows, here, there)
        assert (row["state"], row["uid"], row["flags"], row["pid"]) == (State.TIME_WAIT, UNKNOWN_UID, 0, 0)
        jiffy_ns = 10**7  # the timer's unit, at the longest
        assert before_ns - jiffy_ns - took_ns <= row["state_ns"] <= dump.now_ns + took_ns


def test_a_request_is_the_connection_that_it_becomes(diag: SockDiag) -> None:
    with listening() as server:
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 30)  # a request until data comes
        client = socket.create_connection(server.getsockname())
        request = one(diag.dump().rows, port(server), port(client))
        assert (request["state"], request["uid"], request["flags"]) == (State.SYN_RECV, UNKNOWN_UID, 0)
        client.sendall(b"now")
        accepted, _ = server.accept()
        row = one(diag.dump().rows, port(server), port(client))
        assert (row["state"], row["uid"], row["rx_bytes"]) == (State.ESTABLISHED, os.getuid(), 3)
        assert row["cookie"] == request["cookie"] != 0
        reset(client)
        accepted.close()


def test_what_is_not_connected_has_no_gauges(diag: SockDiag) -> None:
    with socket.socket() as bound:
        bound.bind((LOOPBACK[socket.AF_INET], 0))
        mine = found(diag.dump().rows, port(bound), 0)  # shown since Linux 6.8
        assert not mine["flags"].any()


def test_listeners_that_share_a_port_stay_apart(diag: SockDiag) -> None:
    first, second = socket.socket(), socket.socket()
    for server in (first, second):
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", port(first) if server is second else 0))
        server.listen()
    dump = diag.dump()
    mine = (dump.rows["lport"] == port(first)) & (dump.rows["state"] == State.LISTEN)
    assert len(set(dump.rows["cookie"][mine].tolist())) == 2
    assert set(dump.inode[mine].tolist()) == {os.fstat(sock.fileno()).st_ino for sock in (first, second)}
    first.close()
    second.close()


Numbers = tuple[int, int, int, int, int, int]


def ends_of(*socks: socket.socket) -> set[tuple[int, int]]:
    """(lport, rport) of sockets, 0 for a listener's."""
    listens = [bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)) for sock in socks]
    return {(port(sock), 0 if at else sock.getpeername()[1]) for sock, at in zip(socks, listens, strict=True)}


def said_by_ss(wanted: set[tuple[int, int]]) -> dict[int, Numbers]:
    """(lport, rport, inode, bytes sent, bytes received, RTT in µs) by cookie."""
    told = subprocess.run(["ss", "-tanieHO"], capture_output=True, text=True, check=True).stdout
    said = {}
    for line in told.splitlines():
        local, remote = (int(end.rpartition(":")[2].replace("*", "0")) for end in line.split()[3:5])
        words = dict(re.findall(r"\b(\w+):(\S+)", line))
        sent, received = (int(words.get(name, 0)) for name in ("bytes_sent", "bytes_received"))
        rtt_us = round(float(words.get("rtt", "0").partition("/")[0]) * 1000) if remote else 0
        if (local, remote) in wanted:
            said[int(words["sk"], 16)] = (local, remote, int(words["ino"]), sent, received, rtt_us)
    return said


def test_every_number_is_the_one_that_ss_prints(diag: SockDiag) -> None:
    with listening() as server, listening(socket.AF_INET6) as server6:
        ends = [sock for at in [server, server6] for _ in range(20) for sock in pair(at)]
        for index, sock in enumerate(ends):
            sock.sendall(bytes(index))
        wanted = ends_of(server, server6, *ends)
        deadline_s = time.monotonic() + 10
        said, dump, after = said_by_ss(wanted), diag.dump(), said_by_ss(wanted)
        while said != after and time.monotonic() < deadline_s:  # acknowledgements that were delayed
            said, dump, after = after, diag.dump(), said_by_ss(wanted)
        for sock in ends:
            reset(sock)
    names = ["lport", "rport", "tx_bytes", "rx_bytes", "srtt_us"]
    ours = {}
    for row, inode in zip(dump.rows, dump.inode, strict=True):
        local, remote, *gauges = (int(row[name]) for name in names)
        if (local, remote) in wanted:
            ours[int(row["cookie"])] = (local, remote, int(inode), *gauges)
    assert len(ours) == len(ends) + 2
    assert ours == said


def test_the_same_sockets_as_in_proc_net(diag: SockDiag) -> None:
    with listening() as server, listening(socket.AF_INET6) as server6:
        ends = [sock for at in [server, server6] for _ in range(5) for sock in pair(at)]
        wanted = ends_of(server, server6, *ends)
        theirs = set()
        for name in ("tcp", "tcp6"):
            with open(f"/proc/net/{name}") as file:
                for line in file.read().splitlines()[1:]:
                    _, local, remote, state, _, _, _, uid, _, inode, *_ = line.split()
                    entry = int(local[-4:], 16), int(remote[-4:], 16), int(state, 16), int(uid), int(inode)
                    theirs |= {entry} if entry[:2] in wanted else set()
        dump = diag.dump()
        mine = [
            (int(row["lport"]), int(row["rport"]), int(row["state"]), int(row["uid"]), int(inode))
            for row, inode in zip(dump.rows, dump.inode, strict=True)
        ]
        assert sorted(entry for entry in mine if entry[:2] in wanted) == sorted(theirs)
        assert len(theirs) == len(ends) + 2
        for sock in ends:
            reset(sock)


def test_a_dump_larger_than_the_buffer_is_whole(diag: SockDiag) -> None:
    with listening() as server:
        ends = [sock for _ in range(150) for sock in pair(server)]
        diag._buffer = np.zeros(netlink._MOST_READ_BYTES, "u1")  # full after each read
        rows = diag.dump().rows
        pairs = {(int(row["lport"]), int(row["rport"])) for row in rows if row["state"] == State.ESTABLISHED}
        assert pairs >= {(port(sock), sock.getpeername()[1]) for sock in ends}
        for sock in ends:
            reset(sock)
