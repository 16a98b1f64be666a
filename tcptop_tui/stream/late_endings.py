"""Connections that this end had closed and the peer had not: what has become of them is told later, or never."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import End, Mask, Rows
from tcptop_tui.stream.identity import Index, socket_life


def half_closed(ends: NDArray[np.uint8]) -> Mask:
    """Which of ``ends`` (End) are of connections that this end had closed and the peer had not.

    A TIME_WAIT socket waits for the peer's FIN then: what has become of it is told by a later ``Endings``, or by none.
    """
    decided = End.FIN_RECEIVED | End.RST_SENT | End.RST_RECEIVED
    half: Mask = (ends & (End.FIN_SENT | decided)) == End.FIN_SENT
    return half


def take_endings(sessions: Rows, endings: Rows) -> Mask:
    """Write what came later (dtype ENDING) into ``sessions`` (dtype SESSION), in place; which of them, shape (n,)."""
    place, found = Index.of(socket_life(endings)).find(socket_life(sessions))
    found &= half_closed(sessions["ends"])
    sessions["ends"][found] |= endings["ends"][place[found]]
    sessions["reset_in"][found] = endings["reset_in"][place[found]]
    return found
