"""The connections that have ended, in the order that somebody wants to see them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.fields import BY_KEY
from tcptop_tui.model.snapshot import Snapshot
from tcptop_tui.model.sorting import sort_by_values
from tcptop_tui.records import Flag, Mask, Rows
from tcptop_tui.row_copy import picked


def has_peer(sessions: Rows) -> Mask:
    """Which of ``sessions`` (dtype ENDED) had two ends: listeners have not, a connect() to port 0 has."""
    active, listener = ((sessions["flags"] & flag) != 0 for flag in (Flag.ACTIVE, Flag.LISTENER))
    connected: Mask = ~listener & (active | (sessions["rport"] != 0))
    return connected


def ended_order(facts: Snapshot, matches: Mask, sort: str, *, descending: bool) -> NDArray[np.intp]:
    """Numbers of ``facts.ended_rows`` that match, listeners left out, sorted by a column's key."""
    chosen = np.flatnonzero(matches & has_peer(facts.ended_rows))
    column = BY_KEY[sort].read(facts.context_of(picked(facts.ended_rows, chosen)))
    return sort_by_values(column, chosen, descending=descending)
