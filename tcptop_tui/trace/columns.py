"""The columns of line streams: each gives one list of values, from which text, CSV and JSON are made.

Most are fields of the registry under the titles of bcc's tools; the streams' own modules put them in order.
"""

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
    """Rows that become lines, a line a row, with what the rows do not carry themselves."""

    first_ns: int = 0
    """CLOCK_MONOTONIC of the stream's first line; seconds are counted from it."""
    queries: Sequence[str | None] = ()
    """For each row the name that was likely looked up for its remote address; empty unless ``connect -d``."""


Values: TypeAlias = Callable[[Any], list[Any]]
"""Gives a value for each line; None where it is not known."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of lines: ``name`` is its key in JSON, ``title`` its header in text and CSV."""

    name: str
    title: str
    values: Values
    show: Callable[[Any], str] = str
    width: int = 0
    """Cells in text. A longer value is not cut, but moves the rest of its line to the right."""
    foreign: bool = False
    """Written by strangers, so CSV quotes what a spreadsheet would take for a formula."""
    unknown: str = formats.UNKNOWN
    """What text shows for None."""
    wide: int = 0
    """The width with ``-w``; 0: the same."""

    def cells(self, *, wide: bool) -> int:
        """Width in text."""
        return self.wide if wide and self.wide else self.width


def field_column(
    key: str, title: str = "", show: Callable[[Any], str] = str, width: int = 0, wide: int = 0,
    unknown: str = formats.UNKNOWN,
) -> Column:  # fmt: skip
    """The column of the registry's field ``key``. Without a ``title`` it is the field's name in JSON, in capitals."""
    field = BY_KEY[key]
    return Column(field.json, title or field.json.upper(), field.values, show, width, field.foreign, unknown, wide)


def json_columns(records: RecordKinds) -> tuple[Column, ...]:
    """Every field that ``records`` have in JSON, the same as in snapshots."""
    return tuple(field_column(field.key) for field in document_fields(records))


def column_values(read: Reader, write: Formatter) -> Values:
    """The values of a column that is not in the registry."""
    return lambda lines: write(lines, read(lines))


def local_address(lines: LineRows) -> list[Any]:
    """The local address with the device behind it, as ss writes it: ``10.0.0.1%eth0``."""
    addresses = BY_KEY["laddr"].values(lines)
    return [address + device for address, device in zip(addresses, devices(lines), strict=True)]


def looked_up_names(lines: LineRows) -> list[Any]:
    """The name that was likely looked up for each remote address."""
    return list(lines.queries) if lines.queries else [None] * len(lines.rows)


def times_ns(lines: LineRows) -> list[int]:
    """CLOCK_MONOTONIC of each line, in ns."""
    times: list[int] = BY_KEY["time"].read(lines).values.tolist()
    return times


def wall_clock(lines: LineRows) -> list[Any]:
    """The local time of day of each line, to the ms."""
    return [formats.clock(lines.utc_ns(time_ns)) for time_ns in times_ns(lines)]


def seconds(lines: LineRows) -> list[Any]:
    """Seconds from the stream's first line to each line."""
    return [max(0, time_ns - lines.first_ns) / 1e9 for time_ns in times_ns(lines)]


def ms3(value: float) -> str:
    """Milliseconds as tcpstates prints them."""
    return f"{value:.3f}"


def ms2(value: float) -> str:
    """Milliseconds as tcplife prints them."""
    return f"{value:.2f}"


TIME = Column("time", "TIME", wall_clock, width=12)
SECONDS = Column("seconds", "TIME(s)", seconds, lambda value: f"{value:.6f}", width=10)
UTC = field_column("time")
SKADDR = field_column("skaddr", width=16)
PID = field_column("pid", width=7)
COMM = field_column("comm", width=10, wide=16)
UID = field_column("uid", width=6)
IP = field_column("ip", width=2)
LADDR = field_column("laddr", width=15, wide=26)
LOCAL = Column("laddr", "LADDR", local_address, width=15, wide=26)
"""The local address in text, where the device stands behind it."""
DEV = field_column("dev", width=8)
LPORT = field_column("lport", width=5)
RADDR = field_column("raddr", width=15, wide=26)
RPORT = field_column("rport", width=5)
NETNS = field_column("netns", width=10)
CGROUP = field_column("cgroup", width=20)
WHY = field_column("why", unknown="")  # empty while the connection has not ended
RETRANS = field_column("retrans", width=7)
