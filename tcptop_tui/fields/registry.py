"""All fields, in the order that documents have them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, TypeAlias

from tcptop_tui import formats
from tcptop_tui.fields import formatters as form
from tcptop_tui.fields import readers as read
from tcptop_tui.fields.field import Field, RecordKinds, ValueKind
from tcptop_tui.records import Flag

_TABLE, _ENDED, _TRANSITIONS, _CONNECTS, _PAGE = RecordKinds
_TABLE_AND_ENDED = _TABLE | _ENDED
_EVENT_KINDS = _ENDED | _TRANSITIONS | _CONNECTS
_ALL = _TABLE | _EVENT_KINDS
_COUNTED = _TABLE | _ENDED | _TRANSITIONS

_Defaults: TypeAlias = dict[str, Any]

_NUMBER: _Defaults = {"write": form.as_is, "show": form.number}
_TEXT: _Defaults = {"type": str | None, "right": False}
_NAME: _Defaults = {**_TEXT, "write": form.name, "show": form.name, "foreign": True}
_ADDRESS: _Defaults = {
    "type": str,
    "right": False,
    "write": form.address,
    "rank": 3,
    "width": 15,
    "stretch": 24,
    "cut_in_middle": True,
    "parse": ValueKind.ADDRESS,
}
_PORT: _Defaults = {"write": form.as_is, "show": form.port, "width": 6, "parse": ValueKind.PORT}
_STATE: _Defaults = {"type": str, "right": False, "write": form.state, "show": form.state}
_AGE: _Defaults = {
    "type": float | None,
    "write": form.by_value(lambda span_ns: round(span_ns / 1e9, 6)),
    "has_group_sum": True,
    "show": form.by_value(formats.age_ns),
    "parse": ValueKind.NANOSECONDS,
    "changes_with_time": True,
    "descending": True,
}
_SPAN: _Defaults = {
    "type": float | None,
    "write": form.milliseconds,
    "show": form.duration,
    "width": 7,
    "rank": 2,
    "descending": True,
}
_BYTES: _Defaults = {
    "write": form.as_is,
    "show": form.size,
    "width": 6,
    "has_group_sum": True,
    "parse": ValueKind.BYTES,
    "descending": True,
}
_RATE: _Defaults = {
    "type": float | None,
    "write": form.by_value(lambda rate: round(rate, 1)),
    "show": form.size,
    "width": 6,
    "has_group_sum": True,
    "descending": True,
}
_RTT: _Defaults = {
    "show": form.rtt,
    "title": "RTT",
    "width": 6,
    "parse": ValueKind.MICROSECONDS,
    "descending": True,
}
_COUNT: _Defaults = {**_NUMBER, "parse": ValueKind.COUNT, "descending": True}
_BYTES_PER_S: _Defaults = {"write": form.as_is, "show": form.size, "parse": ValueKind.BYTES, "descending": True}
_DETAIL: _Defaults = {"records": _TABLE, "optional": True, "detail": True}
_FLAG: _Defaults = {"type": bool, "write": form.as_is, "show": form.check_mark, "right": False}

FIELDS: Final = (
    Field(key="port", records=RecordKinds(0), **_PORT, columns=("lport", "rport"), names=("port",),
          example="443  port:80,8000-8010", filter_help="port at either end; a number alone is one"),
    Field(key="time", records=_EVENT_KINDS, read=read.time_ns, json="time", type=str, write=form.time, title="TIME",
          show=form.clock, width=8, rank=4, right=False, changes_with_time=True, descending=True,
          meaning="when it happened, UTC"),
    Field(key="pid", records=_ALL, read=read.nonzero("pid"), json="pid", **_NUMBER, title="PID", meaning="process id",
          width=7, rank=8, parse=ValueKind.NUMBER, names=("pid",), example="pid:812", filter_help="process number"),
    Field(key="comm", records=_ALL, read=read.name("comm"), source="task_struct.comm", json="comm",
          **{**_NAME, "show": form.process}, title="PROCESS", meaning="process", width=11, rank=0, stretch=4,
          parse=ValueKind.NAME, names=("comm", "process", "proc"), example="nginx  comm=ssh  /^ng/",
          filter_help='part of the process name, in any case (= all of it, /regular expression/, "quoted"); '
          "a word alone is one"),
    Field(key="uid", records=_ALL | _PAGE, read=read.uid, source="sk_uid", json="uid", **_NUMBER, meaning="user id",
          parse=ValueKind.NUMBER, names=("uid",), example="uid>=1000", filter_help="owner of the socket, by number"),
    Field(key="user", records=_TABLE, read=read.uid, json="user", **_TEXT, write=form.login, title="USER",
          meaning="user", show=form.user, width=8, rank=15, parse=ValueKind.USER, names=("user",), example="user:root",
          filter_help="owner of the socket, by name or number"),
    Field(key="netns", records=_ALL, read=read.nonzero("netns"), source="ns.inum", json="netns", write=form.as_is,
          title="NETNS", meaning="network namespace", show=form.netns, width=10, rank=16, right=False, optional=True,
          parse=ValueKind.NETNS, names=("netns",), example="netns:4026531840",
          filter_help="network namespace, by inode number or by its name in ip netns"),
    Field(key="ip", records=_ALL, read=read.version, json="ip", type=int, **_NUMBER, parse=ValueKind.VERSION,
          columns=("raddr", "laddr"), names=("ip", "addr"), example="10.0.0.0/8  ip:::1  ip:6",
          filter_help="address or network at either end, or version 4 or 6; an address alone is one"),
    Field(key="laddr", records=_ALL, read=read.plain("laddr"), json="laddr", **{**_ADDRESS, "rank": 11},
          title="LADDR", meaning="local address", show=form.local_address, columns=("laddr",), names=("laddr", "src"),
          example="laddr:127.0.0.1", filter_help="local address or network"),
    Field(key="lport", records=_ALL, read=read.nonzero("lport"), json="lport", **_PORT, title="LPORT",
          meaning="local port", rank=1, columns=("lport",), names=("lport", "sport"), example="lport:22  lport<1024",
          filter_help="local port"),
    Field(key="raddr", records=_ALL, read=read.plain("raddr"), json="raddr", **_ADDRESS, title="RADDR",
          meaning="remote address", show=form.remote_address, columns=("raddr",), names=("raddr", "dst"),
          example="raddr:fe80::/10", filter_help="remote address or network"),
    Field(key="rport", records=_ALL, read=read.remote_port, json="rport", **{**_PORT, "show": form.remote_port},
          title="RPORT", meaning="remote port", rank=4, columns=("rport",), names=("rport", "dport"),
          example="rport:1000-2000", filter_help="remote port"),
    Field(key="oldstate", records=_TRANSITIONS, read=read.plain("oldstate"), json="oldstate", **_STATE, title="FROM",
          meaning="state before"),
    Field(key="newstate", records=_TRANSITIONS, read=read.plain("newstate"), json="newstate", **_STATE, title="TO",
          meaning="state after"),
    Field(key="state", records=_TABLE, read=read.plain("state"), source="sk_state", json="state", **_STATE,
          title="STATE", meaning="state", width=11, rank=2, parse=ValueKind.STATE, names=("state",),
          example="state:estab,close_wait",
          filter_help="TCP state (of a transition the old or new one), or ss's connected, synchronized, bucket, big"),
    Field(key="in_state", records=_TABLE, read=read.in_state_ns, json="state_age_s", **_AGE, title="IN STATE",
          meaning="in this state for", width=9, rank=6, names=("instate", "since"), example="instate>2h30m",
          filter_help="time in the state, of a transition in the old one; as age"),
    Field(key="age", records=_TABLE, read=read.age_ns, json="age_s", **_AGE, title="AGE", meaning="age", width=7,
          rank=14, names=("age",), example="age>1m",
          filter_help="time since it was opened; s (when no unit is given), m, h, d"),
    Field(key="ms", records=_TRANSITIONS | _CONNECTS, read=read.in_state_ns, json="ms", **_SPAN, title="LATENCY",
          meaning="time in the old state; of a connect() until its answer"),
    Field(key="tx_bytes", records=_COUNTED, read=read.gauge("tx_bytes"), source="bytes_acked and what is in flight",
          json="tx_bytes", **_BYTES, title="TX", meaning="sent", rank=12, per_second=read.tx_rate, names=("tx",),
          example="tx>10K  tx>1MB/s",
          filter_help="bytes sent, or per second; K KiB MiB: 1024s, kB MB: 1000s, Mbit: bits"),
    Field(key="rx_bytes", records=_COUNTED, read=read.gauge("rx_bytes"), source="bytes_received", json="rx_bytes",
          **_BYTES, title="RX", meaning="received", rank=13, per_second=read.rx_rate, names=("rx",),
          example="rx:0  rx>1MB/s", filter_help="bytes received, or per second; units as tx"),
    Field(key="tx_rate", records=_TABLE, read=read.tx_rate, json="tx_bytes_per_s", **_RATE, title="TX/s",
          meaning="sent a second", rank=9),
    Field(key="rx_rate", records=_TABLE, read=read.rx_rate, json="rx_bytes_per_s", **_RATE, title="RX/s",
          meaning="received a second", rank=7),
    Field(key="lived", records=_ENDED, read=read.age_ns, json="ms", **_SPAN, title="LIVED",
          meaning="from its birth to its end"),
    Field(key="srtt", records=_TABLE, read=read.nonzero("srtt_us"), source="tcpi_rtt", json="srtt_us",
          write=form.as_is, **_RTT, meaning="smoothed RTT", rank=5, has_group_sum=True, names=("rtt", "srtt"),
          example="rtt>10ms", filter_help="smoothed round-trip time; us, ms (when no unit is given), s"),
    Field(key="rtt", records=_ENDED, read=read.average_rtt_us, json="rtt_avg_us", type=float | None,
          write=form.by_value(lambda average_us: round(average_us, 1)), **_RTT, rank=9,
          meaning="average of all RTT samples"),
    Field(key="retrans", records=_ALL, read=read.gauge("retrans"), source="total_retrans", json="retrans", **_COUNT,
          title="RETR", meaning="retransmits", width=5, rank=10, has_group_sum=True,
          names=("retrans", "retr"), example="retrans>0", filter_help="segments sent again"),
    Field(key="netns_name", records=_ALL, read=read.nonzero("netns"), json="netns_name", **_NAME | {
          "write": form.netns_name, "show": form.netns_name},
          meaning="name of the network namespace, or container"),
    Field(key="cgroup", records=_ALL, read=read.nonzero("cgroup"), source="sk_cgrp_data", json="cgroup",
          **{**_NAME, "write": form.cgroup, "show": form.cgroup_name}, title="CGROUP", meaning="cgroup", width=12,
          rank=17, stretch=20, optional=True, parse=ValueKind.CGROUP, names=("cgroup",), example="cgroup:1032",
          filter_help="cgroup (v2) and all below it, by its path as /system.slice or its number"),
    Field(key="result", records=_CONNECTS, read=read.result, json="result", **_TEXT, write=form.result,
          title="RESULT", show=form.result, width=12, rank=1, stretch=8,
          meaning="what came of the connect()"),
    Field(key="opened", records=_TABLE_AND_ENDED | _PAGE, read=read.plain("flags"), json="opened", **_TEXT,
          write=form.by_value(form.opened), meaning="opened by", show=form.by_value(form.opened)),
    Field(key="handshake", records=_ENDED | _PAGE, read=read.handshake_ns, json="handshake_ms", **_SPAN,
          meaning="handshake took"),
    Field(key="why", records=_ENDED | _TRANSITIONS, read=read.reason, json="why", **_TEXT, write=form.close_reason,
          title="WHY", show=form.close_reason, width=12, rank=1, stretch=8, parse=ValueKind.REASON,
          names=("why", "reason"), example="why:refused,timeout",
          filter_help="how it ended: fin, fin-by-us, fin-by-peer, reset, reset-sent, "
          "reset-received, refused, timeout, unreachable, given-up, no-port, aborted, nothing-sent, error"),
    Field(key="reset_in", records=_ENDED | _TRANSITIONS | _PAGE, read=read.nonzero("reset_in"), json="reset_in",
          **{**_STATE, "type": str | None}, meaning="reset came in"),
    Field(key="retrans_in", records=_TABLE_AND_ENDED | _PAGE, read=read.plain("retrans_in"), json="retrans_in",
          type=dict[str, int], write=form.by_value(form.by_state), meaning="retransmits in",
          show=form.by_value(form.states_text)),
    Field(key="dev", records=_ALL, read=read.device, source="sk_bound_dev_if", json="dev",
          **{**_NAME, "write": form.device, "show": form.device}, title="DEVICE", meaning="bound to device", width=8,
          rank=18, stretch=7, optional=True, parse=ValueKind.DEVICE, names=("dev", "device", "iface"),
          example="dev:eth0,wg0",
          filter_help="network device that the socket is bound to, by name or number; dev>0: any"),
    Field(key="ifindex", records=_ALL | _PAGE, read=read.nonzero("dev"), json="ifindex", **_NUMBER,
          meaning="device number"),
    Field(key="delayed", records=_TRANSITIONS, read=read.flag(Flag.DELAYED), json="delayed", **_FLAG, title="DELAYED",
          meaning="recorded by the guard program"),
    Field(key="polled", records=_TRANSITIONS, read=read.flag(Flag.POLLED), json="polled", **_FLAG, title="POLLED",
          meaning="found between two polls, not seen as it happened"),
    Field(key="skaddr", records=_EVENT_KINDS | _PAGE, read=read.nonzero("skaddr"), source="struct sock *",
          json="skaddr", type=str | None, write=form.by_value("{:x}".format), meaning="socket (skaddr)",
          show=form.by_value("{:x}".format)),
    Field(key="holders", records=_TABLE, read=read.plain("holders"), json="holders",
          type=list[form.Holder] | None, write=form.holders, show=form.number,
          meaning="all processes that have it open"),
    Field(key="cwnd", **_DETAIL, read=read.detail("cwnd"), source="tcpi_snd_cwnd", json="cwnd", **_COUNT,
          title="CWND", meaning="congestion window", width=5, rank=19, names=("cwnd",), example="cwnd<10",
          filter_help="segments that may be in flight, as congestion control has it"),
    Field(key="min_rtt", **_DETAIL, read=read.detail("min_rtt_us"), source="tcpi_min_rtt", json="min_rtt_us",
          write=form.as_is, **{**_RTT, "title": "MINRTT", "width": 8}, meaning="smallest RTT", rank=20,
          names=("min_rtt", "minrtt"), example="min_rtt>100ms", filter_help="smallest round-trip time of late; as rtt"),
    Field(key="delivery_rate", **_DETAIL, read=read.detail("delivery_rate"), source="tcpi_delivery_rate",
          json="delivery_rate_bytes_per_s", **_BYTES_PER_S, title="DELIV/s", meaning="delivered a second", width=7,
          rank=21, per_second=read.detail("delivery_rate"), names=("delivery_rate", "delivery"),
          example="delivery_rate<1MB/s", filter_help="bytes per second that were acknowledged of late; units as tx"),
    Field(key="pacing_rate", **_DETAIL, read=read.detail("pacing_rate"), source="tcpi_pacing_rate",
          json="pacing_rate_bytes_per_s", **_BYTES_PER_S, title="PACE/s", meaning="paced a second", width=6, rank=22,
          per_second=read.detail("pacing_rate"), names=("pacing_rate", "pacing"), example="pacing_rate>10MB/s",
          filter_help="bytes per second that may leave; units as tx"),
    Field(key="congestion", **_DETAIL, read=read.detail("congestion"), source="INET_DIAG_CONG", json="congestion",
          **{**_NAME, "foreign": False}, title="CC", meaning="congestion control", width=6, rank=23,
          parse=ValueKind.WORD, names=("congestion",), example="congestion:bbr,cubic",
          filter_help="name of the congestion control algorithm"),
    Field(key="rcv_rtt", **_DETAIL, read=read.detail("rcv_rtt_us"), source="tcpi_rcv_rtt", json="rcv_rtt_us",
          write=form.as_is, **{**_RTT, "title": "RCVRTT", "width": 8}, meaning="receiver's RTT", rank=24,
          names=("rcv_rtt",), example="rcv_rtt>100ms",
          filter_help="round-trip time as the receiver estimates it; as rtt"),
    Field(key="rx_queue", **_DETAIL, read=read.detail("rx_queue"), source="idiag_rqueue", json="rx_queue_bytes",
          **{**_BYTES, "has_group_sum": False}, title="RXQ", meaning="not read by the process", rank=25,
          names=("rx_queue", "rxq"), example="rx_queue>64K",
          filter_help="bytes that the process has not read; units as tx"),
    Field(key="tx_queue", **_DETAIL, read=read.detail("tx_queue"), source="idiag_wqueue", json="tx_queue_bytes",
          **{**_BYTES, "has_group_sum": False}, title="TXQ", meaning="not acknowledged", rank=26,
          names=("tx_queue", "txq"), example="tx_queue>1M",
          filter_help="bytes that the peer has not acknowledged; units as tx"),
    Field(key="unacked", **_DETAIL, read=read.detail("unacked"), source="tcpi_unacked", json="unacked", **_COUNT,
          title="UNACK", meaning="segments in flight", width=5, rank=27, names=("unacked",), example="unacked>100",
          filter_help="segments that have been sent and not been acknowledged"),
    Field(key="lost", **_DETAIL, read=read.detail("lost"), source="tcpi_lost", json="lost", **_COUNT, title="LOST",
          meaning="segments taken for lost", width=5, rank=28, names=("lost",), example="lost>0",
          filter_help="segments in flight that the kernel takes for lost"),
    Field(key="reordering", **_DETAIL, read=read.detail("reordering"), source="tcpi_reordering", json="reordering",
          **_COUNT, title="REORD", meaning="reordering", width=5, rank=29, names=("reordering",),
          example="reordering>3", filter_help="by how many segments the kernel has seen the path reorder"),
    Field(key="details_age", **_DETAIL, read=read.details_age_ns, json="details_age_s",
          **{**_AGE, "has_group_sum": False}, title="READ", meaning="these were read", width=6, rank=30),
)  # fmt: skip

BY_KEY: Final = {field.key: field for field in FIELDS}

_LATE_RANK = 15


def document_fields(records: RecordKinds) -> tuple[Field, ...]:
    """The fields that documents have of a kind of row, in their order."""
    return tuple(field for field in FIELDS if field.records & records and field.json)


def list_fields(records: RecordKinds, **changes: dict[str, Any]) -> tuple[Field, ...]:
    """The columns of a list, those with a high rank on the right.

    Args:
        records: the kind of its rows.
        changes: by key of a field, members of ``Field`` that are different in this list.
    """
    columns = [
        replace(field, **changes.get(field.key, {})) for field in FIELDS if field.records & records and field.title
    ]
    return tuple(sorted(columns, key=lambda field: max(field.rank, _LATE_RANK - 1)))
