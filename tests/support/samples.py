"""Made-up rows with known content, and a feed that plays them: for what needs no kernel."""

from __future__ import annotations

import ipaddress
import threading
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tcptop_tui.bpf.program import Program
from tcptop_tui.dashboard.dashboard_feed import DashboardFeed, DashboardRequests
from tcptop_tui.errors import TcptopError
from tcptop_tui.host.processes import SocketAnswer
from tcptop_tui.reconcile.slot_reading import SlotReading
from tcptop_tui.records import (
    CONN,
    CONN_WITHOUT_HIST,
    ENDED,
    ROW,
    RTT_SLOTS,
    TRANSITION,
    UNKNOWN_NS,
    UNKNOWN_UID,
    Flag,
    Rows,
    State,
)
from tcptop_tui.row_copy import concat, leading_fields
from tcptop_tui.stream.batches import Batch, Capture, Sink
from tcptop_tui.stream.histograms import HistogramStore

SECOND = 10**9
NOW = 1_000 * SECOND
UTC = 1_795_000_000 * SECOND


def words(address: str) -> tuple[int, int]:
    """An address as records have it."""
    parsed = ipaddress.ip_address(address)
    number = int(parsed) if parsed.version == 6 else 0xFFFF << 32 | int(parsed)
    return number >> 64, number & (2**64 - 1)


def rows_of(dtype: np.dtype[Any], *given: dict[str, Any]) -> Rows:
    """Rows of ``dtype``; fields that are not given have a harmless known value."""
    made = np.zeros(len(given), dtype)
    for index, fields in enumerate(given):
        known = {
            "laddr": "10.0.0.1", "raddr": "10.0.0.2", "lport": 443, "rport": 50_000 + index, "netns": 1, "pid": 100,
            "uid": 0, "comm": b"nginx", "flags": Flag.GAUGES, "born_ns": NOW - 60 * SECOND, "id": index + 1,
            "skaddr": 0xFFFF_0000 + index, "state": State.ESTABLISHED, "state_ns": NOW - 5 * SECOND,
            "ts_ns": NOW - SECOND, "end_ns": NOW, "time_in_state_ns": 2 * SECOND,
            "oldstate": State.SYN_SENT, "newstate": State.ESTABLISHED,
        } | fields  # fmt: skip
        known.setdefault("start_ticks", zlib.crc32(known["comm"]))  # each name is a process's of its own
        for name, value in known.items():
            if name in (dtype.names or ()):
                made[name][index] = words(value) if name in {"laddr", "raddr"} else value
    return made


def connections(*given: dict[str, Any]) -> Rows:
    """Dtype ROW."""
    return rows_of(ROW, *given)


def transitions(*given: dict[str, Any]) -> Rows:
    """Dtype TRANSITION."""
    return rows_of(TRANSITION, *given)


def sessions(*given: dict[str, Any]) -> Rows:
    """Dtype ENDED."""
    return rows_of(ENDED, *given)


def sampled(rows: Rows, slots: Any, counts: Any) -> HistogramStore:
    """Give each of ``rows`` (dtype ROW) a histogram with so many samples in these slots, and only there."""
    made = np.zeros((len(rows), RTT_SLOTS), "<u4")
    made[:, slots] = counts
    rows["hist"] = np.arange(1, len(rows) + 1)
    return HistogramStore.from_array(made)


UNKNOWN = {
    "pid": 0, "uid": UNKNOWN_UID, "comm": b"", "flags": 0, "born_ns": 0, "state_ns": 0, "srtt_us": 0,
    "time_in_state_ns": UNKNOWN_NS, "lport": 0, "rport": 0,
}  # fmt: skip
"""Everything that can be unknown, unknown."""


class Script(DashboardFeed, DashboardRequests):
    """A feed that offers given batches at once, and others when ``deliver`` is called."""

    def __init__(self, *batches: Batch) -> None:
        self._batches = list(batches)
        self._sink: Sink | None = None
        self.captures: list[Capture] = []
        self.attached = 0
        self.detached = threading.Event()
        self.refusal = ""
        self.details = False

    @property
    def capture(self) -> Capture:
        """Nothing is filtered."""
        return Capture()

    @property
    def host_requests(self) -> Script:
        """The script answers for the host, too."""
        return self

    def want_details(self, *, wanted: bool) -> None:
        """Remember it."""
        self.details = wanted

    def read_details(self, row: Rows) -> SocketAnswer:
        """Nobody has these connections."""
        return SocketAnswer()

    def find_cookie(self, row: Rows) -> int:
        """Nobody has these connections."""
        raise TcptopError("a script is played: there is nothing to close")

    def destroy(self, row: Rows, cookie: int) -> None:
        """Nobody has these connections."""
        raise TcptopError("a script is played: there is nothing to close")

    def set_refresh(self, refresh_s: float) -> None:
        """A script has its own pace."""

    def run(self, sink: Sink, stopped: Callable[[float], bool]) -> None:
        """Play, then wait for the end."""
        self._sink = sink
        for batch in self._batches:
            sink.offer(batch)
        while not stopped(0.05):
            pass

    def set_capture(self, capture: Capture) -> None:
        """Remember it."""
        self.captures.append(capture)

    def run_ping_probe(self, sink: Sink, stopped: Callable[[float], bool]) -> str:
        """Be attached until told to stop."""
        if self.refusal:
            return self.refusal
        self.attached += 1
        self.detached.clear()
        while not stopped(0.01):
            pass
        self.attached -= 1
        self.detached.set()
        return ""

    def deliver(self, *batches: Batch) -> None:
        """From any thread: offer these batches."""
        assert self._sink is not None
        for batch in batches:
            assert self._sink.offer(batch)


def whole(keys: np.ndarray, conns: Rows, slots: int = 64) -> SlotReading:
    """A reading of all slots: these entries lie in the first ones."""
    skaddr, there = np.zeros(slots, "<u8"), np.zeros(slots, conns.dtype)
    skaddr[: len(keys)], there[: len(keys)] = keys, conns
    return SlotReading(
        slots,
        np.arange(slots),
        skaddr,
        leading_fields(there, CONN_WITHOUT_HIST),
        HistogramStore.from_array(there["rtt_hist"]),
    )


def entries(*given: dict[str, Any]) -> tuple[np.ndarray, Rows]:
    """Keys and values of the map, dtype CONN."""
    return connections(*given)["skaddr"].copy(), rows_of(CONN, *given)


def entries_of(tracer: Program, dtype: np.dtype[Any] = CONN) -> tuple[np.ndarray, Rows]:
    """All that lie in its slots: whose, and what."""
    parts = [(keys.copy(), conns.copy()) for keys, conns in tracer.slots.read_entries(dtype)]
    keys, conns = zip(*parts, strict=True) if parts else ((), ())
    return np.concatenate([np.zeros(0, "<u8"), *keys]), concat(dtype, *conns)
