"""What came of one connect()."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.close_reasons import Reason, reason_text, reasons
from tcptop_tui.records import Mask, Rows, State, Syn

UNSENT: Final = 253
CONNECTED: Final = 254
WAITING: Final = 255
"""Results beside those of ``reasons.Reason``, of which NONE is: gone between two polls, nobody saw how.

UNSENT has returned from connect() and sends its SYN with the first write (TCP_FASTOPEN_CONNECT, ``tcp_connect`` in
net/ipv4/tcp_output.c comes later): nobody was asked, so nobody has failed to answer.
"""
_TEXT: Final = {UNSENT: "no SYN sent", CONNECTED: "connected", WAITING: "waiting"}


def result_text(code: int, err: int) -> str:
    """A result in words; empty for NONE."""
    return _TEXT[code] if code in _TEXT else reason_text(code, err)


def results(rows: Rows) -> NDArray[np.uint8]:
    """A result for each of ``rows``; dtype TRANSITION, as ``model.attempts`` gives them."""
    codes = reasons(rows)
    codes[rows["newstate"] != State.CLOSE] = CONNECTED  # polls may skip ESTABLISHED
    codes[rows["newstate"] == State.SYN_SENT] = WAITING
    unsent = rows["syn"] == Syn.NONE  # of one that was found no port, or no route, its reason says more
    codes[unsent & np.isin(codes, [WAITING, Reason.GIVEN_UP])] = UNSENT
    return codes


def failed(codes: NDArray[np.uint8]) -> Mask:
    """Which of ``results`` are of connects that came to nothing, as far as somebody saw it."""
    return ~np.isin(codes, [CONNECTED, WAITING, UNSENT, Reason.NONE])
