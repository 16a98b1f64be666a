"""What the kernel side cannot deliver is counted, to the unit."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import socket
from contextlib import ExitStack

import numpy as np
import pytest

from tcptop_tui.bpf import program as counters
from tcptop_tui.bpf.load.bcc_library import load_bcc
from tcptop_tui.bpf.load.compiler import _compile
from tcptop_tui.bpf.program import Program, source_text
from tcptop_tui.bpf.ring import with_header
from tcptop_tui.bpf.slots import SLOT
from tcptop_tui.records import CONN, ENDED, TRANSITION
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Capture
from tests.support.samples import entries_of
from tests.support.sockets import pair, port
from tests.support.tracer import SMALL, require_bpf

pytestmark = pytest.mark.host


def attached(settings: Settings, capture: Capture) -> Program:
    program = require_bpf(settings)
    program.attach(capture)
    return program


def test_ring_overflow_is_counted_to_the_unit(server: socket.socket) -> None:
    page = 4096
    settings = dataclasses.replace(SMALL, ring_bytes=2 * page, session_ring_bytes=page)
    tracer = attached(settings, Capture(lports=frozenset({port(server)})))
    try:
        per_connection = 5  # LISTEN to SYN_RECV, ESTABLISHED, CLOSE_WAIT, LAST_ACK, CLOSE
        for _ in range(40):
            client, accepted = pair(server)
            client.close()
            accepted.recv(1)
            accepted.close()
        delivered = len(tracer.transitions.read())
        counts = tracer.counters.read()
        assert delivered == 2 * page // with_header(TRANSITION).itemsize
        assert counts[counters.RING_FULL] == 40 * per_connection - delivered
        ended = len(tracer.ended.read())
        assert ended == page // with_header(ENDED).itemsize
        assert tracer.counters.read()[counters.ENDED_RING_FULL] == 40 - ended
        # and after the overflow it goes on
        client, accepted = pair(server)
        assert len(tracer.transitions.read()) == 2
        client.close()
        accepted.close()
    finally:
        tracer.close()


@pytest.mark.parametrize("most_bytes", [None, 1000])
def test_records_on_both_sides_of_the_rings_end(server: socket.socket, most_bytes: int | None) -> None:
    """The ring is gone round three times; no record's size divides it."""
    tracer = attached(dataclasses.replace(SMALL, ring_bytes=4096), Capture(lports=frozenset({port(server)})))
    try:
        asked, told = [], []
        for _ in range(15):
            client, accepted = pair(server)
            asked.append(port(client))
            client.close()
            accepted.recv(1)
            accepted.close()
            while len(rows := tracer.transitions.read(most_bytes=most_bytes)):
                assert most_bytes is None or len(rows) <= most_bytes // with_header(TRANSITION).itemsize
                told += rows["rport"].tolist()
        assert told == [number for number in asked for _ in range(5)]
        assert tracer.counters.read()[counters.RING_FULL] == 0
    finally:
        tracer.close()


def test_map_overflow_is_counted_to_the_unit(server: socket.socket) -> None:
    settings = dataclasses.replace(SMALL, max_connections=16)
    tracer = attached(settings, Capture(rports=frozenset({port(server)})))
    try:
        with ExitStack() as stack:
            for _ in range(50):
                for sock in pair(server):
                    stack.enter_context(sock)
            keys, conns = entries_of(tracer)
            assert len(keys) == 16
            assert (conns["rport"] == port(server)).all()
            assert tracer.counters.read()[counters.MAP_FULL] == 50 - 16
            # no entry, but no transition is lost
            assert len(tracer.transitions.read()) == 2 * 50
        tracer.transitions.read()
    finally:
        tracer.close()


def test_reading_a_map_of_any_size(server: socket.socket) -> None:
    """More entries than the buffers hold at first: they grow, and each entry comes once."""
    tracer = attached(SMALL, Capture(lports=frozenset({port(server)})))
    try:
        with ExitStack() as stack:
            ports = set()
            for _ in range(1500):
                client, accepted = pair(server)
                stack.enter_context(client)
                stack.enter_context(accepted)
                ports.add(port(client))
            keys, conns = entries_of(tracer)
            assert len(np.unique(keys)) == len(keys) == 1500
            assert set(conns["rport"].tolist()) == ports
            assert tracer.slots.delete(keys[:10].copy()) == 10
            assert len(entries_of(tracer)[0]) == 1490
    finally:
        tracer.close()


def test_layouts_are_those_of_the_c_source(bpf_possible: None) -> None:
    """Bcc describes the map's value from the C source itself."""
    flags = ["-DBLOCK=16", "-DRING_PAGES=1", "-DENDED_RING_PAGES=1", "-DRTT_UNIT_US=1"]
    slot = _compile(load_bcc(), source_text(), flags)["first_block"].Leaf
    assert SLOT.itemsize == ctypes.sizeof(slot)
    assert SLOT.fields is not None
    for name in SLOT.names or ():
        assert SLOT.fields[name][1] == getattr(slot, name).offset, name
    leaf = dict(slot._fields_)["conn"]
    assert CONN.itemsize == ctypes.sizeof(leaf)
    names = [name for name, *_ in leaf._fields_ if not name.startswith("__pad")]
    assert list(CONN.names or ()) == names
    for name in names:
        assert CONN.fields is not None
        assert CONN.fields[name][1] == getattr(leaf, name).offset, name


def test_nothing_remains_after_close(bpf_possible: None) -> None:
    """Ten starts and stops, and the kernel has no more programs of ours than before."""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        attached(SMALL, Capture()).close()
    assert len(os.listdir("/proc/self/fd")) <= before + 1
