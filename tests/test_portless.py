"""A connect that waits stands in the table once, with the port that only sock_diag knows."""

from __future__ import annotations

import os
import socket

import numpy as np
from made import connections
from sockets import listening, port

from tcptop_tui.bpf.portless import adopt_ports
from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.records import ROW, Rows, State
from tcptop_tui.settings import Settings
from tcptop_tui.source.batches import Batch, Capture, Table

SYN = State.SYN_SENT


def test_pairs_by_process_and_remote_end() -> None:
    mapped = connections(
        {"state": SYN, "lport": 0, "rport": 80, "pid": 1, "state_ns": 5},
        {"state": SYN, "lport": 0, "rport": 80, "pid": 2},
        {"state": SYN, "lport": 0, "rport": 80, "pid": 1, "state_ns": 4},
        {"state": SYN, "lport": 777, "rport": 80, "pid": 1},
        {"state": State.ESTABLISHED, "lport": 0, "rport": 80, "pid": 1},
    )
    dump = connections(
        {"state": SYN, "lport": 777, "rport": 80, "pid": 1},
        {"state": SYN, "lport": 1001, "rport": 80, "pid": 1},
        {"state": SYN, "lport": 2001, "rport": 80, "pid": 2},
        {"state": SYN, "lport": 3001, "rport": 81, "pid": 1},
    )
    assert adopt_ports(mapped, dump, np.zeros(0, "u8"))
    assert mapped["lport"].tolist() == [0, 2001, 1001, 777, 0]  # of two with one port known, the older


class LastTable:
    def __init__(self) -> None:
        self.rows: Rows = np.zeros(0, ROW)

    def offer(self, batch: Batch) -> bool:
        if isinstance(batch, Table):
            self.rows = batch.rows
        return True


def test_waiting_connect_has_one_row(bpf_possible: None) -> None:
    source, sink = BpfSource(Settings(refresh_s=0.1, reconcile_s=0.1), Capture()), LastTable()
    source.open()
    with listening(backlog=0) as server:
        filler = socket.create_connection(server.getsockname())
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(server.getsockname())

        def seen(_wait_s: float) -> bool:
            mine = sink.rows[(sink.rows["rport"] == port(server)) & (sink.rows["state"] == SYN)]
            return len(mine) > 0 and mine["lport"][0] == port(client)

        source.run(sink, seen)
        mine = sink.rows[(sink.rows["rport"] == port(server)) & (sink.rows["state"] == SYN)]
        assert (mine["lport"].tolist(), mine["pid"].tolist()) == ([port(client)], [os.getpid()])
        client.close()
        filler.close()
    source.close()
