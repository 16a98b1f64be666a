"""Sorts rows by a field: unknown values last, equal rows in an order that does not change from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.fields import BY_KEY, FieldValues
from tcptop_tui.model.snapshot import Snapshot
from tcptop_tui.records import State

_STATES = (
    State.ESTABLISHED, State.SYN_SENT, State.SYN_RECV, State.NEW_SYN_RECV, State.CLOSE_WAIT, State.FIN_WAIT1,
    State.FIN_WAIT2, State.CLOSING, State.LAST_ACK, State.LISTEN, State.BOUND_INACTIVE, State.CLOSE, State.TIME_WAIT,
)  # fmt: skip
"""Rows with equal values are listed in this order of their states: most rows of a busy host are in TIME_WAIT."""
_STATE_RANK = np.full(256, len(_STATES) - 1, np.uint8)
_STATE_RANK[list(_STATES)] = np.arange(len(_STATES))


@dataclass(frozen=True, slots=True)
class SortOrder:
    """By which column a list is sorted, and from which end."""

    key: str = "time"
    """Key of a field, or of a column that only this list has."""
    descending: bool = True
    """The largest value first."""


def sort_rows(parts: Sequence[Snapshot], row_numbers: NDArray[np.intp], order: SortOrder) -> NDArray[np.intp]:
    """Sort row numbers by a field of their rows.

    Rows with equal values are sorted by state, TIME_WAIT last, then by row number, so that nothing moves without a
    reason. Rows whose value is unknown come last in either direction.

    Args:
        parts: snapshots whose rows are numbered through, one part after the other.
        row_numbers: which of these rows to sort, shape (n,).
        order: the field and the direction.

    Returns:
        ``row_numbers`` in display order, shape (n,).
    """
    ranks = np.concatenate([_STATE_RANK[part.rows["state"]] for part in parts] or [np.zeros(0, np.uint8)])
    row_numbers = row_numbers[np.argsort(ranks[row_numbers], kind="stable")]
    columns = [BY_KEY[order.key].read(part.row_context) for part in parts if len(part.rows)]
    if not columns:
        return row_numbers
    values = np.concatenate([column.values for column in columns])[row_numbers]
    is_known = np.concatenate([column.is_known for column in columns])[row_numbers]
    return sort_by_values(FieldValues(values, is_known), row_numbers, descending=order.descending)


def sort_by_values(column: FieldValues, row_numbers: NDArray[np.intp], *, descending: bool) -> NDArray[np.intp]:
    """Sort ``row_numbers`` by the values that ``column`` has beside them.

    Unknown values come last in either direction. Row numbers with equal values keep their order.
    """
    values, is_known = column
    if not is_known.all():
        known_column = FieldValues(values[is_known], is_known[is_known])
        known_order = sort_by_values(known_column, row_numbers[is_known], descending=descending)
        return np.concatenate([known_order, row_numbers[~is_known]])
    if values.dtype.kind == "S" or values.ndim == 2:  # 16 bytes are two big-endian words, which sort as the text does
        words = np.ascontiguousarray(values).view(">u8").reshape(-1, 2).astype("<u8")
        words = ~words if descending else words
        by_low_word = stable_order(words[:, 1])
        in_order: NDArray[np.intp] = row_numbers[by_low_word[stable_order(words[by_low_word, 0])]]
        return in_order
    if descending:
        values = ~values if values.dtype.kind == "u" else -values.astype(np.float64)
    return row_numbers[stable_order(values)]


def stable_order(values: NDArray[Any]) -> NDArray[np.intp]:
    """The same as ``np.argsort(values, kind="stable")``, in a third of the time where most values differ.

    numpy's default sort is that much faster, but it is not stable: runs of equal values are sorted once more.
    """
    sample = values[:: max(1, len(values) // 256)]
    if values.dtype.itemsize < 8 or len(np.unique(sample)) < len(sample) * 3 // 4:
        return np.argsort(values, kind="stable")  # faster with many equal values, and with small integers
    order = np.argsort(values)
    in_order = values[order]
    differs = in_order[1:] != in_order[:-1]
    differs[len(values) - np.count_nonzero(np.isnan(values)) :] = False
    if differs.all():
        return order
    # equal values are neighbours now, but in any order: sort again, by the number of the run and the original index
    run_start = np.concatenate([[0], np.cumsum(differs)]) * len(values)
    stable: NDArray[np.intp] = np.sort(run_start + order) - run_start
    return stable
