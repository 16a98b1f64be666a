"""Formatters: they make texts for people, or values for documents, of the values of a column."""

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
    """A formatter that makes its text of the value alone."""
    return lambda _context, column: [
        form(value) if is_known else None
        for value, is_known in zip(column.values.tolist(), column.is_known.tolist(), strict=True)
    ]


def by_row_context(form: Callable[[Any, RowContext], Any]) -> Formatter:
    """A formatter that needs names, units or clocks of the row context as well."""
    return lambda context, column: by_value(lambda value: form(value, context))(context, column)


def with_field(name: str, form: Callable[[Any, Any], Any]) -> Formatter:
    """A formatter that needs another member of the same row as well."""
    return lambda context, column: [
        form(value, other) if is_known else None
        for value, other, is_known in zip(
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
    """The last part of the cgroup's path."""
    return [path and (path.rpartition("/")[2] or path) for path in cgroup(context, column)]


def devices(context: RowContext) -> list[str]:
    """What is written behind each row's address: ``%eth0``, empty where the socket is bound to no device."""
    pairs = zip(context.rows["netns"].tolist(), context.rows["dev"].tolist(), strict=True)
    return [f"%{safe_text.clean(context.names.device(netns, dev))}" if dev else "" for netns, dev in pairs]


def _host(context: RowContext, words: tuple[int, int]) -> str:
    text = formats.address(words)
    return text if context.host_names is None or text in _UNSPECIFIED_ADDRESSES else context.host_names.host(text)


def local_address(context: RowContext, column: FieldValues) -> list[Any]:
    """The address with the device behind it, as ss writes it."""
    hosts = (_host(context, (high, low)) for high, low in column.values.tolist())
    return [host + device for host, device in zip(hosts, devices(context), strict=True)]


def _is_listener(context: RowContext) -> list[bool]:
    if not context.has("state"):
        return [False] * len(context.rows)
    return [state == State.LISTEN for state in context.rows["state"].tolist()]


def remote_address(context: RowContext, column: FieldValues) -> list[Any]:
    """The address; ``*`` of a listener.

    Sums have no local address that could name the link of a link-local one, so that the device is written behind it.
    """
    count = len(context.rows)
    local = context.rows["laddr"].tolist() if context.has("laddr") else [[0, 0]] * count
    suffixes = devices(context) if [0, 0] in local else [""] * count
    columns = zip(column.values.tolist(), local, suffixes, _is_listener(context), strict=True)
    return [
        "*" if is_listener else _host(context, (high, low)) + ("" if any(laddr) else suffix)
        for (high, low), laddr, suffix, is_listener in columns
    ]


def remote_port(context: RowContext, column: FieldValues) -> list[Any]:
    """The port or the service's name; ``*`` of a listener."""
    texts = zip(port(context, column), _is_listener(context), strict=True)
    return ["*" if is_listener else text for text, is_listener in texts]


def process(context: RowContext, column: FieldValues) -> list[Any]:
    """The owner's name, and the number of other holders."""
    names = [text or formats.UNKNOWN for text in name(context, column)]
    if not context.has("holders"):
        return names
    counts = context.rows["holders"].tolist()
    return [formats.name_with_holders(text, count) for text, count in zip(names, counts, strict=True)]


def opened(flags: int) -> str | None:
    """``connect``, ``accept`` or ``listen``; None where nobody saw the connection begin."""
    for bit, word in ((Flag.LISTENER, "listen"), (Flag.ACTIVE, "connect"), (Flag.PASSIVE, "accept")):
        if flags & bit:
            return word
    return None


def by_state(counts: list[int]) -> dict[str, int]:
    """Counts that are not 0, by name of the state."""
    return {formats.state_name(number): count for number, count in enumerate(counts) if count}


def states_text(counts: list[int]) -> str | None:
    """``ESTABLISHED 3 LAST_ACK 1``."""
    return " ".join(f"{name} {count}" for name, count in by_state(counts).items()) or None


def holders(context: RowContext, column: FieldValues) -> list[list[Holder] | None]:
    """All holders of each row; an empty list where no process has it open, None where nobody has looked."""
    del column
    return [_holders(row, context.holders) for row in context.rows]


def _holders(row: np.void, holdings: Rows) -> list[Holder] | None:
    ids = holdings["id"]
    start, end = np.searchsorted(ids, row["id"]), np.searchsorted(ids, row["id"], "right")
    if row["holders"] == 1 and row["pid"]:
        return [_holder(row)]
    if row["holders"] > 1 and end > start:
        return [_holder(holding) for holding in holdings[start:end]]
    return [] if row["holder_lookup"] == HolderLookup.NO_INODE else None


def _holder(row: np.void) -> Holder:
    return Holder(int(row["pid"]), safe_text.clean(bytes(row["comm"])) or None)
