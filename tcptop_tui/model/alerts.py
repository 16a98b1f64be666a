"""What is wrong on this host, found without being asked; once a second, over everything there is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tcptop_tui import formats, safe_text
from tcptop_tui.close_reasons import close_reason_text
from tcptop_tui.fields.connect_results import result_codes
from tcptop_tui.filters.process_names import destination_filter, process_filter
from tcptop_tui.model.per_second import EventKind
from tcptop_tui.model.rtt_baseline import MIN_SECONDS, RttBaseline
from tcptop_tui.model.snapshot import Alert
from tcptop_tui.records import Rows, State, SynSent
from tcptop_tui.row_copy import picked
from tcptop_tui.stream.identity import peer_hash, process_key

PILE_UP_COUNT = 10
"""Connections of one process in CLOSE_WAIT that are too many ..."""
PILE_UP_S = 30
"""... once the oldest of them is that old."""
UNANSWERED_S = 1.5
"""A SYN is sent again after 1 s (RFC 6298, 2.1): then it is no bad luck any more."""
FULL_QUEUE_SHARE = 0.8
"""Of a listener's backlog that is in use."""
FAILED, FAILED_S = 10, 10
"""connect() calls to one destination that failed within so many seconds."""
BURST = 50
"""Segments sent again in a second, at least, ..."""
BURST_TIMES = 5
"""... and so many times what was usual in the last minute."""
QUIET_S = 5
"""An alert goes when it has not held for so long."""


class AlertRules:
    """Knows what is usual, and which alerts stand."""

    def __init__(self) -> None:
        self._checked_s = 0.0
        self._active: dict[str, tuple[Alert, float]] = {}
        self._rtt_baseline = RttBaseline()
        self.alerts: tuple[Alert, ...] = ()

    def update(self, rows: Rows, failures: Rows, pulse: NDArray[np.float64], now_ns: int) -> None:
        """Look at the table (dtype ROW), at connects that failed (dtype TRANSITION) and the pace; once a second."""
        now_s = now_ns / 1e9
        if now_s - self._checked_s < 1:
            return
        self._checked_s = now_s
        found = [
            *_close_wait_alerts(rows, now_ns), *_accept_queue_alerts(rows), *_unanswered_alerts(rows, now_ns),
            *_failing_alerts(failures, now_ns), *_retransmit_alerts(pulse), *self._slow(rows),
        ]  # fmt: skip
        for alert in found:
            self._active[alert.key] = (alert, now_s)
        self._active = {key: kept for key, kept in self._active.items() if now_s - kept[1] <= QUIET_S}
        self.alerts = tuple(
            sorted((kept[0] for kept in self._active.values()), key=lambda one: (not one.severe, one.key))
        )

    def _slow(self, rows: Rows) -> Iterator[Alert]:
        """Remote addresses whose connections' average is far above what it used to be."""
        for place, latest_us, usual_us in self._rtt_baseline.slow_addresses(rows):
            where = _peer(rows[place])
            told = f"{where}: round-trip time {formats.rtt_us(latest_us)}, usually {formats.rtt_us(usual_us)}"
            yield Alert(f"slow {where}", told, f"raddr:{where}", severe=False)


def _peer(row: np.void) -> str:
    return formats.peer_address((int(row["raddr"][0]), int(row["raddr"][1])), int(row["dev"]))


def _rounded_age(began_ns: int, now_ns: int) -> str:
    """An age that does not change each second."""
    age_s = max(0, now_ns - began_ns) // 10**9
    if age_s < 10:
        return "under 10 s"
    return f"{age_s // 10 * 10} s" if age_s < 60 else formats.age_ns(age_s // 60 * 60 * 10**9).removesuffix("00s")


def _rounded_count(count: int) -> str:
    """A number that does not change with each connection."""
    step = 1 if count < 20 else 10 if count < 200 else 100
    return f"{count // step * step:,}{'+' if count % step else ''}"


def _groups(keys: NDArray[np.uint64]) -> Iterator[NDArray[np.intp]]:
    """Places of equal keys, shape (n,) each."""
    order = np.argsort(keys, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(keys[order])) + 1) if len(keys) else ()


def _oldest(began_ns: NDArray[np.uint64]) -> int:
    known = began_ns[began_ns != 0]
    return int(known.min()) if len(known) else 0


def _close_wait_alerts(rows: Rows, now_ns: int) -> Iterator[Alert]:
    """The peer has closed, the process has not: a leak of descriptors, or a process that hangs."""
    left = picked(rows, rows["state"] == State.CLOSE_WAIT)
    for places in _groups(process_key(left)):
        began_ns = _oldest(left["state_ns"][places])
        if len(places) < PILE_UP_COUNT or (began_ns and now_ns - began_ns < PILE_UP_S * 1e9):
            continue
        row = left[places[0]]
        name = formats.process(safe_text.clean(bytes(row["comm"])), int(row["pid"]))
        oldest = f", oldest {_rounded_age(began_ns, now_ns)}" if began_ns else ""
        told = f"{name}: {_rounded_count(len(places))} in CLOSE_WAIT{oldest}"
        shown = process_filter(int(row["pid"]), bytes(row["comm"]))
        yield Alert(f"piled {name}", told, f"{shown} state:close_wait".lstrip())


def _accept_queue_alerts(rows: Rows) -> Iterator[Alert]:
    """Nobody accepts: what comes next is dropped (``sk_acceptq_is_full``, include/net/sock.h)."""
    listeners = picked(rows, rows["backlog"] != 0)
    listeners = listeners[listeners["accept_queue"] >= np.maximum(1, listeners["backlog"] * FULL_QUEUE_SHARE)]
    for row in listeners:
        name, port = safe_text.clean(bytes(row["comm"])) or formats.UNKNOWN, int(row["lport"])
        waiting, room = int(row["accept_queue"]), int(row["backlog"])
        verb = "is full" if waiting > room else "fills up"
        told = f"{name}: accept queue of port {port} {verb}, {waiting} of {room}"
        yield Alert(f"full {row['netns']} {port}", told, f"lport:{port}", severe=waiting > room)


def _unanswered_alerts(rows: Rows, now_ns: int) -> Iterator[Alert]:
    """SYNs that nobody answers: a firewall, or a host that is not there. One that has not left is no question."""
    waits = picked(rows, (rows["state"] == State.SYN_SENT) & (rows["syn_sent"] == SynSent.OUT))
    waits = picked(waits, waits["state_ns"] != 0)
    waits = picked(waits, now_ns - waits["state_ns"].astype(np.int64) > UNANSWERED_S * 1e9)
    for places in _groups(peer_hash(waits)):
        where = _peer(waits[places[0]])
        oldest = _rounded_age(_oldest(waits["state_ns"][places]), now_ns)
        told = f"{where} does not answer: {_rounded_count(len(places))} in SYN_SENT, oldest {oldest}"
        yield Alert(f"unanswered {where}", told, f"raddr:{where} state:syn_sent")


def _failing_alerts(failures: Rows, now_ns: int) -> Iterator[Alert]:
    """Connects that come to nothing, many to one destination."""
    start = int(np.searchsorted(failures["ts_ns"], max(0, now_ns - FAILED_S * 10**9)))
    ends = failures[start:]
    if len(ends) < FAILED:  # as on most hosts, most of the time
        return
    codes = result_codes(ends)
    keys = peer_hash(ends) ^ ends["rport"].astype(np.uint64)
    for places in _groups(keys):
        if len(places) < FAILED:
            continue
        row, port = ends[places[-1]], int(ends["rport"][places[-1]])
        where = _peer(row)
        why = close_reason_text(int(codes[places[-1]]), int(row["err"]))
        told = f"{where} port {port}: {_rounded_count(len(places))} connects failed in {FAILED_S} s, {why}"
        yield Alert(f"failing {where} {port}", told, destination_filter(where, port), view="connects")


def _retransmit_alerts(pulse: NDArray[np.float64]) -> Iterator[Alert]:
    """Segments sent again, far more than usual."""
    known = pulse[EventKind.RETRANS][~np.isnan(pulse[EventKind.RETRANS])] if pulse.shape[1] else np.zeros(0)
    if len(known) < MIN_SECONDS:
        return
    latest, usual = float(known[-3:].mean()), float(np.median(known[:-3]))
    if latest >= BURST and latest >= BURST_TIMES * usual:
        told = f"{_rounded_count(round(latest))} segments a second are sent again, usually {usual:.0f}"
        yield Alert("burst", told, "retrans>0", severe=False)
