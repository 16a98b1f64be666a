"""What has come of connect() calls since the start: counted for good, and the latest of them kept.

Failures are kept apart from what connected: on a host that opens thousands of connections a second these fill any log
within a second, and the few that fail are what somebody looks for.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.fields.connect_results import RESULT_CONNECTED, RESULT_WAITING, is_failure, result_codes
from tcptop_tui.model.connect_attempts import connect_outcomes
from tcptop_tui.model.record_array import RecordArray
from tcptop_tui.records import TRANSITION, UNKNOWN_NS, Rows
from tcptop_tui.row_copy import concat, picked
from tcptop_tui.stream.identity import is_link_local, peer_hash

MAX_DESTINATIONS = 4_096

DESTINATION = np.dtype(
    [("key", "<u8"), ("raddr", ">u8", (2,)), ("netns", "<u4"), ("dev", "<u4"), ("rport", "<u2"), ("connects", "<u4"),
     ("failed", "<u4"), ("waiting", "<u4"), ("timed", "<u4"), ("total_ns", "<f8"), ("avg_ns", "<f8")]
)  # fmt: skip
"""``timed`` connects took ``total_ns`` together until they were connected, ``avg_ns`` each; NaN: none did."""

_SUMS = ("connects", "failed", "waiting", "timed", "total_ns")


def _no_rows() -> Rows:
    return np.zeros(0, TRANSITION)


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """Immutable: as of one moment."""

    since_ns: int = 0
    """CLOCK_MONOTONIC from which on all are counted."""
    connects: int = 0
    """All of them, those that failed among them."""
    failed: int = 0
    succeeded_rows: Rows = field(default_factory=_no_rows)
    """The latest that did not fail, oldest first, dtype TRANSITION."""
    failed_rows: Rows = field(default_factory=_no_rows)
    """The latest that failed."""
    succeeded_since_ns: int = 0
    """From here on ``succeeded_rows`` are all that there were; so for ``failed_rows``."""
    failed_since_ns: int = 0
    destinations: Rows = field(default_factory=lambda: np.zeros(0, DESTINATION))
    """Dtype DESTINATION, all of ``connects`` but those to ``beyond`` destinations; nobody waits in it."""
    beyond: int = 0
    """Connects to destinations that there was no room for."""


class OutcomeCounter:
    """Takes transitions and keeps ``Outcomes``.

    Args:
        limit: outcomes of each kind that are kept at most.
    """

    def __init__(self, limit: int) -> None:
        self._succeeded, self._failed = RecordArray(TRANSITION, limit), RecordArray(TRANSITION, limit)
        # totals of the histories when counting began
        self._seen_failures = (0, 0)
        self._since_ns = 0
        self._destinations = np.zeros(0, DESTINATION)
        self._beyond = 0

    def start(self, now_ns: int) -> None:
        """Count from here on, unless it is counted already."""
        self._since_ns = self._since_ns or now_ns

    def clear(self, now_ns: int) -> None:
        """Forget what was."""
        for history in (self._succeeded, self._failed):
            history.clear()
        self._seen_failures = (self._succeeded.total, self._failed.total)
        self._since_ns = now_ns
        self._destinations, self._beyond = np.zeros(0, DESTINATION), 0

    def add(self, rows: Rows) -> Rows:
        """Dtype TRANSITION; returns those that are a connect()'s failure."""
        ends = connect_outcomes(rows)
        if not len(ends):
            return ends
        codes = result_codes(ends)
        wrong = is_failure(codes)
        failures = picked(ends, wrong)
        self._failed.append(failures)
        self._succeeded.append(picked(ends, ~wrong))
        merged = by_failures(sum_by_destination(concat(DESTINATION, self._destinations, by_destination(ends, codes))))
        self._destinations = merged[:MAX_DESTINATIONS]
        self._beyond += int(merged["connects"][MAX_DESTINATIONS:].sum())
        return failures

    @property
    def failed_rows(self) -> Rows:
        """The latest that failed, oldest first, dtype TRANSITION."""
        return self._failed.rows

    @property
    def outcomes(self) -> Outcomes:
        """Of now; the arrays are never written to again."""
        (good, good_total), (bad, bad_total) = self._succeeded.rows_and_total, self._failed.rows_and_total
        good_total, bad_total = good_total - self._seen_failures[0], bad_total - self._seen_failures[1]
        return Outcomes(
            self._since_ns, good_total + bad_total, bad_total, good, bad,
            _complete_since(good, good_total, self._since_ns), _complete_since(bad, bad_total, self._since_ns),
            self._destinations, self._beyond,
        )  # fmt: skip


def _complete_since(rows: Rows, total: int, since_ns: int) -> int:
    return since_ns if len(rows) == total or not len(rows) else int(rows["ts_ns"][0])


def by_destination(rows: Rows, codes: NDArray[np.uint8]) -> Rows:
    """Counts of outcomes (dtype TRANSITION) with these results, dtype DESTINATION, a row for each remote end."""
    made = np.zeros(len(rows), DESTINATION)
    made["key"] = peer_hash(rows) ^ rows["rport"].astype(np.uint64)
    made["raddr"], made["rport"] = rows["raddr"], rows["rport"]
    near = np.flatnonzero(is_link_local(rows["raddr"]) & (rows["dev"] != 0))  # another host's on each link
    for name in ("netns", "dev"):
        made[name][near] = rows[name][near]
    made["connects"], made["failed"], made["waiting"] = 1, is_failure(codes), codes == RESULT_WAITING
    timed = (codes == RESULT_CONNECTED) & (rows["time_in_state_ns"] != UNKNOWN_NS)
    made["timed"] = timed
    made["total_ns"][timed] = rows["time_in_state_ns"][timed]
    return sum_by_destination(made)


def sum_by_destination(destinations: Rows) -> Rows:
    """Rows of the same destination as one, dtype DESTINATION."""
    _, first, inverse = np.unique(destinations["key"], return_index=True, return_inverse=True)
    made = picked(destinations, first)
    for name in _SUMS:
        made[name] = np.bincount(inverse.reshape(-1), destinations[name], len(made))
    made["avg_ns"] = np.where(made["timed"] > 0, made["total_ns"] / np.maximum(made["timed"], 1), np.nan)
    return made


def by_failures(destinations: Rows) -> Rows:
    """Most failures first, then most connects."""
    worst = [-destinations[name].astype(np.int64) for name in ("connects", "failed")]
    order = np.lexsort([destinations["rport"], *destinations["raddr"].T[::-1], *worst])
    return picked(destinations, order)
