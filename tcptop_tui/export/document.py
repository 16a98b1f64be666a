"""A snapshot's document, made from the rows that the filter shows."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from tcptop_tui import __version__, formats, text
from tcptop_tui.export.schema import (
    SCHEMA_VERSION,
    Alert,
    Bucket,
    Connection,
    Connects,
    Destination,
    Document,
    Holder,
    LossCounts,
    Meta,
    Rtt,
    Session,
    Transition,
)
from tcptop_tui.export.values import (
    address,
    comm,
    gauge,
    iso_time,
    known_uid,
    nonzero,
    opened,
    rate,
    retrans_in,
    seconds,
    state,
    user,
    whys,
)
from tcptop_tui.model import connect_list as model
from tcptop_tui.model import facts
from tcptop_tui.model.histogram import slot_bounds, summarise
from tcptop_tui.model.wall_clock import Wall
from tcptop_tui.records import HOLDING, RTT_SLOTS, UNKNOWN_NS, Flag, Looked, Rows
from tcptop_tui.stream.batches import Loss, Names


@dataclass(frozen=True, slots=True)
class SnapshotInput:
    """What a snapshot is made from: the rows that the filter shows, in display order."""

    rows: Rows
    tx_rate: NDArray[np.float64]
    rx_rate: NDArray[np.float64]
    transitions: Rows
    sessions: Rows
    """Ended connections, oldest first; listeners are none."""
    names: Names
    hist: NDArray[np.uint64]
    hist_sum_us: int
    loss: Loss
    now_ns: int
    utc_ns: int
    wall: Wall
    host: str
    kernel: str
    backend: str
    backend_note: str
    filter_text: str
    hidden_text: str
    """The filter of what is not shown besides."""
    alerts: tuple[facts.Alert, ...]
    connections_total: int
    holders: Rows = field(default_factory=lambda: np.zeros(0, HOLDING))
    """Of ``rows`` that several processes have open, dtype HOLDING, sorted by ``id``."""
    connects: model.Connects = field(default_factory=model.Connects)
    """Outcomes of connect() that the filter wants."""
    since_ns: int = 0
    """CLOCK_MONOTONIC from which on everything was counted; 0: nothing was yet. So for those below."""
    transitions_since_ns: int = 0
    sessions_since_ns: int = 0
    behind_s: int = 0


def _connection(row: np.void, given: SnapshotInput, index: int) -> Connection:
    uid = known_uid(row["uid"])
    laddr = address(row["laddr"])
    return Connection(
        pid=nonzero(row["pid"]),
        comm=comm(row),
        uid=uid,
        user=user(uid),
        netns=nonzero(row["netns"]),
        ip=6 if ":" in laddr else 4,
        laddr=laddr,
        lport=nonzero(row["lport"]),
        raddr=address(row["raddr"]),
        rport=nonzero(row["rport"]),
        state=formats.state_name(int(row["state"])),
        state_age_s=seconds(given.now_ns, row["state_ns"]),
        age_s=seconds(given.now_ns, row["born_ns"]),
        tx_bytes=gauge(row, "tx_bytes"),
        rx_bytes=gauge(row, "rx_bytes"),
        tx_bytes_per_s=rate(given.tx_rate[index]),
        rx_bytes_per_s=rate(given.rx_rate[index]),
        srtt_us=nonzero(row["srtt_us"]),
        retrans=gauge(row, "retrans"),
        netns_name=_netns_name(row, given.names),
        cgroup=_cgroup(row, given.names),
        opened=opened(row),
        retrans_in=retrans_in(row),
        dev=_device(row, given.names),
        ifindex=nonzero(row["dev"]),
        holders=_holders(row, given.holders),
    )


def _holders(row: np.void, shared: Rows) -> list[Holder] | None:
    start, end = np.searchsorted(shared["id"], row["id"]), np.searchsorted(shared["id"], row["id"], "right")
    if row["holders"] == 1 and row["pid"]:
        return [Holder(int(row["pid"]), comm(row))]
    if row["holders"] > 1 and end > start:
        return [Holder(int(one["pid"]), comm(one)) for one in shared[start:end]]
    return [] if row["looked"] == Looked.CLOSED else None


def _device(row: np.void, names: Names) -> str | None:
    return text.clean(names.device(int(row["netns"]), int(row["dev"]))) or None


def _netns_name(row: np.void, names: Names) -> str | None:
    return text.clean(names.netns.get(int(row["netns"]), "")) or None


def _cgroup(row: np.void, names: Names) -> str | None:
    number = int(row["cgroup"])
    return text.clean(names.cgroups.get(number, str(number))) if number else None


def _ms(start: np.generic, end: np.generic) -> float | None:
    return max(0, int(end) - int(start)) / 1e6 if start and end else None


def _session(row: np.void, wall: Wall, why: str | None, names: Names) -> Session:
    laddr = address(row["laddr"])
    samples = int(row["rtt_hist"].sum())
    return Session(
        time=iso_time(wall.utc_ns(int(row["end_ns"]))),
        skaddr=f"{int(row['skaddr']):016x}" if row["skaddr"] else None,
        pid=nonzero(row["pid"]),
        comm=comm(row),
        uid=known_uid(row["uid"]),
        netns=nonzero(row["netns"]),
        ip=6 if ":" in laddr else 4,
        laddr=laddr,
        lport=nonzero(row["lport"]),
        raddr=address(row["raddr"]),
        rport=nonzero(row["rport"]),
        tx_bytes=gauge(row, "tx_bytes"),
        rx_bytes=gauge(row, "rx_bytes"),
        ms=_ms(row["born_ns"], row["end_ns"]),
        handshake_ms=_ms(row["born_ns"], row["established_ns"]),
        rtt_avg_us=round(int(row["rtt_sum_us"]) / samples, 1) if samples else None,
        retrans=gauge(row, "retrans"),
        retrans_in=retrans_in(row),
        opened=opened(row),
        cgroup=_cgroup(row, names),
        why=why,
        reset_in=state(row["reset_in"]),
        dev=_device(row, names),
        ifindex=nonzero(row["dev"]),
    )


def _transition(row: np.void, wall: Wall, why: str | None, names: Names) -> Transition:
    laddr = address(row["laddr"])
    spent_ns = int(row["spent_ns"])
    return Transition(
        time=iso_time(wall.utc_ns(int(row["ts_ns"]))),
        skaddr=f"{int(row['skaddr']):016x}" if row["skaddr"] else None,
        pid=nonzero(row["pid"]),
        comm=comm(row),
        uid=known_uid(row["uid"]),
        netns=nonzero(row["netns"]),
        ip=6 if ":" in laddr else 4,
        laddr=laddr,
        lport=nonzero(row["lport"]),
        raddr=address(row["raddr"]),
        rport=nonzero(row["rport"]),
        oldstate=formats.state_name(int(row["oldstate"])),
        newstate=formats.state_name(int(row["newstate"])),
        ms=None if spent_ns == UNKNOWN_NS else spent_ns / 1e6,
        tx_bytes=gauge(row, "tx_bytes"),
        rx_bytes=gauge(row, "rx_bytes"),
        delayed=bool(row["flags"] & Flag.DELAYED),
        polled=bool(row["flags"] & Flag.POLLED),
        cgroup=_cgroup(row, names),
        why=why,
        reset_in=state(row["reset_in"]),
        dev=_device(row, names),
        ifindex=nonzero(row["dev"]),
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


def _moment(given: SnapshotInput, mono_ns: int) -> str | None:
    return iso_time(given.wall.utc_ns(mono_ns)) if mono_ns else None


def _connects(given: SnapshotInput) -> Connects:
    made = given.connects
    return Connects(
        connects=made.connects,
        failed=made.failed,
        waiting=made.waiting,
        connected_since=_moment(given, made.succeeded_since_ns),
        failed_since=_moment(given, made.since_ns),
        beyond=made.beyond,
        destinations=[
            Destination(
                raddr=address(row["raddr"]),
                ifindex=nonzero(row["dev"]),
                rport=nonzero(row["rport"]),
                connects=int(row["connects"]),
                failed=int(row["failed"]),
                waiting=int(row["waiting"]),
                avg_ms=None if np.isnan(row["avg_ns"]) else round(float(row["avg_ns"]) / 1e6, 6),
            )
            for row in made.destinations
        ],
    )


def build(given: SnapshotInput) -> Document:
    """The document of one moment."""
    return Document(
        schema_version=SCHEMA_VERSION,
        meta=Meta(
            tool="tcptop-tui",
            version=__version__,
            time=iso_time(given.utc_ns),
            host=text.clean(given.host),
            kernel=text.clean(given.kernel),
            backend=text.clean(given.backend),
            backend_note=text.clean(given.backend_note),
            filter=text.clean(given.filter_text),
            hidden=text.clean(given.hidden_text),
            connections_total=given.connections_total,
            connections_shown=len(given.rows),
            since=_moment(given, given.since_ns),
            transitions_since=_moment(given, given.transitions_since_ns),
            sessions_since=_moment(given, given.sessions_since_ns),
            behind_s=given.behind_s,
        ),
        loss=LossCounts(lost=given.loss.lost, **asdict(given.loss)),
        rtt=_rtt(given),
        connections=[_connection(row, given, index) for index, row in enumerate(given.rows)],
        transitions=[
            _transition(row, given.wall, why, given.names)
            for row, why in zip(given.transitions, whys(given.transitions), strict=True)
        ],
        sessions=[
            _session(row, given.wall, why, given.names)
            for row, why in zip(given.sessions, whys(given.sessions), strict=True)
        ],
        connects=_connects(given),
        alerts=[Alert(text.clean(one.text), text.clean(one.filter), one.severe) for one in given.alerts],
    )
