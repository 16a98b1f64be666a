"""The rows of view 3: which ended connections it lists, and in which order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.fields import BY_KEY
from tcptop_tui.model.snapshot import Snapshot
from tcptop_tui.model.sorting import SortOrder, sort_by_values
from tcptop_tui.records import Flag, Mask, Rows
from tcptop_tui.row_copy import picked


def has_peer(ended_rows: Rows) -> Mask:
    """Which ended sockets were connections, shape (n,): a listener has no peer, a connect() to port 0 has.

    Args:
        ended_rows: dtype ENDED, shape (n,).
    """
    active, listener = ((ended_rows["flags"] & flag) != 0 for flag in (Flag.ACTIVE, Flag.LISTENER))
    connected: Mask = ~listener & (active | (ended_rows["rport"] != 0))
    return connected


def ended_order(snapshot: Snapshot, ended_matches: Mask, order: SortOrder) -> NDArray[np.intp]:
    """Row numbers of ``snapshot.ended_rows`` in display order, without those of listeners.

    Args:
        snapshot: has the ended connections.
        ended_matches: which of them match the filter, shape (len(snapshot.ended_rows),).
        order: the column and the direction.
    """
    row_numbers = np.flatnonzero(ended_matches & has_peer(snapshot.ended_rows))
    column = BY_KEY[order.key].read(snapshot.context_of(picked(snapshot.ended_rows, row_numbers)))
    return sort_by_values(column, row_numbers, descending=order.descending)
