"""A snapshot: what is known at one moment, whatever the filter. ``make_frame`` chooses from it what is shown."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.fields import RowContext
from tcptop_tui.model.alert_kinds import Alert
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


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Immutable: the arrays are never written to again, and successive snapshots share those that stay the same.

    Times in ns are CLOCK_MONOTONIC unless they are called ``utc_ns``.
    """

    now_ns: int = 0
    """When the table was made; 0: there is none yet."""
    utc_ns: int = 0
    """The same moment in UTC."""
    rows: Rows = field(default_factory=lambda: np.zeros(0, ROW))
    """The table, dtype ROW, sorted by ``id``."""
    tx_rate: NDArray[np.float64] = field(default_factory=_no_rates)
    """bytes/s beside ``rows``; NaN: unknown."""
    rx_rate: NDArray[np.float64] = field(default_factory=_no_rates)
    hists: HistogramStore = NO_HISTOGRAMS
    """RTT samples, by the histogram numbers of ``rows``."""
    holders: Rows = field(default_factory=lambda: np.zeros(0, HOLDING))
    """All holders of those of ``rows`` that have several, dtype HOLDING, sorted by ``id`` and PID."""
    details: Rows = field(default_factory=lambda: NO_DETAILS)
    """Details of the sockets of ``rows``, dtype SOCKET_DETAIL, sorted by ``id``; empty while nobody looks at any."""
    lingering: LingeringRows = NO_LINGERING_ROWS
    """Rows that the latest table has not any more, for some seconds."""
    log: Rows = field(default_factory=lambda: np.zeros(0, TRANSITION))
    """The transition log, oldest first, dtype TRANSITION."""
    log_total: int = 0
    """Transitions ever seen; the last one of ``log`` has number ``log_total - 1``."""
    log_count: int = 0
    """Transitions seen since the user has cleared the log."""
    ended: FrozenParts = field(default_factory=lambda: FrozenParts(ENDED))
    """The latest ended connections, dtype ENDED."""
    ended_total: int = 0
    """Connections that have ever ended; the last one of ``ended`` has number ``ended_total - 1``."""
    ended_count: int = 0
    """Connections that have ended since the user has cleared them."""
    outcomes: Outcomes = field(default_factory=Outcomes)
    """What came of connect() calls."""
    pings: Rows = field(default_factory=lambda: np.zeros(0, PING))
    """The latest ICMP echo requests, oldest first, dtype PING."""
    pings_total: int = 0
    pings_lost: int = 0
    """Lost since the probe was attached last."""
    names: Names = field(default_factory=Names)
    live_rtt: RttTotals | None = None
    """RTT samples of all of ``rows``; None where nobody has summed them up yet."""
    ended_rtt: RttTotals | None = None
    """RTT samples of all connections that have ended, those that are not in ``ended`` any more among them."""
    dropped_rtt_hist: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(RTT_SLOTS, "<u8"))
    """RTT samples of ended connections that are not in ``ended`` any more."""
    dropped_rtt_sum_us: int = 0
    dropped_ended: int = 0
    """How many of these connections had samples."""
    per_second: NDArray[np.float64] = field(default_factory=lambda: np.zeros((5, 0)))
    """Counts of the last seconds, oldest first, shape (len(per_second.EventKind), n); NaN: before the start."""
    heat_map: HeatMap = field(default_factory=HeatMap)
    trends: tuple[TrendSample, ...] = ()
    """RTT and rates of the last minute, oldest first."""
    alerts: tuple[Alert, ...] = ()
    """Severe ones first."""
    earlier_board_counts: tuple[NDArray[np.uint64], NDArray[np.intp]] = field(
        default_factory=lambda: (np.zeros(0, np.uint64), np.zeros((0, 16), np.intp))
    )
    """Process keys, ascending, shape (n,), and connections by state, shape (n, 16), of about a minute ago."""
    events_ns: int = 0
    """Events that happened after this time have not been read yet; 0: all have been read."""
    transitions_per_s: float = math.nan
    """Average of the last seconds; NaN: not known yet."""
    loss: Loss = field(default_factory=Loss)
    status: Status = field(default_factory=lambda: Status(""))
    wall_clock: WallClock = field(default_factory=WallClock)
    """Translates CLOCK_MONOTONIC to the time of day."""
    first_ns: int = 0
    """Time of the first table."""
    cleared_ns: int = 0
    """When the user has cleared the log and the ended connections; 0: never."""

    @property
    def row_context(self) -> RowContext:
        """``rows`` as fields read them."""
        return RowContext(
            self.rows, self.now_ns, self.tx_rate, self.rx_rate, self.names, self.holders, self.details,
            self.wall_clock.utc_ns,
        )  # fmt: skip

    def context_of(self, rows: Rows) -> RowContext:
        """Other rows as fields read them: dtype ENDED, TRANSITION, or one of sums."""
        return RowContext(rows, self.now_ns, names=self.names, utc_ns=self.wall_clock.utc_ns)

    @property
    def has_table(self) -> bool:
        """Whether a table has come. Before the first one everything is unknown, not 0."""
        return self.now_ns != 0

    @property
    def behind_s(self) -> int:
        """How many whole seconds of events have not been read yet."""
        return max(0, self.now_ns - self.events_ns) // 10**9 if self.events_ns else 0

    @property
    def counted_ns(self) -> int:
        """From this time on everything is counted: the first table, or when the user has cleared the counts."""
        return max(self.first_ns, self.cleared_ns)

    @property
    def log_since_ns(self) -> int:
        """From this time on ``log`` has every transition: later than ``counted_ns`` once it is full."""
        return self.counted_ns if len(self.log) == self.log_count or not len(self.log) else int(self.log["ts_ns"][0])

    @property
    def ended_since_ns(self) -> int:
        """From this time on ``ended`` has every connection that has ended."""
        oldest = self.ended.oldest
        return self.counted_ns if len(self.ended) == self.ended_count or oldest is None else int(oldest["end_ns"])

    @property
    def ended_rows(self) -> Rows:
        """All of ``ended``, oldest first, dtype ENDED. It may copy them, and most panels need none."""
        return self.ended.rows
