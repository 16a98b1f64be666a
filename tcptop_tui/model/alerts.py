"""Looks for what is wrong on the host, once a second, in everything that is captured, whatever the filter shows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tcptop_tui import formats, safe_text
from tcptop_tui.fields.connect_results import result_codes
from tcptop_tui.filters.process_names import destination_filter, process_filter
from tcptop_tui.model.alert_kinds import (
    AcceptQueueAlert,
    Alert,
    CloseWaitAlert,
    FailedConnectsAlert,
    RetransmitAlert,
    SlowAddressAlert,
    UnansweredAlert,
)
from tcptop_tui.model.per_second import EventKind
from tcptop_tui.model.rtt_baseline import MIN_SECONDS, RttBaseline
from tcptop_tui.records import Rows, State, SynSent
from tcptop_tui.row_copy import picked
from tcptop_tui.stream.identity import peer_hash, process_key

CLOSE_WAIT_COUNT = 10
"""So many connections of one process in CLOSE_WAIT raise an alert ..."""
CLOSE_WAIT_S = 30
"""... once the oldest has been in that state for so long."""
UNANSWERED_S = 1.5
"""A SYN that has no answer for so long is not just late: it has been sent again after 1 s (RFC 6298, 2.1)."""
FULL_QUEUE_SHARE = 0.8
"""An accept queue that uses so much of its backlog raises an alert."""
FAILED_COUNT, FAILED_PERIOD_S = 10, 10
"""So many connect() calls to one destination that fail within so many seconds raise an alert."""
RETRANSMITS_PER_S = 50
"""So many segments sent again in a second raise an alert ..."""
RETRANSMIT_FACTOR = 5
"""... if they are so many times what was usual in the last minute."""
HOLD_S = 5
"""An alert stays for so long after its reason was last seen."""


class AlertRules:
    """Applies the rules of this module; keeps what they need to know of the past."""

    def __init__(self) -> None:
        self._checked_s = 0.0
        self._active: dict[str, tuple[Alert, float]] = {}
        self._rtt_baseline = RttBaseline()
        self.alerts: tuple[Alert, ...] = ()
        """The present alerts, severe ones first."""

    def update(self, rows: Rows, failures: Rows, per_second: NDArray[np.float64], now_ns: int) -> None:
        """Apply the rules, unless that was done less than a second ago.

        Args:
            rows: the table, dtype ROW.
            failures: connect() calls that failed lately, dtype TRANSITION, oldest first.
            per_second: see ``PerSecondCounter.last_seconds``.
            now_ns: CLOCK_MONOTONIC.
        """
        now_s = now_ns / 1e9
        if now_s - self._checked_s < 1:
            return
        self._checked_s = now_s
        new_alerts = [
            *_close_wait_alerts(rows, now_ns), *_accept_queue_alerts(rows), *_unanswered_alerts(rows, now_ns),
            *_failed_connect_alerts(failures, now_ns), *_retransmit_alerts(per_second), *self._slow_addresses(rows),
        ]  # fmt: skip
        self._active.update((alert.key, (alert, now_s)) for alert in new_alerts)
        self._active = {key: entry for key, entry in self._active.items() if now_s - entry[1] <= HOLD_S}
        alerts = [alert for alert, _ in self._active.values()]
        self.alerts = tuple(sorted(alerts, key=lambda alert: (not alert.severe, alert.key)))

    def _slow_addresses(self, rows: Rows) -> Iterator[Alert]:
        """Remote addresses whose average RTT is far above what it used to be."""
        for row_number, average_us, usual_us in self._rtt_baseline.slow_addresses(rows):
            raddr, dev = _peer(rows[row_number])
            address = formats.peer_address(raddr, dev)
            yield SlowAddressAlert(
                key=f"slow {address}", filter=f"raddr:{address}", severe=False,
                raddr=raddr, dev=dev, average_us=average_us, usual_us=usual_us,
            )  # fmt: skip


def _peer(row: np.void) -> tuple[tuple[int, int], int]:
    """Words of the remote address, and the device's number."""
    return (int(row["raddr"][0]), int(row["raddr"][1])), int(row["dev"])


def _groups(keys: NDArray[np.uint64]) -> Iterator[NDArray[np.intp]]:
    """Indices of equal keys, one array for each different key."""
    order = np.argsort(keys, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(keys[order])) + 1) if len(keys) else ()


def _oldest_age_ns(since_ns: NDArray[np.uint64], now_ns: int) -> int | None:
    """The longest time since one of these; None where all are 0, unknown."""
    known_ns = since_ns[since_ns != 0]
    return max(0, now_ns - int(known_ns.min())) if len(known_ns) else None


def _close_wait_alerts(rows: Rows, now_ns: int) -> Iterator[Alert]:
    """The peer has closed, the process has not: it leaks descriptors, or it hangs."""
    close_wait_rows = picked(rows, rows["state"] == State.CLOSE_WAIT)
    for indices in _groups(process_key(close_wait_rows)):
        oldest_age_ns = _oldest_age_ns(close_wait_rows["state_ns"][indices], now_ns)
        is_recent = oldest_age_ns is not None and oldest_age_ns < CLOSE_WAIT_S * 1e9
        if len(indices) < CLOSE_WAIT_COUNT or is_recent:
            continue
        row = close_wait_rows[indices[0]]
        comm, pid = bytes(row["comm"]), int(row["pid"])
        yield CloseWaitAlert(
            key=f"piled {formats.process(safe_text.clean(comm), pid)}",
            filter=f"{process_filter(pid, comm)} state:close_wait".lstrip(),
            comm=comm, pid=pid, count=len(indices), oldest_age_ns=oldest_age_ns,
        )  # fmt: skip


def _accept_queue_alerts(rows: Rows) -> Iterator[Alert]:
    """The process does not accept: the kernel drops what comes next (``sk_acceptq_is_full``, include/net/sock.h)."""
    listeners = picked(rows, rows["backlog"] != 0)
    limits = np.maximum(1, listeners["backlog"] * FULL_QUEUE_SHARE)
    for row in listeners[listeners["accept_queue"] >= limits]:
        port, waiting, backlog = int(row["lport"]), int(row["accept_queue"]), int(row["backlog"])
        yield AcceptQueueAlert(
            key=f"full {row['netns']} {port}", filter=f"lport:{port}", severe=waiting > backlog,
            comm=bytes(row["comm"]), port=port, waiting=waiting, backlog=backlog,
        )  # fmt: skip


def _unanswered_alerts(rows: Rows, now_ns: int) -> Iterator[Alert]:
    """SYNs without an answer: a firewall drops them, or there is no such host. A SYN that was not sent yet is none."""
    waiting_rows = picked(rows, (rows["state"] == State.SYN_SENT) & (rows["syn_sent"] == SynSent.OUT))
    waiting_rows = picked(waiting_rows, waiting_rows["state_ns"] != 0)
    waited_ns = now_ns - waiting_rows["state_ns"].astype(np.int64)
    waiting_rows = picked(waiting_rows, waited_ns > UNANSWERED_S * 1e9)
    for indices in _groups(peer_hash(waiting_rows)):
        raddr, dev = _peer(waiting_rows[indices[0]])
        address = formats.peer_address(raddr, dev)
        yield UnansweredAlert(
            key=f"unanswered {address}", filter=f"raddr:{address} state:syn_sent", raddr=raddr, dev=dev,
            count=len(indices), oldest_age_ns=_oldest_age_ns(waiting_rows["state_ns"][indices], now_ns) or 0,
        )  # fmt: skip


def _failed_connect_alerts(failures: Rows, now_ns: int) -> Iterator[Alert]:
    """Many connect() calls to one destination that fail."""
    start = int(np.searchsorted(failures["ts_ns"], max(0, now_ns - FAILED_PERIOD_S * 10**9)))
    recent = failures[start:]
    if len(recent) < FAILED_COUNT:  # so it is on most hosts most of the time
        return
    codes = result_codes(recent)
    for indices in _groups(peer_hash(recent) ^ recent["rport"].astype(np.uint64)):
        if len(indices) < FAILED_COUNT:
            continue
        latest = indices[-1]
        (raddr, dev), port = _peer(recent[latest]), int(recent["rport"][latest])
        address = formats.peer_address(raddr, dev)
        yield FailedConnectsAlert(
            key=f"failing {address} {port}", filter=destination_filter(address, port), view="connects",
            raddr=raddr, dev=dev, port=port, count=len(indices), period_s=FAILED_PERIOD_S,
            result=int(codes[latest]), err=int(recent["err"][latest]),
        )  # fmt: skip


def _retransmit_alerts(per_second: NDArray[np.float64]) -> Iterator[Alert]:
    """Far more segments sent again than usual."""
    retransmits = per_second[EventKind.RETRANS] if per_second.shape[1] else np.zeros(0)
    counts = retransmits[~np.isnan(retransmits)]
    if len(counts) < MIN_SECONDS:
        return
    latest, usual = float(counts[-3:].mean()), float(np.median(counts[:-3]))
    if latest >= RETRANSMITS_PER_S and latest >= RETRANSMIT_FACTOR * usual:
        yield RetransmitAlert(key="burst", filter="retrans>0", severe=False, per_second=latest, usual_per_second=usual)
