"""``trace connect``: every connect() with its outcome, as tcpconnect prints them, failures included."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

import numpy as np

from tcptop_tui import formats
from tcptop_tui.fields import BY_KEY, RecordKinds
from tcptop_tui.fields.connect_results import is_failure, result_codes
from tcptop_tui.filters import Filter
from tcptop_tui.model.connect_attempts import connect_outcomes, waiting_connects
from tcptop_tui.records import TRANSITION, Rows
from tcptop_tui.stream.batches import Batch, Loss, Table, Transitions
from tcptop_tui.trace import columns as c
from tcptop_tui.trace.columns import Column, LineRows
from tcptop_tui.trace.output import Form, Output
from tcptop_tui.trace.stream_loop import LineContext
from tcptop_tui.trace.summary import print_note

_MOST_KEYS = 65_536
"""Different destinations that are counted one by one."""

Words: TypeAlias = tuple[int, int]
_Key: TypeAlias = tuple[Words, Words, int, str | None]
"""Local address, remote address, remote port, device."""


class LookedUpNames(Protocol):
    """Knows which names were looked up."""

    def name_of(self, words: Words, ts_ns: int) -> tuple[str, float] | None:
        """The name whose answer held this address, and how many seconds before ``ts_ns`` it came."""
        ...

    def refresh(self) -> None:
        """Take in the answers that have come since."""
        ...

    @property
    def lost(self) -> int:
        """Answers that nobody could take in."""
        ...


SADDR = c.of("laddr", "SADDR", width=16, wide=26)
_LOCAL = Column("laddr", "SADDR", c.local_address, width=16, wide=26)
DADDR = c.of("raddr", "DADDR", width=16, wide=26)


def _none(lines: LineRows) -> list[Any]:  # noqa: ARG001  a table of its own has its own values
    return []


DPORT = c.of("rport", "DPORT", width=6)
MS = c.of("ms", show=c.ms3, width=9)
RESULT = c.of("result", width=11)
QUERY = Column("query", "QUERY", c.query, foreign=True)
COUNTS = (
    Column("laddr", "LADDR", _none, width=25),
    Column("raddr", "RADDR", _none, width=25),
    Column("rport", "RPORT", _none, width=20),
    Column("connects", "CONNECTS", _none, width=10),
    Column("failed", "FAILED", _none, width=6),
)
_COUNTED_DEVICE = Column("dev", "DEV", _none)


def columns(
    form: Form, *, wide: bool, clock: tuple[Column, ...], lport: bool, uid: bool, dns: bool
) -> tuple[Column, ...]:
    """The columns of tcpconnect, with what came of it behind them; names stand last, they have any length."""
    query = (QUERY,) if dns else ()
    if form == "json":
        return (*c.everything(RecordKinds.CONNECTS), *query)
    saddr = SADDR if form == "csv" else _LOCAL
    source = (saddr, c.LPORT) if lport else (saddr,)
    start = (*clock, *((c.UID,) if uid else ()), c.PID, c.COMM, c.IP, *source, DADDR, DPORT)
    if form == "csv":
        return (*start, *((MS, RESULT, c.NETNS, c.CGROUP, c.DEV) if wide else ()), *query)
    return (*start, MS, *((c.NETNS,) if wide else ()), RESULT, *query)


@dataclass(slots=True)
class ConnectCounts:
    """Connects by local address, remote address, remote port and device: fe80::1 is another host on another link."""

    connects: Counter[_Key] = field(default_factory=Counter)
    failed: Counter[_Key] = field(default_factory=Counter)
    beyond_limit: int = 0
    """Those to destinations beyond the number that is kept."""

    def add(self, lines: LineRows) -> None:
        """Count lines of dtype TRANSITION."""
        rows = lines.rows
        bad = is_failure(result_codes(rows)).tolist()
        ends = zip(rows["laddr"].tolist(), rows["raddr"].tolist(), rows["rport"].tolist(), strict=True)
        for (laddr, raddr, rport), device, lost in zip(ends, BY_KEY["dev"].values(lines), bad, strict=True):
            key = (tuple(laddr), tuple(raddr), rport, device)
            if key not in self.connects and len(self.connects) >= _MOST_KEYS:
                self.beyond_limit += 1
                continue
            self.connects[key] += 1
            self.failed[key] += lost

    def columns(self) -> tuple[Column, ...]:
        """As tcpconnect has them, and the device where there is one."""
        bound = any(key[3] is not None for key in self.connects)
        return (*COUNTS, _COUNTED_DEVICE) if bound else COUNTS

    def rows(self) -> list[dict[str, Any]]:
        """The most frequent first."""
        return [
            {
                "laddr": formats.address(key[0]),
                "dev": key[3],
                "raddr": formats.address(key[1]),
                "rport": key[2],
                "connects": count,
                "failed": self.failed[key],
            }
            for key, count in self.connects.most_common()
        ]


@dataclass(slots=True)
class ConnectStream:
    """A line for each connect() when its outcome is known; those without one at the end.

    Args:
        output: where lines go.
        chosen: what the user wants to see.
        tally: count instead of writing lines.
        queries: where names come from.
    """

    output: Output
    filter: Filter
    tally: ConnectCounts | None = None
    queries: LookedUpNames | None = None
    _waiting: Rows = field(default_factory=lambda: np.zeros(0, TRANSITION))

    def start(self) -> None:
        """See ``LineStream``; counts have their titles at the end."""
        if self.tally is None:
            self.output.header()
        else:
            self.output.write_comment(b"Tracing connect ... Hit Ctrl-C to end.\n")

    def write_batch(self, batch: Batch, moment: LineContext) -> None:
        """See ``LineStream``."""
        if isinstance(batch, Table):
            self._waiting = waiting_connects(batch.rows, batch.now_ns)
        if isinstance(batch, Transitions):
            self._write(connect_outcomes(batch.rows), moment)

    def _write(self, rows: Rows, moment: LineContext) -> None:
        rows = rows[self.filter.matches(moment.subject(rows))]
        if self.tally is not None:
            self.tally.add(moment.lines(rows))
            return
        lines = moment.lines(rows)
        if self.queries is not None and len(rows):
            self.queries.refresh()
            lines = replace(lines, queries=self._queries_of(rows))
        self.output.lines(lines)

    def _queries_of(self, rows: Rows) -> list[str | None]:
        """As tcpconnect: the name, with the answer's age where it is not fresh."""
        found: list[str | None] = []
        for words, ts_ns in zip(rows["raddr"].tolist(), rows["ts_ns"].tolist(), strict=True):
            known = self.queries.name_of(tuple(words), ts_ns) if self.queries else None
            old = f" ({known[1]:.1f}s ago)" if known and known[1] > 0.1 else ""
            found.append(f"{known[0]}{old}" if known else None)
        return found

    def lost(self, loss: Loss) -> int:
        """See ``LineStream``."""
        return loss.ring_full + loss.skipped

    def finish(self, moment: LineContext) -> None:
        """Write the counts, or the connects that nobody has answered yet."""
        if self.tally is None:
            self._write(self._waiting, moment)
        else:
            self.output.table(self.tally.columns(), self.tally.rows())
        if self.queries is not None and self.queries.lost:
            print_note(f"{self.queries.lost:,} DNS answers were lost: names may be missing")
