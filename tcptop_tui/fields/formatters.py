"""What stands for the values of a column in documents and on the screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from tcptop_tui import formats, safe_text
from tcptop_tui.close_reasons import close_reason_text
from tcptop_tui.fields.connect_results import result_text
from tcptop_tui.fields.field import Formatter
from tcptop_tui.fields.row_context import FieldValues, RowContext
from tcptop_tui.host.hostnames import service_name
from tcptop_tui.records import Flag, HolderLookup, Rows, State

_UNSPECIFIED_ADDRESSES = frozenset({"0.0.0.0", "::"})  # noqa: S104  shown, not bound


class Holder(msgspec.Struct, frozen=True):
    """A process that has a socket open."""

    pid: int
    comm: str | None


def by_value(form: Callable[[Any], Any]) -> Formatter:
    """By the value alone."""
    return lambda _context, column: [
        form(value) if known else None
        for value, known in zip(column.values.tolist(), column.is_known.tolist(), strict=True)
    ]


def by_row_context(form: Callable[[Any, RowContext], Any]) -> Formatter:
    """By the value, and what is known besides."""
    return lambda context, column: by_value(lambda value: form(value, context))(context, column)


def with_field(name: str, form: Callable[[Any, Any], Any]) -> Formatter:
    """By the value, and another column of the same row."""
    return lambda context, column: [
        form(value, other) if known else None
        for value, other, known in zip(
            column.values.tolist(), context.rows[name].tolist(), column.is_known.tolist(), strict=True
        )
    ]


as_is = by_value(lambda value: value)
number = by_value(str)
check_mark = by_value(lambda value: "yes" if value else "")
milliseconds = by_value(lambda value: value / 1e6)
name = by_value(safe_text.clean)
address = by_value(lambda words: formats.address(tuple(words)))
state = by_value(formats.state_name)
close_reason = with_field("err", close_reason_text)
result = with_field("err", result_text)
size = by_value(formats.size_bytes)
duration = by_value(formats.duration_ns)
rtt = by_row_context(lambda value, context: formats.rtt_us(value, context.rtt_unit))
port = by_row_context(lambda value, context: str(value) if context.host_names is None else service_name(value))
login = by_value(lambda value: safe_text.clean(formats.login_name(value) or "") or None)
user = by_value(lambda value: safe_text.clean(formats.user_name(value)))
netns_name = by_row_context(lambda value, context: safe_text.clean(context.names.netns.get(value, "")) or None)
netns = by_row_context(lambda value, context: safe_text.clean(context.names.netns.get(value, str(value))))
cgroup = by_row_context(lambda value, context: safe_text.clean(context.names.cgroups.get(value, str(value))))
device = by_row_context(
    lambda value, context: safe_text.clean(context.names.device(value >> 32, value & 0xFFFF_FFFF)) or None
)
time = by_row_context(lambda value, context: formats.iso_time(context.utc_ns(value)))
clock = by_row_context(lambda value, context: formats.clock(context.utc_ns(value))[:-4])


def cgroup_name(context: RowContext, column: FieldValues) -> list[Any]:
    """The last part of its path."""
    return [path and (path.rpartition("/")[2] or path) for path in cgroup(context, column)]


def devices(context: RowContext) -> list[str]:
    """Behind the address of each row: ``%eth0``, empty where it is bound to none."""
    pairs = zip(context.rows["netns"].tolist(), context.rows["dev"].tolist(), strict=True)
    return [f"%{safe_text.clean(context.names.device(netns, dev))}" if dev else "" for netns, dev in pairs]


def _host(context: RowContext, words: tuple[int, int]) -> str:
    shown = formats.address(words)
    return shown if context.host_names is None or shown in _UNSPECIFIED_ADDRESSES else context.host_names.host(shown)


def local_address(context: RowContext, column: FieldValues) -> list[Any]:
    """With the device behind it, as ss writes it."""
    hosts = (_host(context, (high, low)) for high, low in column.values.tolist())
    return [host + device for host, device in zip(hosts, devices(context), strict=True)]


def _is_listener(context: RowContext) -> list[bool]:
    if not context.has("state"):
        return [False] * len(context.rows)
    return [state == State.LISTEN for state in context.rows["state"].tolist()]


def remote_address(context: RowContext, column: FieldValues) -> list[Any]:
    """``*`` of a listener; of sums, which have no local address, with the link that a link-local one is on."""
    count = len(context.rows)
    local = context.rows["laddr"].tolist() if context.has("laddr") else [[0, 0]] * count
    behind = devices(context) if [0, 0] in local else [""] * count
    lines = zip(column.values.tolist(), local, behind, _is_listener(context), strict=True)
    return [
        "*" if listens else _host(context, (high, low)) + ("" if any(here) else device)
        for (high, low), here, device, listens in lines
    ]


def remote_port(context: RowContext, column: FieldValues) -> list[Any]:
    """``*`` of a listener."""
    return [
        "*" if listens else shown for shown, listens in zip(port(context, column), _is_listener(context), strict=True)
    ]


def process(context: RowContext, column: FieldValues) -> list[Any]:
    """With the number of other processes that have it open."""
    shown = [one or formats.UNKNOWN for one in name(context, column)]
    if not context.has("holders"):
        return shown
    holders = context.rows["holders"].tolist()
    return [formats.name_with_holders(one, count) for one, count in zip(shown, holders, strict=True)]


def opened(flags: int) -> str | None:
    """``connect``, ``accept`` or ``listen``, as far as it was seen."""
    for bit, word in ((Flag.LISTENER, "listen"), (Flag.ACTIVE, "connect"), (Flag.PASSIVE, "accept")):
        if flags & bit:
            return word
    return None


def by_state(counts: list[int]) -> dict[str, int]:
    """Those that there are, by the state that they happened in."""
    return {formats.state_name(number): count for number, count in enumerate(counts) if count}


def states_text(counts: list[int]) -> str | None:
    """``ESTABLISHED 3 LAST_ACK 1``."""
    return " ".join(f"{name} {count}" for name, count in by_state(counts).items()) or None


def holders(context: RowContext, column: FieldValues) -> list[list[Holder] | None]:
    """Every process that has it open; none: nobody can have it; None: nobody has looked."""
    del column
    return [_holders(row, context.holders) for row in context.rows]


def _holders(row: np.void, shared: Rows) -> list[Holder] | None:
    start, end = np.searchsorted(shared["id"], row["id"]), np.searchsorted(shared["id"], row["id"], "right")
    if row["holders"] == 1 and row["pid"]:
        return [_holder(row)]
    if row["holders"] > 1 and end > start:
        return [_holder(one) for one in shared[start:end]]
    return [] if row["holder_lookup"] == HolderLookup.NO_INODE else None


def _holder(row: np.void) -> Holder:
    return Holder(int(row["pid"]), safe_text.clean(bytes(row["comm"])) or None)
