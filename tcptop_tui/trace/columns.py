"""Columns of a stream: one list of values each, from which text, CSV and JSON are all made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tcptop_tui import formats
from tcptop_tui.fields import BY_KEY, RecordKinds, RowContext, document_fields
from tcptop_tui.fields.field import Formatter
from tcptop_tui.fields.formatters import devices
from tcptop_tui.fields.row_context import Reader


@dataclass(frozen=True, slots=True)
class LineRows(RowContext):
    """Rows that become lines, with what they do not carry themselves."""

    first_ns: int = 0
    """CLOCK_MONOTONIC of the stream's first line."""
    queries: Sequence[str | None] = ()
    """Names that were likely looked up, where the stream was asked for them."""


Values: TypeAlias = Callable[[Any], list[Any]]
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


def of(
    key: str, title: str = "", show: Callable[[Any], str] = str, width: int = 0, wide: int = 0,
    unknown: str = formats.UNKNOWN,
) -> Column:  # fmt: skip
    """The column of a field; as in bcc's tools where they have it, too."""
    field = BY_KEY[key]
    return Column(field.json, title or field.json.upper(), field.values, show, width, field.foreign, unknown, wide)


def everything(records: RecordKinds) -> tuple[Column, ...]:
    """What JSON says of each of ``records``: the same as in snapshots."""
    return tuple(of(field.key) for field in document_fields(records))


def values(read: Reader, write: Formatter) -> Values:
    """Of what is no field of connections."""
    return lambda lines: write(lines, read(lines))


def local_address(lines: LineRows) -> list[Any]:
    """With the device behind it, as ss writes it."""
    addresses = BY_KEY["laddr"].values(lines)
    return [address + device for address, device in zip(addresses, devices(lines), strict=True)]


def query(lines: LineRows) -> list[Any]:
    """The name that was likely looked up."""
    return list(lines.queries) if lines.queries else [None] * len(lines.rows)


def times_ns(lines: LineRows) -> list[int]:
    """CLOCK_MONOTONIC of each line."""
    times: list[int] = BY_KEY["time"].read(lines).values.tolist()
    return times


def wall_clock(lines: LineRows) -> list[Any]:
    """Local time to the ms."""
    return [formats.clock(lines.utc_ns(time_ns)) for time_ns in times_ns(lines)]


def seconds(lines: LineRows) -> list[Any]:
    """Since the first line."""
    return [max(0, time_ns - lines.first_ns) / 1e9 for time_ns in times_ns(lines)]


def ms3(value: float) -> str:
    """As tcpstates prints it."""
    return f"{value:.3f}"


def ms2(value: float) -> str:
    """As tcplife prints it."""
    return f"{value:.2f}"


TIME = Column("time", "TIME", wall_clock, width=12)
SECONDS = Column("seconds", "TIME(s)", seconds, lambda value: f"{value:.6f}", width=10)
UTC = of("time")
SKADDR = of("skaddr", width=16)
PID = of("pid", width=7)
COMM = of("comm", width=10, wide=16)
UID = of("uid", width=6)
IP = of("ip", width=2)
LADDR = of("laddr", width=15, wide=26)
LOCAL = Column("laddr", "LADDR", local_address, width=15, wide=26)
"""In text."""
DEV = of("dev", width=8)
LPORT = of("lport", width=5)
RADDR = of("raddr", width=15, wide=26)
RPORT = of("rport", width=5)
NETNS = of("netns", width=10)
CGROUP = of("cgroup", width=20)
WHY = of("why", unknown="")  # it has not ended
TX_BYTES = of("tx_bytes", width=10)
RX_BYTES = of("rx_bytes", width=10)
RETRANS = of("retrans", width=7)
