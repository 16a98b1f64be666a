"""What is known at one moment, whoever looks at it and however it is filtered."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tcptop_tui import formats
from tcptop_tui.fields import RowContext
from tcptop_tui.model.connect_outcomes import Outcomes
from tcptop_tui.model.heat_map import HeatMap
from tcptop_tui.model.lingering import NO_LINGERING_ROWS, LingeringRows
from tcptop_tui.model.record_parts import FrozenParts
from tcptop_tui.model.rtt_totals import RttTotals
from tcptop_tui.model.trends import TrendSample
from tcptop_tui.model.wall_clock import WallClock
from tcptop_tui.records import ENDED, HOLDING, PING, ROW, RTT_SLOTS, TRANSITION, Rows
from tcptop_tui.stream.batches import Loss, Names, Status
from tcptop_tui.stream.histograms import NO_HISTOGRAMS, HistogramStore
from tcptop_tui.stream.socket_details import NO_DETAILS


def _no_rates() -> NDArray[np.float64]:
    return np.zeros(0)


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that is wrong, in one line, and the filter that shows it."""

    key: str
    """What it is about: stays while the numbers change."""
    text: str
    filter: str
    view: str = "connections"
    severe: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Immutable; the arrays are never written to again."""

    now_ns: int = 0
    utc_ns: int = 0
    rows: Rows = field(default_factory=lambda: np.zeros(0, ROW))
    """The connections, dtype ROW, sorted by ``id``."""
    tx_rate: NDArray[np.float64] = field(default_factory=_no_rates)
    """bytes/s beside ``rows``; NaN: unknown."""
    rx_rate: NDArray[np.float64] = field(default_factory=_no_rates)
    hists: HistogramStore = NO_HISTOGRAMS
    """Round-trip times, by ``hist`` of ``rows``."""
    holders: Rows = field(default_factory=lambda: np.zeros(0, HOLDING))
    """All processes of those of ``rows`` that several have open, dtype HOLDING, sorted by ``id`` and PID."""
    details: Rows = field(default_factory=lambda: NO_DETAILS)
    """More of the sockets of ``rows``, dtype SOCKET_DETAIL, sorted by ``id``; empty while nobody wants it."""
    lingering: LingeringRows = NO_LINGERING_ROWS
    """Connections that have just ended; they are not in ``rows`` any more."""
    log: Rows = field(default_factory=lambda: np.zeros(0, TRANSITION))
    """The transitions that are kept, oldest first, dtype TRANSITION."""
    log_total: int = 0
    """Transitions ever seen; the last one of ``log`` has number ``log_total - 1``."""
    log_count: int = 0
    """Of these those since the user has cleared the log."""
    ended: FrozenParts = field(default_factory=lambda: FrozenParts(ENDED))
    """Ended connections that are kept, dtype ENDED."""
    ended_total: int = 0
    """Ended connections ever seen; the last one of those that are kept has number ``sessions_total - 1``."""
    ended_count: int = 0
    """Of these those since the user has cleared what was."""
    outcomes: Outcomes = field(default_factory=Outcomes)
    """What has come of connect() calls."""
    pings: Rows = field(default_factory=lambda: np.zeros(0, PING))
    """The ICMP echo requests that are kept, oldest first, dtype PING."""
    pings_total: int = 0
    pings_lost: int = 0
    """Since the probe was attached last."""
    names: Names = field(default_factory=Names)
    live_rtt: RttTotals | None = None
    """Round-trip times of all of ``rows``, where they have been summed up already."""
    ended_rtt: RttTotals | None = None
    """The same of all connections that have ended, the forgotten ones too."""
    dropped_rtt_hist: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(RTT_SLOTS, "<u8"))
    """Round-trip times of ended connections that are not kept any more."""
    dropped_rtt_sum_us: int = 0
    dropped_ended: int = 0
    per_second: NDArray[np.float64] = field(default_factory=lambda: np.zeros((5, 0)))
    """Counts of the last seconds, oldest first, shape (len(per_second.EventKind), n); NaN: before the start."""
    heat_map: HeatMap = field(default_factory=HeatMap)
    """Round-trip times of the last minutes."""
    trends: tuple[TrendSample, ...] = ()
    """RTT and rates of the last minute, oldest first."""
    alerts: tuple[Alert, ...] = ()
    """Worst first."""
    board_before: tuple[NDArray[np.uint64], NDArray[np.intp]] = field(
        default_factory=lambda: (np.zeros(0, np.uint64), np.zeros((0, 16), np.intp))
    )
    """Of about a minute ago: keys of process names, shape (n,), and connections by state, (n, 16)."""
    events_ns: int = 0
    """What happened after this has not been read yet; 0: all has."""
    transitions_per_s: float = math.nan
    """An average of the last seconds; NaN: not known yet."""
    loss: Loss = field(default_factory=Loss)
    status: Status = field(default_factory=lambda: Status(""))
    wall_clock: WallClock = field(default_factory=WallClock)
    """What the clock showed when something happened."""
    first_ns: int = 0
    """CLOCK_MONOTONIC of the first table."""
    cleared_ns: int = 0
    """When the user has cleared what was; 0: never."""

    @property
    def row_context(self) -> RowContext:
        """``rows`` as fields are read from them."""
        return RowContext(
            self.rows, self.now_ns, self.tx_rate, self.rx_rate, self.names, self.holders, self.details,
            self.wall_clock.utc_ns,
        )  # fmt: skip

    def context_of(self, rows: Rows) -> RowContext:
        """Other rows, dtype ENDED or TRANSITION, in the same way."""
        return RowContext(rows, self.now_ns, names=self.names, utc_ns=self.wall_clock.utc_ns)

    @property
    def has_table(self) -> bool:
        """Whether a table has come; before the first one nothing is known, so nothing is 0."""
        return self.now_ns != 0

    @property
    def start_text(self) -> str:
        """When the first table was read, as ``formats.moment`` writes it: from then on everything is counted."""
        return formats.clock_or_date(self.wall_clock.utc_ns(self.first_ns), self.utc_ns)

    @property
    def behind_s(self) -> int:
        """How many whole seconds of what has happened are not read yet."""
        return max(0, self.now_ns - self.events_ns) // 10**9 if self.events_ns else 0

    @property
    def counted_ns(self) -> int:
        """From here on everything is counted that can be cleared."""
        return max(self.first_ns, self.cleared_ns)

    @property
    def log_since_ns(self) -> int:
        """From here on ``log`` has every transition: it keeps so many only."""
        return self.counted_ns if len(self.log) == self.log_count or not len(self.log) else int(self.log["ts_ns"][0])

    @property
    def ended_since_ns(self) -> int:
        """From here on ``sessions`` are all that have ended."""
        oldest = self.ended.oldest
        return self.counted_ns if len(self.ended) == self.ended_count or oldest is None else int(oldest["end_ns"])

    def span_text(self, since_ns: int) -> str:
        """``since 15:42`` for all that is counted, ``of the last 3.2s`` where less than that is kept."""
        if since_ns > self.counted_ns:
            return f"of the last {formats.duration_ns(self.now_ns - since_ns)}"
        return f"since {formats.clock_or_date(self.wall_clock.utc_ns(since_ns), self.utc_ns)}"

    @property
    def ended_rows(self) -> Rows:
        """All of ``kept``, oldest first: not cheap, and most of what is painted needs none of them."""
        return self.ended.rows
