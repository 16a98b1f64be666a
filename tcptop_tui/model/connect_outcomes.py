"""Counts what came of connect() calls since the start, and stores the latest of them.

Failed ones are stored apart from the others. A host that opens thousands of connections a second fills any log with
those that connected within a second, and the few that fail are what the user looks for.
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
"""Counts of the connect() calls to one destination.

``timed`` of them took ``total_ns`` together until they were connected, ``avg_ns`` each. ``avg_ns`` is NaN where
``timed`` is 0.
"""

_SUMMED_FIELDS = ("connects", "failed", "waiting", "timed", "total_ns")


def _no_transitions() -> Rows:
    return np.zeros(0, TRANSITION)


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """The counts and the stored outcomes at one moment. Immutable."""

    since_ns: int = 0
    """From this time on (CLOCK_MONOTONIC) everything is counted."""
    connects: int = 0
    """Number of connect() calls with an outcome, the failed ones among them."""
    failed: int = 0
    succeeded_rows: Rows = field(default_factory=_no_transitions)
    """The latest that did not fail, oldest first, dtype TRANSITION."""
    failed_rows: Rows = field(default_factory=_no_transitions)
    """The latest that failed, oldest first, dtype TRANSITION."""
    succeeded_since_ns: int = 0
    """From this time on ``succeeded_rows`` has every one that did not fail."""
    failed_since_ns: int = 0
    """From this time on ``failed_rows`` has every one that failed."""
    destinations: Rows = field(default_factory=lambda: np.zeros(0, DESTINATION))
    """Dtype DESTINATION. It counts all of ``connects`` but those in ``beyond``; ``waiting`` is 0."""
    beyond: int = 0
    """Of ``connects`` those to destinations beyond the first MAX_DESTINATIONS, which are not in ``destinations``."""


class OutcomeCounter:
    """Takes transitions and gives ``Outcomes``.

    Args:
        limit: outcomes that are stored at most, of the failed ones and of the others.
    """

    def __init__(self, limit: int) -> None:
        self._succeeded, self._failed = RecordArray(TRANSITION, limit), RecordArray(TRANSITION, limit)
        # totals of the two arrays at the time from which on the outcomes count
        self._uncounted_succeeded = self._uncounted_failed = 0
        self._since_ns = 0
        self._destinations = np.zeros(0, DESTINATION)
        self._beyond = 0

    def start(self, now_ns: int) -> None:
        """Note that counting has begun at ``now_ns``; only the first call has an effect."""
        self._since_ns = self._since_ns or now_ns

    def clear(self, now_ns: int) -> None:
        """Forget all outcomes, and count from ``now_ns`` on."""
        self._succeeded.clear()
        self._failed.clear()
        self._uncounted_succeeded, self._uncounted_failed = self._succeeded.total, self._failed.total
        self._since_ns = now_ns
        self._destinations, self._beyond = np.zeros(0, DESTINATION), 0

    def add(self, transitions: Rows) -> Rows:
        """Count the outcomes among ``transitions`` (dtype TRANSITION); returns the failed ones."""
        outcomes = connect_outcomes(transitions)
        if not len(outcomes):
            return outcomes
        codes = result_codes(outcomes)
        has_failed = is_failure(codes)
        failures = picked(outcomes, has_failed)
        self._failed.append(failures)
        self._succeeded.append(picked(outcomes, ~has_failed))
        all_destinations = concat(DESTINATION, self._destinations, by_destination(outcomes, codes))
        destinations = by_failures(sum_by_destination(all_destinations))
        self._destinations = destinations[:MAX_DESTINATIONS]
        self._beyond += int(destinations["connects"][MAX_DESTINATIONS:].sum())
        return failures

    @property
    def failed_rows(self) -> Rows:
        """The latest that failed, oldest first, dtype TRANSITION."""
        return self._failed.rows

    @property
    def outcomes(self) -> Outcomes:
        """The present state. Its arrays are never written to again."""
        succeeded_rows, succeeded_total = self._succeeded.rows_and_total
        failed_rows, failed_total = self._failed.rows_and_total
        succeeded, failed = succeeded_total - self._uncounted_succeeded, failed_total - self._uncounted_failed
        return Outcomes(
            self._since_ns, succeeded + failed, failed, succeeded_rows, failed_rows,
            _complete_since_ns(succeeded_rows, succeeded, self._since_ns),
            _complete_since_ns(failed_rows, failed, self._since_ns),
            self._destinations, self._beyond,
        )  # fmt: skip


def _complete_since_ns(transitions: Rows, count: int, since_ns: int) -> int:
    """From when on ``transitions`` has all of ``count`` that happened since ``since_ns``."""
    return since_ns if len(transitions) == count or not len(transitions) else int(transitions["ts_ns"][0])


def by_destination(transitions: Rows, codes: NDArray[np.uint8]) -> Rows:
    """Count connect() calls by destination.

    Args:
        transitions: what came of each connect(), dtype TRANSITION.
        codes: the results of these, shape (n,).

    Returns:
        Dtype DESTINATION. Netns and device are set only for link-local addresses, which are another host's on each
        link.
    """
    destinations = np.zeros(len(transitions), DESTINATION)
    destinations["key"] = peer_hash(transitions) ^ transitions["rport"].astype(np.uint64)
    destinations["raddr"], destinations["rport"] = transitions["raddr"], transitions["rport"]
    link_local = np.flatnonzero(is_link_local(transitions["raddr"]) & (transitions["dev"] != 0))
    for name in ("netns", "dev"):
        destinations[name][link_local] = transitions[name][link_local]
    destinations["connects"] = 1
    destinations["failed"], destinations["waiting"] = is_failure(codes), codes == RESULT_WAITING
    is_timed = (codes == RESULT_CONNECTED) & (transitions["time_in_state_ns"] != UNKNOWN_NS)
    destinations["timed"] = is_timed
    destinations["total_ns"][is_timed] = transitions["time_in_state_ns"][is_timed]
    return sum_by_destination(destinations)


def sum_by_destination(destinations: Rows) -> Rows:
    """Add up the rows (dtype DESTINATION) that have the same ``key``."""
    _, first, inverse = np.unique(destinations["key"], return_index=True, return_inverse=True)
    sums = picked(destinations, first)
    for name in _SUMMED_FIELDS:
        sums[name] = np.bincount(inverse.reshape(-1), destinations[name], len(sums))
    sums["avg_ns"] = np.where(sums["timed"] > 0, sums["total_ns"] / np.maximum(sums["timed"], 1), np.nan)
    return sums


def by_failures(destinations: Rows) -> Rows:
    """Sort destinations: most failures first, then most connects, then by address and port."""
    descending = [-destinations[name].astype(np.int64) for name in ("connects", "failed")]
    order = np.lexsort([destinations["rport"], *destinations["raddr"].T[::-1], *descending])
    return picked(destinations, order)
