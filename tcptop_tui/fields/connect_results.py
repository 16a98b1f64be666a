"""What came of one connect()."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.close_reasons import CloseReason, close_reason_text, close_reasons
from tcptop_tui.records import Mask, Rows, State, SynSent

RESULT_UNSENT: Final = 253
RESULT_CONNECTED: Final = 254
RESULT_WAITING: Final = 255
"""Results beside those of ``close_reasons.CloseReason``, of which NONE is: gone between two polls, nobody saw how.

A connect() that is RESULT_UNSENT has returned and sends its SYN with the first write (TCP_FASTOPEN_CONNECT;
``tcp_connect`` in net/ipv4/tcp_output.c comes later): nobody was asked, so nobody has failed to answer.
"""
_TEXT: Final = {RESULT_UNSENT: "no SYN sent", RESULT_CONNECTED: "connected", RESULT_WAITING: "waiting"}


def result_text(code: int, err: int) -> str:
    """A result in words; empty for NONE."""
    return _TEXT[code] if code in _TEXT else close_reason_text(code, err)


def result_codes(rows: Rows) -> NDArray[np.uint8]:
    """A result for each of ``rows``; dtype TRANSITION, as ``model.connect_attempts`` gives them."""
    codes = close_reasons(rows)
    codes[rows["newstate"] != State.CLOSE] = RESULT_CONNECTED  # polls may skip ESTABLISHED
    codes[rows["newstate"] == State.SYN_SENT] = RESULT_WAITING
    unsent = rows["syn_sent"] == SynSent.NONE  # of one that was found no port, or no route, its reason says more
    codes[unsent & np.isin(codes, [RESULT_WAITING, CloseReason.GIVEN_UP])] = RESULT_UNSENT
    return codes


def is_failure(codes: NDArray[np.uint8]) -> Mask:
    """Which of ``results`` are of connects that came to nothing, as far as somebody saw it."""
    return ~np.isin(codes, [RESULT_CONNECTED, RESULT_WAITING, RESULT_UNSENT, CloseReason.NONE])
