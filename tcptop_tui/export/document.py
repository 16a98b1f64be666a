"""What a snapshot says, as typed structures with stable names. Unknown is null, never 0."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
from numpy.typing import NDArray

from tcptop_tui import __version__, formats, text
from tcptop_tui.model.histogram import slot_bounds, summarise
from tcptop_tui.records import RTT_SLOTS, UNKNOWN_NS, UNKNOWN_UID, Flag, Rows
from tcptop_tui.source.batches import Loss

SCHEMA_VERSION = 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Connection(msgspec.Struct, frozen=True):
    """One row of the table. ``comm`` is cleaned of what a terminal would obey; ``user`` is uid's login name."""

    pid: int | None
    comm: str | None
    uid: int | None
    user: str | None
    netns: int | None
    ip: int
    laddr: str
    lport: int | None
    raddr: str
    rport: int | None
    state: str
    state_age_s: float | None
    age_s: float | None
    tx_bytes: int | None
    rx_bytes: int | None
    tx_bytes_per_s: float | None
    rx_bytes_per_s: float | None
    srtt_us: int | None
    retrans: int | None


class Transition(msgspec.Struct, frozen=True):
    """One change of state; ``ms`` were spent in the old one. ``skaddr`` is in hexadecimal, without 0x."""

    time: str
    skaddr: str | None
    pid: int | None
    comm: str | None
    uid: int | None
    netns: int | None
    ip: int
    laddr: str
    lport: int | None
    raddr: str
    rport: int | None
    oldstate: str
    newstate: str
    ms: float | None
    tx_bytes: int | None
    rx_bytes: int | None
    delayed: bool
    polled: bool


class Bucket(msgspec.Struct, frozen=True):
    """``low`` to ``high``, both included; the last one has no ``high``."""

    low: int
    high: int | None
    count: int


class Rtt(msgspec.Struct, frozen=True):
    """Round-trip times of the connections that match; percentiles interpolated in their bucket."""

    unit: str
    count: int
    avg: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    buckets: list[Bucket]


class LossCounts(msgspec.Struct, frozen=True):
    """What did not reach the snapshot, or only late; see source.batches.Loss."""

    lost: int
    ring_full: int
    sessions_ring_full: int
    map_full: int
    skipped: int
    caught: int
    missed: int
    mended: int


class Meta(msgspec.Struct, frozen=True):
    """Where and when, and through which filter."""

    tool: str
    version: str
    time: str
    host: str
    kernel: str
    backend: str
    backend_note: str
    filter: str
    connections_total: int
    connections_shown: int


class Document(msgspec.Struct, frozen=True):
    """A snapshot."""

    schema_version: int
    meta: Meta
    loss: LossCounts
    rtt: Rtt
    connections: list[Connection]
    transitions: list[Transition]


@dataclass(frozen=True, slots=True)
class SnapshotInput:
    """What a snapshot is made from: the rows that the filter shows, in display order."""

    rows: Rows
    tx_rate: NDArray[np.float64]
    rx_rate: NDArray[np.float64]
    transitions: Rows
    hist: NDArray[np.uint64]
    hist_sum_us: int
    loss: Loss
    now_ns: int
    utc_ns: int
    host: str
    kernel: str
    backend: str
    backend_note: str
    filter_text: str
    connections_total: int


def iso_time(utc_ns: int) -> str:
    """UTC to the microsecond, as RFC 3339 writes it."""
    moment = _EPOCH + timedelta(microseconds=utc_ns // 1000)
    return moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _nonzero(value: np.generic) -> int | None:
    return int(value) or None


def _seconds(now_ns: int, began_ns: np.generic) -> float | None:
    """Never below 0: a connection may begin while the table is read, after its ``now_ns``."""
    return round(max(0, now_ns - int(began_ns)) / 1e9, 6) if began_ns else None


def _rate(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 1)


def _address(words: NDArray[np.uint64]) -> str:
    return formats.address((int(words[0]), int(words[1])))


def _uid(value: np.generic) -> int | None:
    return None if int(value) == UNKNOWN_UID else int(value)


def _user(uid: int | None) -> str | None:
    name = None if uid is None else formats.login_name(uid)
    return None if name is None else text.clean(name)


def _gauge(row: np.void, name: str) -> int | None:
    return int(row[name]) if row["flags"] & Flag.GAUGES else None


def _connection(row: np.void, given: SnapshotInput, index: int) -> Connection:
    uid = _uid(row["uid"])
    laddr = _address(row["laddr"])
    return Connection(
        pid=_nonzero(row["pid"]),
        comm=text.clean(bytes(row["comm"])) or None,
        uid=uid,
        user=_user(uid),
        netns=_nonzero(row["netns"]),
        ip=6 if ":" in laddr else 4,
        laddr=laddr,
        lport=_nonzero(row["lport"]),
        raddr=_address(row["raddr"]),
        rport=_nonzero(row["rport"]),
        state=formats.state_name(int(row["state"])),
        state_age_s=_seconds(given.now_ns, row["state_ns"]),
        age_s=_seconds(given.now_ns, row["born_ns"]),
        tx_bytes=_gauge(row, "tx_bytes"),
        rx_bytes=_gauge(row, "rx_bytes"),
        tx_bytes_per_s=_rate(given.tx_rate[index]),
        rx_bytes_per_s=_rate(given.rx_rate[index]),
        srtt_us=_nonzero(row["srtt_us"]),
        retrans=_gauge(row, "retrans"),
    )


def _transition(row: np.void, utc_offset_ns: int) -> Transition:
    laddr = _address(row["laddr"])
    spent_ns = int(row["spent_ns"])
    return Transition(
        time=iso_time(int(row["ts_ns"]) + utc_offset_ns),
        skaddr=f"{int(row['skaddr']):016x}" if row["skaddr"] else None,
        pid=_nonzero(row["pid"]),
        comm=text.clean(bytes(row["comm"])) or None,
        uid=_uid(row["uid"]),
        netns=_nonzero(row["netns"]),
        ip=6 if ":" in laddr else 4,
        laddr=laddr,
        lport=_nonzero(row["lport"]),
        raddr=_address(row["raddr"]),
        rport=_nonzero(row["rport"]),
        oldstate=formats.state_name(int(row["oldstate"])),
        newstate=formats.state_name(int(row["newstate"])),
        ms=None if spent_ns == UNKNOWN_NS else spent_ns / 1e6,
        tx_bytes=_gauge(row, "tx_bytes"),
        rx_bytes=_gauge(row, "rx_bytes"),
        delayed=bool(row["flags"] & Flag.DELAYED),
        polled=bool(row["flags"] & Flag.POLLED),
    )


def _rtt(given: SnapshotInput) -> Rtt:
    summary = summarise(given.hist, given.hist_sum_us)
    return Rtt(
        unit="us",
        count=summary.count,
        avg=summary.avg_us,
        p50=summary.p50_us,
        p90=summary.p90_us,
        p99=summary.p99_us,
        buckets=[Bucket(*slot_bounds(slot), count=int(given.hist[slot])) for slot in range(RTT_SLOTS)],
    )


def build(given: SnapshotInput) -> Document:
    """The document of one moment."""
    offset_ns = given.utc_ns - given.now_ns
    return Document(
        schema_version=SCHEMA_VERSION,
        meta=Meta(
            tool="tcptop-tui",
            version=__version__,
            time=iso_time(given.utc_ns),
            host=text.clean(given.host),
            kernel=text.clean(given.kernel),
            backend=given.backend,
            backend_note=text.clean(given.backend_note),
            filter=text.clean(given.filter_text),
            connections_total=given.connections_total,
            connections_shown=len(given.rows),
        ),
        loss=LossCounts(lost=given.loss.lost, **asdict(given.loss)),
        rtt=_rtt(given),
        connections=[_connection(row, given, index) for index, row in enumerate(given.rows)],
        transitions=[_transition(row, offset_ns) for row in given.transitions],
    )
