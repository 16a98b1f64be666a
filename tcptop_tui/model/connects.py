"""What came of each connect(), and of how many to each destination."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.filters import Subject
from tcptop_tui.model.facts import Facts
from tcptop_tui.model.sorting import Key, arranged, known, words
from tcptop_tui.reasons import Reason, reason_text, reasons
from tcptop_tui.records import TRANSITION, UNKNOWN_NS, Mask, Rows, State, Syn, joined, picked
from tcptop_tui.source.identity import life, on_link, socket_life

UNSENT: Final = 253
CONNECTED: Final = 254
WAITING: Final = 255
"""Results beside those of ``reasons.Reason``, of which NONE is: gone between two polls, nobody saw how.

UNSENT has returned from connect() and sends its SYN with the first write (TCP_FASTOPEN_CONNECT, ``tcp_connect`` in
net/ipv4/tcp_output.c comes later): nobody was asked, so nobody has failed to answer.
"""
_TEXT: Final = {UNSENT: "no SYN sent", CONNECTED: "connected", WAITING: "waiting"}

DESTINATION = np.dtype(
    [("raddr", ">u8", (2,)), ("netns", "<u4"), ("dev", "<u4"), ("rport", "<u2"), ("connects", "<u4"), ("failed", "<u4"),
     ("waiting", "<u4"), ("avg_ns", "<f8")]
)  # fmt: skip
"""``avg_ns``: latency of those that connected; NaN: none did."""

_WAITING_BIT = np.uint64(1 << 62)
_COMMON = tuple(TRANSITION.names or ())


@dataclass(frozen=True, slots=True, eq=False)
class Connects:
    """Outcomes that the filter wants."""

    rows: Rows = field(default_factory=lambda: np.zeros(0, TRANSITION))
    """Dtype TRANSITION: out of SYN_SENT; of those that wait into it, with the time so far."""
    ids: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    results: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    order: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    destinations: Rows = field(default_factory=lambda: np.zeros(0, DESTINATION))
    """Most failures first, then most connects."""

    def result(self, row: int) -> str:
        """``connected``, ``waiting``, ``no SYN sent``, or why not."""
        return result_text(int(self.results[row]), int(self.rows["err"][row]))


def result_text(code: int, err: int) -> str:
    """A result in words."""
    return _TEXT[code] if code in _TEXT else reason_text(code, err)


def outcomes(rows: Rows) -> Rows:
    """Of transitions those that end a connect()."""
    early = (rows["oldstate"] == State.CLOSE) & (rows["newstate"] == State.CLOSE)  # Capture.connects
    return picked(rows, (rows["oldstate"] == State.SYN_SENT) | early)


def unanswered(table: Rows, now_ns: int) -> Rows:
    """The connects that still wait, as transitions from SYN_SENT to itself; ``table`` has dtype ROW."""
    rows = picked(table, table["state"] == State.SYN_SENT)
    made = np.zeros(len(rows), TRANSITION)
    for name in _COMMON:
        if name in (rows.dtype.names or ()):
            made[name] = rows[name]
    made["ts_ns"] = now_ns
    made["oldstate"] = made["newstate"] = State.SYN_SENT
    began = rows["state_ns"]
    made["spent_ns"] = np.where(began != 0, np.maximum(began, now_ns) - began, UNKNOWN_NS)
    return made


def results(rows: Rows) -> NDArray[np.uint8]:
    """A result for each of ``rows``; dtype TRANSITION, as ``outcomes`` and ``unanswered`` give them."""
    codes = reasons(rows)
    codes[rows["newstate"] != State.CLOSE] = CONNECTED  # polls may skip ESTABLISHED
    codes[rows["newstate"] == State.SYN_SENT] = WAITING
    unsent = rows["syn"] == Syn.NONE  # of one that was found no port, or no route, its reason says more
    codes[unsent & np.isin(codes, [WAITING, Reason.GIVEN_UP])] = UNSENT
    return codes


def failed(codes: NDArray[np.uint8]) -> Mask:
    """Which of ``results`` are of connects that came to nothing, as far as somebody saw it."""
    return ~np.isin(codes, [CONNECTED, WAITING, UNSENT, Reason.NONE])


def connects(facts: Facts, wants: Callable[[Subject], Mask], sort: str, *, descending: bool) -> Connects:
    """Those that somebody wants of the transitions that are kept, and of the connections that there are."""
    first = facts.log_total - len(facts.log)
    ended = (facts.log["oldstate"] == State.SYN_SENT) | (
        (facts.log["oldstate"] == State.CLOSE) & (facts.log["newstate"] == State.CLOSE)
    )
    waits = facts.rows["state"] == State.SYN_SENT
    rows = joined(TRANSITION, picked(facts.log, ended), unanswered(facts.rows, facts.now_ns))
    ids = np.concatenate([np.flatnonzero(ended).astype(np.uint64) + np.uint64(first + 1),
                          facts.rows["id"][waits] | _WAITING_BIT])  # fmt: skip
    match = wants(Subject(rows, facts.now_ns, None, None, facts.names))
    rows, ids = picked(rows, match), ids[match]
    codes = results(rows)
    order = arranged(_key(rows, codes, sort), np.arange(len(rows)), descending=descending)
    return Connects(rows, ids, codes, order, _destinations(rows, codes))


def connection_of(rows: Rows, outcome: np.void) -> int | None:
    """Which of ``rows`` (dtype ROW or SESSION) is the connection that a connect() has made or wanted; None: none.

    The socket tells, or addresses and ports where nobody knows the socket; and the birth, since both are used again.
    """
    one = np.array([outcome])
    same = life(rows) == life(one)[0]
    if outcome["skaddr"]:
        same |= socket_life(rows) == socket_life(one)[0]
    found = np.flatnonzero(same)
    return int(found[-1]) if len(found) else None


def _key(rows: Rows, codes: NDArray[np.uint8], sort: str) -> Key:
    if sort in {"comm", "laddr", "raddr"}:
        return words(rows, sort)
    if sort == "ms":
        return known(rows["spent_ns"], rows["spent_ns"] != UNKNOWN_NS)
    if sort == "result":
        return codes
    if sort == "time":
        return rows["ts_ns"].astype(np.float64)
    return known(rows[sort], rows[sort] != 0)


def _destinations(rows: Rows, codes: NDArray[np.uint8]) -> Rows:
    ends = np.zeros(len(rows), [("raddr", ">u8", (2,)), ("netns", "<u4"), ("dev", "<u4"), ("rport", "<u2")])
    ends["raddr"], ends["rport"] = rows["raddr"], rows["rport"]
    near = on_link(rows["raddr"]) & (rows["dev"] != 0)  # another host's on each link
    for name in ("netns", "dev"):
        ends[name][near] = rows[name][near]
    found, inverse = np.unique(ends.view("V26"), return_inverse=True)
    inverse = inverse.reshape(-1)
    made = np.zeros(len(found), DESTINATION)
    for name in ends.dtype.names or ():
        made[name] = found.view(ends.dtype)[name]
    timed = (codes == CONNECTED) & (rows["spent_ns"] != UNKNOWN_NS)
    for name, which in (
        ("connects", np.ones(len(rows), np.bool_)),
        ("failed", failed(codes)),
        ("waiting", codes == WAITING),
    ):
        made[name] = np.bincount(inverse[which], minlength=len(found))
    total = np.bincount(inverse[timed], weights=rows["spent_ns"][timed].astype(np.float64), minlength=len(found))
    count = np.bincount(inverse[timed], minlength=len(found))
    made["avg_ns"] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    sorted_: Rows = made[np.lexsort((-made["connects"].astype(np.int64), -made["failed"].astype(np.int64)))]
    return sorted_
