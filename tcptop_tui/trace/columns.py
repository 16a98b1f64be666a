"""Columns of a stream: one list of values each, from which text, CSV and JSON are all made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from tcptop_tui import formats, text
from tcptop_tui.close_reasons import reason_text, reasons
from tcptop_tui.export.values import iso_time
from tcptop_tui.records import UNKNOWN_NS, UNKNOWN_UID, Flag, Rows, is_ipv4
from tcptop_tui.stream.batches import Names


@dataclass(frozen=True, slots=True)
class Lines:
    """Rows that become lines, with what they do not carry themselves."""

    rows: Rows
    time_ns: Rows
    """CLOCK_MONOTONIC of each line, shape (n,)."""
    utc_offset_ns: int
    """Wall clock minus CLOCK_MONOTONIC."""
    first_ns: int
    """Time of the stream's first line."""
    names: Names = field(default_factory=Names)
    queries: Sequence[str | None] = ()
    """Names that were likely looked up, where the stream was asked for them."""


Values: TypeAlias = Callable[[Lines], list[Any]]
"""A value for each line; None where it is not known."""


@dataclass(frozen=True, slots=True)
class Column:
    """``name`` in JSON, ``title`` in text and CSV."""

    name: str
    title: str
    values: Values
    show: Callable[[Any], str] = str
    width: int = 0
    """Cells in text; a value that needs more pushes the rest to the right, none is ever cut."""
    foreign: bool = False
    """Written by strangers: to a spreadsheet it may be a formula."""
    unknown: str = formats.UNKNOWN
    """What text has for None."""
    wide: int = 0
    """The same with ``-w``, where it differs."""

    def cells(self, *, wide: bool) -> int:
        """Width in text."""
        return self.wide if wide and self.wide else self.width


def number(name: str) -> Values:
    """A field whose 0 means unknown."""
    return lambda lines: [value or None for value in lines.rows[name].tolist()]


def plain(name: str) -> Values:
    """A field that is always known."""
    return lambda lines: list(lines.rows[name].tolist())


def gauge(name: str) -> Values:
    """A counter, known where the gauges were read."""

    def values(lines: Lines) -> list[Any]:
        known = (lines.rows["flags"] & Flag.GAUGES) != 0
        return [value if yes else None for value, yes in zip(lines.rows[name].tolist(), known.tolist(), strict=True)]

    return values


def address(name: str) -> Values:
    """IPv4-mapped addresses as IPv4."""
    return lambda lines: [formats.address((high, low)) for high, low in lines.rows[name].tolist()]


def device(lines: Lines) -> list[Any]:
    """Name of the device that the socket is bound to, or its number where no name is known."""
    names, pairs = lines.names, zip(lines.rows["netns"].tolist(), lines.rows["dev"].tolist(), strict=True)
    return [text.clean(names.device(netns, dev)) if dev else None for netns, dev in pairs]


def local_address(lines: Lines) -> list[Any]:
    """With the device behind it, as ss writes it."""
    devices, addresses = device(lines), address("laddr")(lines)
    return [one if dev is None else f"{one}%{dev}" for one, dev in zip(addresses, devices, strict=True)]


def comm(name: str) -> Values:
    """A process name, harmless."""
    return lambda lines: [text.clean(value) or None for value in lines.rows[name].tolist()]


def state(name: str) -> Values:
    """The kernel's name of a state."""
    return lambda lines: [formats.state_name(value) for value in lines.rows[name].tolist()]


def optional_state(name: str) -> Values:
    """A state, or None for 0."""
    return lambda lines: [formats.state_name(value) if value else None for value in lines.rows[name].tolist()]


def uid(lines: Lines) -> list[Any]:
    """The socket's owner."""
    return [None if value == UNKNOWN_UID else value for value in lines.rows["uid"].tolist()]


def ip(lines: Lines) -> list[Any]:
    """4 when both addresses are IPv4, mapped ones included; else 6."""
    four = is_ipv4(lines.rows["laddr"]) & is_ipv4(lines.rows["raddr"])
    return [int(value) for value in np.where(four, 4, 6).tolist()]


def skaddr(lines: Lines) -> list[Any]:
    """The kernel's address of the socket, in hexadecimal."""
    return [f"{value:x}" if value else None for value in lines.rows["skaddr"].tolist()]


def span_ms(lines: Lines) -> list[Any]:
    """``spent_ns`` in ms."""
    return [None if value == UNKNOWN_NS else value / 1e6 for value in lines.rows["spent_ns"].tolist()]


def age_ms(lines: Lines) -> list[Any]:
    """From birth until the line's time, in ms."""
    born, now = lines.rows["born_ns"].tolist(), lines.time_ns.tolist()
    return [max(0, end - start) / 1e6 if start else None for start, end in zip(born, now, strict=True)]


def why(lines: Lines) -> list[Any]:
    """How it ended, of lines that are an end."""
    codes, errs = reasons(lines.rows).tolist(), lines.rows["err"].tolist()
    return [reason_text(code, err) or None for code, err in zip(codes, errs, strict=True)]


def cgroup(lines: Lines) -> list[Any]:
    """Path of the socket's cgroup, or its number where no path is known."""
    paths: Mapping[int, str] = lines.names.cgroups
    return [text.clean(paths.get(value, str(value))) if value else None for value in lines.rows["cgroup"].tolist()]


def flagged(bit: int) -> Values:
    """Whether a bit of ``flags`` is set."""
    return lambda lines: ((lines.rows["flags"] & bit) != 0).tolist()


def netns_name(lines: Lines) -> list[Any]:
    """Name of the network namespace, where it has one."""
    return [text.clean(lines.names.netns.get(value, "")) or None for value in lines.rows["netns"].tolist()]


def retrans_in(lines: Lines) -> list[Any]:
    """Retransmits by state, those that there were."""
    return [
        {formats.state_name(number): count for number, count in enumerate(counts) if count}
        for counts in lines.rows["retrans_in"].tolist()
    ]


def query(lines: Lines) -> list[Any]:
    """The name that was likely looked up."""
    return list(lines.queries) if lines.queries else [None] * len(lines.rows)


def utc_time(lines: Lines) -> list[Any]:
    """UTC to the µs."""
    return [iso_time(value + lines.utc_offset_ns) for value in lines.time_ns.tolist()]


def wall_clock(lines: Lines) -> list[Any]:
    """Local time to the ms."""
    return [formats.clock(value + lines.utc_offset_ns) for value in lines.time_ns.tolist()]


def seconds(lines: Lines) -> list[Any]:
    """Since the first line."""
    return [max(0, value - lines.first_ns) / 1e9 for value in lines.time_ns.tolist()]


def ms3(value: float) -> str:
    """As tcpstates prints it."""
    return f"{value:.3f}"


def ms2(value: float) -> str:
    """As tcplife prints it."""
    return f"{value:.2f}"


TIME = Column("time", "TIME", wall_clock, width=12)
SECONDS = Column("seconds", "TIME(s)", seconds, lambda value: f"{value:.6f}", width=10)
UTC = Column("time", "TIME", utc_time)
SKADDR = Column("skaddr", "SKADDR", skaddr, width=16)
PID = Column("pid", "PID", number("pid"), width=7)
COMM = Column("comm", "COMM", comm("comm"), width=10, wide=16, foreign=True)
UID = Column("uid", "UID", uid, width=6)
IP = Column("ip", "IP", ip, width=2)
LADDR = Column("laddr", "LADDR", address("laddr"), width=15, wide=26)
LOCAL = Column("laddr", "LADDR", local_address, width=15, wide=26)
"""In text."""
DEV = Column("dev", "DEV", device, width=8, foreign=True)
IFINDEX = Column("ifindex", "IFINDEX", number("dev"), width=7)
LPORT = Column("lport", "LPORT", number("lport"), width=5)
RADDR = Column("raddr", "RADDR", address("raddr"), width=15, wide=26)
RPORT = Column("rport", "RPORT", number("rport"), width=5)
NETNS = Column("netns", "NETNS", number("netns"), width=10)
NETNS_NAME = Column("netns_name", "NETNS_NAME", netns_name, width=12, foreign=True)
CGROUP = Column("cgroup", "CGROUP", cgroup, width=20, foreign=True)
WHY = Column("why", "WHY", why, unknown="")  # None: it has not ended
RESET_IN = Column("reset_in", "RESET_IN", optional_state("reset_in"), width=11)
TX_BYTES = Column("tx_bytes", "TX_BYTES", gauge("tx_bytes"), width=10)
RX_BYTES = Column("rx_bytes", "RX_BYTES", gauge("rx_bytes"), width=10)
RETRANS = Column("retrans", "RETRANS", gauge("retrans"), width=7)
