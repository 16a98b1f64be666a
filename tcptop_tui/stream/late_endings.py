"""Connections that this end had closed and the peer had not: what has become of them is told later, or never."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import CloseFlag, Mask, Rows
from tcptop_tui.stream.identity import KeyIndex, socket_key


def is_half_closed(close_flags: NDArray[np.uint8]) -> Mask:
    """Which of ``close_flags`` (CloseFlag) are of connections that this end had closed and the peer had not.

    A TIME_WAIT socket waits for the peer's FIN then; a later ``LateEndings`` says what became of it, or none does.
    """
    decided = CloseFlag.FIN_RECEIVED | CloseFlag.RST_SENT | CloseFlag.RST_RECEIVED
    half: Mask = (close_flags & (CloseFlag.FIN_SENT | decided)) == CloseFlag.FIN_SENT
    return half


def apply_late_endings(sessions: Rows, endings: Rows) -> Mask:
    """Write what came later into ended connections.

    Args:
        sessions: dtype ENDED, shape (n,); changed in place.
        endings: dtype LATE_ENDING.

    Returns:
        Which of ``sessions`` have changed, shape (n,).
    """
    place, found = KeyIndex.from_keys(socket_key(endings)).find(socket_key(sessions))
    found &= is_half_closed(sessions["close_flags"])
    sessions["close_flags"][found] |= endings["close_flags"][place[found]]
    sessions["reset_in"][found] = endings["reset_in"][place[found]]
    return found
