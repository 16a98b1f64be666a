"""Half-closed connections at their end, and what becomes known of them later: the late endings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.records import CloseFlag, Mask, Rows
from tcptop_tui.stream.identity import KeyIndex, socket_key


def is_half_closed(close_flags: NDArray[np.uint8]) -> Mask:
    """Which of ``close_flags`` (CloseFlag) are of connections that this end had closed and the peer had not.

    A TIME_WAIT socket waits for the peer's FIN then; a later ``LateEndings`` says what became of it, or none does.
    """
    known_ending = CloseFlag.FIN_RECEIVED | CloseFlag.RST_SENT | CloseFlag.RST_RECEIVED
    is_half: Mask = (close_flags & (CloseFlag.FIN_SENT | known_ending)) == CloseFlag.FIN_SENT
    return is_half


def apply_late_endings(ended: Rows, endings: Rows) -> Mask:
    """Write what came later into ended connections.

    Args:
        ended: dtype ENDED, shape (n,); changed in place.
        endings: dtype LATE_ENDING.

    Returns:
        Which of ``ended`` have changed, shape (n,).
    """
    ending_row, has_ending = KeyIndex.from_keys(socket_key(endings)).find(socket_key(ended))
    has_ending &= is_half_closed(ended["close_flags"])
    ended["close_flags"][has_ending] |= endings["close_flags"][ending_row[has_ending]]
    ended["reset_in"][has_ending] = endings["reset_in"][ending_row[has_ending]]
    return has_ending
