"""The rows of view 2: what came of each connect() that the filter chooses, and counts by destination."""

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
from tcptop_tui.model.sorting import SortOrder, sort_by_values
from tcptop_tui.records import TRANSITION, Mask, Rows, State
from tcptop_tui.row_copy import concat, picked
from tcptop_tui.stream.identity import connection_key, socket_key

_WAITING_BIT, _FAILED_BIT = np.uint64(1 << 62), np.uint64(1 << 61)
"""Ids of waiting and of failed connects have these, so that no two rows of the list have the same id."""


@dataclass(frozen=True, slots=True, eq=False)
class Connects:
    """The connect() calls that the filter chooses."""

    rows: Rows = field(default_factory=lambda: np.zeros(0, TRANSITION))
    """Dtype TRANSITION: out of SYN_SENT, or of waiting connects into it, with the time that they have waited."""
    ids: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    """A number for each row that it keeps from frame to frame."""
    results: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    """What came of each, see ``fields.connect_results``."""
    order: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    """Row numbers in display order."""
    destinations: Rows = field(default_factory=lambda: np.zeros(0, DESTINATION))
    """Most failures first, then most connects. They count what ``connects`` and ``failed`` count."""
    connects: int = 0
    """With a filter the number of ``rows``, else all since ``since_ns``, whether they are stored or not."""
    failed: int = 0
    waiting: int = 0
    """Connects that wait at the time of the snapshot."""
    beyond: int = 0
    """Of ``connects`` those whose destination is not in ``destinations``, because there are too many."""
    since_ns: int = 0
    """From this time on (CLOCK_MONOTONIC) all failures are counted."""
    succeeded_since_ns: int = 0
    """From this time on all others are counted: later than ``since_ns`` where a filter chooses from stored rows."""
    listed_since_ns: int = 0
    """From this time on ``rows`` has all that did not fail."""
    failed_since_ns: int = 0
    """From this time on ``rows`` has all that failed."""


def make_connects(
    snapshot: Snapshot, match: Callable[[RowContext], Mask], order: SortOrder, *, filtered: bool = True
) -> Connects:
    """Choose from the stored outcomes and from the connects that wait.

    Args:
        snapshot: has both.
        match: gives a mask of the rows to list.
        order: the column and the direction.
        filtered: ``match`` may leave some out; otherwise all are counted, not only those that are stored.
    """
    outcomes, waiting_rows = snapshot.outcomes, waiting_connects(snapshot.rows, snapshot.now_ns)
    rows = concat(TRANSITION, outcomes.succeeded_rows, outcomes.failed_rows, waiting_rows)
    ids = np.concatenate([
        _last_numbers(outcomes.connects - outcomes.failed, len(outcomes.succeeded_rows)),
        _last_numbers(outcomes.failed, len(outcomes.failed_rows)) | _FAILED_BIT,
        snapshot.rows["id"][snapshot.rows["state"] == State.SYN_SENT] | _WAITING_BIT,
    ])  # fmt: skip
    matches = match(snapshot.context_of(rows))
    rows, ids = picked(rows, matches), ids[matches]
    codes = result_codes(rows)
    column = BY_KEY[order.key].read(snapshot.context_of(rows))
    row_order = sort_by_values(column, np.arange(len(rows)), descending=order.descending)
    waiting = int(np.count_nonzero(codes == RESULT_WAITING))
    listed_since = (outcomes.succeeded_since_ns, outcomes.failed_since_ns)
    if filtered:
        return Connects(
            rows, ids, codes, row_order, by_failures(by_destination(rows, codes)), len(rows),
            int(is_failure(codes).sum()), waiting, 0, outcomes.failed_since_ns, outcomes.succeeded_since_ns,
            *listed_since,
        )  # fmt: skip
    waiting_destinations = by_destination(waiting_rows, result_codes(waiting_rows))
    destinations = sum_by_destination(concat(DESTINATION, outcomes.destinations, waiting_destinations))
    return Connects(
        rows, ids, codes, row_order, by_failures(destinations), outcomes.connects + len(waiting_rows),
        outcomes.failed, waiting, outcomes.beyond, outcomes.since_ns, outcomes.since_ns, *listed_since,
    )  # fmt: skip


def _last_numbers(total: int, count: int) -> NDArray[np.uint64]:
    """The last ``count`` of the numbers from 1 to ``total``."""
    return np.arange(total - count + 1, total + 1, dtype=np.uint64)


def find_connection(rows: Rows, outcome: np.void) -> int | None:
    """The row (dtype ROW or ENDED) of the connection that a connect() opened or tried to; None: there is none.

    It is found by its socket, or by its endpoints where the socket is not known. Both are compared together with the
    birth, because the kernel uses them again.
    """
    transition = np.array([outcome])
    is_same = connection_key(rows) == connection_key(transition)[0]
    if outcome["skaddr"]:
        is_same |= socket_key(rows) == socket_key(transition)[0]
    row_numbers = np.flatnonzero(is_same)
    return int(row_numbers[-1]) if len(row_numbers) else None
