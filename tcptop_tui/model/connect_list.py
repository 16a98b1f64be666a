"""View 2: what came of each connect(), as a filter chooses, and of how many to each destination."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.fields import BY_KEY, RowContext
from tcptop_tui.fields.connect_results import RESULT_WAITING, is_failure, result_codes
from tcptop_tui.model.connect_attempts import waiting_connects
from tcptop_tui.model.connect_outcomes import DESTINATION, by_destination, by_failures, sum_by_destination
from tcptop_tui.model.snapshot import Snapshot
from tcptop_tui.model.sorting import sort_by_values
from tcptop_tui.records import TRANSITION, Mask, Rows, State
from tcptop_tui.row_copy import concat, picked
from tcptop_tui.stream.identity import connection_key, socket_key

_WAITING_BIT, _FAILED_BIT = np.uint64(1 << 62), np.uint64(1 << 61)


@dataclass(frozen=True, slots=True, eq=False)
class Connects:
    """Outcomes that the filter wants."""

    rows: Rows = field(default_factory=lambda: np.zeros(0, TRANSITION))
    """Dtype TRANSITION: out of SYN_SENT; of those that wait into it, with the time so far."""
    ids: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    results: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    order: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    destinations: Rows = field(default_factory=lambda: np.zeros(0, DESTINATION))
    """Most failures first, then most connects. Counted as ``connects`` and ``failed`` are."""
    connects: int = 0
    """With a filter those of ``rows``; else all since ``since_ns``, whether they are kept or not."""
    failed: int = 0
    waiting: int = 0
    """Now."""
    beyond: int = 0
    """Of ``connects`` those to destinations that there was no room for."""
    since_ns: int = 0
    """CLOCK_MONOTONIC: from then on all that failed are counted ..."""
    succeeded_since_ns: int = 0
    """... and all that did not. Later than ``since_ns`` where a filter can only choose from what is kept."""
    listed_since_ns: int = 0
    """From then on ``rows`` has all that did not fail ..."""
    failed_since_ns: int = 0
    """... and all that did."""


def make_connects(
    facts: Snapshot, wants: Callable[[RowContext], Mask], sort: str, *, descending: bool, filtered: bool = True
) -> Connects:
    """Those that somebody wants of the outcomes that are kept, and of the connections that wait.

    Args:
        facts: where they come from.
        wants: which of them are wanted.
        sort: a column's key.
        descending: the largest first.
        filtered: ``wants`` may leave some out; else all are counted, not only those that are kept.
    """
    kept, waits = facts.outcomes, waiting_connects(facts.rows, facts.now_ns)
    rows = concat(TRANSITION, kept.succeeded_rows, kept.failed_rows, waits)
    ids = np.concatenate([
        _last_numbers(kept.connects - kept.failed, len(kept.succeeded_rows)),
        _last_numbers(kept.failed, len(kept.failed_rows)) | _FAILED_BIT,
        facts.rows["id"][facts.rows["state"] == State.SYN_SENT] | _WAITING_BIT,
    ])  # fmt: skip
    match = wants(facts.context_of(rows))
    rows, ids = picked(rows, match), ids[match]
    codes = result_codes(rows)
    order = sort_by_values(BY_KEY[sort].read(facts.context_of(rows)), np.arange(len(rows)), descending=descending)
    waiting = int(np.count_nonzero(codes == RESULT_WAITING))
    listed_since = (kept.succeeded_since_ns, kept.failed_since_ns)
    if filtered:
        return Connects(
            rows, ids, codes, order, by_failures(by_destination(rows, codes)), len(rows),
            int(is_failure(codes).sum()), waiting, 0, kept.failed_since_ns, kept.succeeded_since_ns, *listed_since,
        )  # fmt: skip
    destinations = sum_by_destination(
        concat(DESTINATION, kept.destinations, by_destination(waits, result_codes(waits)))
    )
    return Connects(
        rows, ids, codes, order, by_failures(destinations), kept.connects + len(waits), kept.failed, waiting,
        kept.beyond, kept.since_ns, kept.since_ns, *listed_since,
    )  # fmt: skip


def _last_numbers(total: int, count: int) -> NDArray[np.uint64]:
    """Of the last ``count`` of so many, from 1."""
    return np.arange(total - count + 1, total + 1, dtype=np.uint64)


def find_connection(rows: Rows, outcome: np.void) -> int | None:
    """Which of ``rows`` (dtype ROW or ENDED) is the connection that a connect() has made or wanted; None: none.

    The socket tells, or addresses and ports where nobody knows the socket; and the birth, since both are used again.
    """
    one = np.array([outcome])
    same = connection_key(rows) == connection_key(one)[0]
    if outcome["skaddr"]:
        same |= socket_key(rows) == socket_key(one)[0]
    found = np.flatnonzero(same)
    return int(found[-1]) if len(found) else None
