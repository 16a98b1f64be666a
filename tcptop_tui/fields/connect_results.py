"""What came of each connect(): a result code for a transition that ends one."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.close_reasons import CloseReason, close_reason_text, close_reasons
from tcptop_tui.records import Mask, Rows, State, SynSent

RESULT_UNSENT: Final = 253
RESULT_CONNECTED: Final = 254
RESULT_WAITING: Final = 255
"""Result codes in addition to those of ``close_reasons.CloseReason``.

``CloseReason.NONE`` is a connection that was gone between two polls, so that nobody saw how it ended. A connect() with
RESULT_UNSENT has returned and will send its SYN with the first write (TCP_FASTOPEN_CONNECT; ``tcp_connect`` in
net/ipv4/tcp_output.c comes later): it has not failed, because nobody was asked to answer.
"""
_TEXT: Final = {RESULT_UNSENT: "no SYN sent", RESULT_CONNECTED: "connected", RESULT_WAITING: "waiting"}


def result_text(code: int, err: int) -> str:
    """A result code in words; empty for NONE."""
    return _TEXT[code] if code in _TEXT else close_reason_text(code, err)


def result_codes(rows: Rows) -> NDArray[np.uint8]:
    """Result codes of transitions as ``model.connect_attempts`` gives them, dtype TRANSITION; shape (n,)."""
    codes = close_reasons(rows)
    codes[rows["newstate"] != State.CLOSE] = RESULT_CONNECTED  # polls may skip ESTABLISHED
    codes[rows["newstate"] == State.SYN_SENT] = RESULT_WAITING
    unsent = rows["syn_sent"] == SynSent.NONE  # other reasons, as no port, say more
    codes[unsent & np.isin(codes, [RESULT_WAITING, CloseReason.GIVEN_UP])] = RESULT_UNSENT
    return codes


def is_failure(codes: NDArray[np.uint8]) -> Mask:
    """Which result codes are of connects that failed; where nobody saw the end, it is no failure."""
    return ~np.isin(codes, [RESULT_CONNECTED, RESULT_WAITING, RESULT_UNSENT, CloseReason.NONE])
