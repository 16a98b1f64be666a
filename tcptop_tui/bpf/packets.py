"""The probes that look at packets: ICMP echo requests, and DNS answers."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from tcptop_tui.bpf.load.compiler_client import CompileRequest, LoadedPrograms, join_sources
from tcptop_tui.bpf.maps import CounterArray, write_array
from tcptop_tui.bpf.ring import Ring
from tcptop_tui.records import PING
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Loss, Pings, Sink, Source, Status

_PARTS = ("packets.c", "pings.c", "answers.c")
_RING_BYTES = 1 << 20
_LOST_PINGS, _LOST_ANSWERS = range(2)  # entries of the map ring_full, c/packets.c

DNS_ANSWER = np.dtype([("ts_ns", "<u8"), ("netns", "<u4"), ("length", "<u4"), ("payload", "u1", (512,))])
"""``struct answer`` of c/packets.c."""


def _request_program(function: str) -> LoadedPrograms:
    pages = _RING_BYTES // os.sysconf("SC_PAGE_SIZE")
    return LoadedPrograms(
        CompileRequest(join_sources(_PARTS), [f"-DPING_PAGES={pages}", f"-DDNS_PAGES={pages}"], [function])
    )


class PingSource(Source):
    """Whom the softirq interrupted to answer an ICMP echo request; attached from ``open`` to ``close``.

    Args:
        settings: how often to look.
        pid: requests that interrupted this process only.
        cpu: requests that this CPU answered only.
    """

    backend = "bpf"

    def __init__(self, settings: Settings, pid: int | None = None, cpu: int | None = None) -> None:
        self._settings = settings
        self._pid, self._cpu = pid, cpu
        self._program: LoadedPrograms | None = None
        self._unsent: list[Pings] = []
        self._lost = 0

    def open(self) -> None:
        """Compile, load, attach.

        Raises:
            BackendUnavailable: this host cannot run the probe.
        """
        self._program = _request_program("echo_reply")
        try:
            wanted = [self._pid is not None, self._pid or 0, self._cpu is not None, self._cpu or 0]
            write_array(self._program.map_fd("ping_filter"), np.array([wanted], "<u4"))
            self._ring = Ring(self._program.map_fd("pings"), _RING_BYTES, PING)
            self._counters = CounterArray(self._program.map_fd("ring_full"), 2)
            self._program.attach("echo_reply", "net_dev_queue")
        except BaseException:
            self.close()
            raise

    def run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        """Feed ``sink`` until ``stopped``, and with what came until then."""
        sink.offer(Status(self.backend))
        while True:
            over = stopped(self._settings.poll_s)
            self._drain(sink)
            if over:
                return

    def _drain(self, sink: Sink) -> None:
        if not self._unsent:  # what the reader has no room for waits in the ring, where its loss is counted
            rows = self._ring.read()
            lost = int(self._counters.read()[_LOST_PINGS])
            if len(rows) or lost != self._lost:
                self._unsent = [Pings(rows[np.argsort(rows["ts_ns"], kind="stable")], lost)]
            if lost != self._lost and sink.offer(Loss(ring_full=lost)):
                self._lost = lost
        self._unsent = [batch for batch in self._unsent if not sink.offer(batch)]

    def close(self) -> None:
        """Detach; may be called twice, and without ``open``."""
        if self._program is not None:
            if hasattr(self, "_ring"):
                self._ring.close()
            self._program.close()
            self._program = None


class DnsProbe:
    """DNS answers as they come in over UDP; attached until ``close``.

    Raises:
        BackendUnavailable: this host cannot run the probe.
    """

    def __init__(self) -> None:
        self._program = _request_program("dns_answer")
        self._ring = Ring(self._program.map_fd("answers"), _RING_BYTES, DNS_ANSWER)
        self._counters = CounterArray(self._program.map_fd("ring_full"), 2)
        self._program.attach("dns_answer", "netif_receive_skb")

    @property
    def lost(self) -> int:
        """Answers that the ring had no room for."""
        return int(self._counters.read()[_LOST_ANSWERS])

    def drain(self) -> list[tuple[int, bytes]]:
        """CLOCK_MONOTONIC and payload of each answer since the last time."""
        rows = self._ring.read()
        return [(int(row["ts_ns"]), row["payload"][: int(row["length"])].tobytes()) for row in rows if row["length"]]

    def close(self) -> None:
        """Detach."""
        self._ring.close()
        self._program.close()
