"""What stands for the values of a column in documents and on the screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from tcptop_tui import formats, text
from tcptop_tui.close_reasons import reason_text
from tcptop_tui.fields.field import Form
from tcptop_tui.fields.results import result_text
from tcptop_tui.fields.subject import Column, Subject
from tcptop_tui.host.hostnames import service
from tcptop_tui.records import Flag, Looked, Rows, State

_NOBODY = frozenset({"0.0.0.0", "::"})  # noqa: S104  shown, not bound


class Holder(msgspec.Struct, frozen=True):
    """A process that has a socket open."""

    pid: int
    comm: str | None


def each(form: Callable[[Any], Any]) -> Form:
    """By the value alone."""
    return lambda _subject, column: [
        form(value) if known else None
        for value, known in zip(column.values.tolist(), column.known.tolist(), strict=True)
    ]


def by_subject(form: Callable[[Any, Subject], Any]) -> Form:
    """By the value, and what is known besides."""
    return lambda subject, column: each(lambda value: form(value, subject))(subject, column)


def _beside(name: str, form: Callable[[Any, Any], Any]) -> Form:
    """By the value, and another column of the same row."""
    return lambda subject, column: [
        form(value, other) if known else None
        for value, other, known in zip(
            column.values.tolist(), subject.rows[name].tolist(), column.known.tolist(), strict=True
        )
    ]


as_is = each(lambda value: value)
number = each(str)
mark = each(lambda value: "yes" if value else "")
milliseconds = each(lambda value: value / 1e6)
name = each(text.clean)
address = each(lambda words: formats.address(tuple(words)))
state = each(formats.state_name)
why = _beside("err", reason_text)
result = _beside("err", result_text)
size = each(formats.size_bytes)
duration = each(formats.duration_ns)
rtt = by_subject(lambda value, subject: formats.rtt_us(value, subject.rtt_unit))
port = by_subject(lambda value, subject: str(value) if subject.hosts is None else service(value))
login = each(lambda value: text.clean(formats.login_name(value) or "") or None)
user = each(lambda value: text.clean(formats.user_name(value)))
netns_name = by_subject(lambda value, subject: text.clean(subject.names.netns.get(value, "")) or None)
netns = by_subject(lambda value, subject: text.clean(subject.names.netns.get(value, str(value))))
cgroup = by_subject(lambda value, subject: text.clean(subject.names.cgroups.get(value, str(value))))
device = by_subject(lambda value, subject: text.clean(subject.names.device(value >> 32, value & 0xFFFF_FFFF)) or None)
time = by_subject(lambda value, subject: formats.iso_time(subject.utc_ns(value)))
clock = by_subject(lambda value, subject: formats.clock(subject.utc_ns(value))[:-4])


def cgroup_name(subject: Subject, column: Column) -> list[Any]:
    """The last part of its path."""
    return [path and (path.rpartition("/")[2] or path) for path in cgroup(subject, column)]


def devices(subject: Subject) -> list[str]:
    """Behind the address of each row: ``%eth0``, empty where it is bound to none."""
    pairs = zip(subject.rows["netns"].tolist(), subject.rows["dev"].tolist(), strict=True)
    return [f"%{text.clean(subject.names.device(netns, dev))}" if dev else "" for netns, dev in pairs]


def _host(subject: Subject, words: tuple[int, int]) -> str:
    shown = formats.address(words)
    return shown if subject.hosts is None or shown in _NOBODY else subject.hosts.host(shown)


def local_address(subject: Subject, column: Column) -> list[Any]:
    """With the device behind it, as ss writes it."""
    hosts = (_host(subject, (high, low)) for high, low in column.values.tolist())
    return [host + device for host, device in zip(hosts, devices(subject), strict=True)]


def _listens(subject: Subject) -> list[bool]:
    if not subject.has("state"):
        return [False] * len(subject.rows)
    return [state == State.LISTEN for state in subject.rows["state"].tolist()]


def remote_address(subject: Subject, column: Column) -> list[Any]:
    """``*`` of a listener; of sums, which have no local address, with the link that a link-local one is on."""
    count = len(subject.rows)
    local = subject.rows["laddr"].tolist() if subject.has("laddr") else [[0, 0]] * count
    behind = devices(subject) if [0, 0] in local else [""] * count
    lines = zip(column.values.tolist(), local, behind, _listens(subject), strict=True)
    return [
        "*" if listens else _host(subject, (high, low)) + ("" if any(here) else device)
        for (high, low), here, device, listens in lines
    ]


def remote_port(subject: Subject, column: Column) -> list[Any]:
    """``*`` of a listener."""
    return ["*" if listens else shown for shown, listens in zip(port(subject, column), _listens(subject), strict=True)]


def process(subject: Subject, column: Column) -> list[Any]:
    """With the number of other processes that have it open."""
    shown = [one or formats.UNKNOWN for one in name(subject, column)]
    if not subject.has("holders"):
        return shown
    holders = subject.rows["holders"].tolist()
    return [formats.shared_name(one, count) for one, count in zip(shown, holders, strict=True)]


def opened(flags: int) -> str | None:
    """``connect``, ``accept`` or ``listen``, as far as it was seen."""
    for bit, word in ((Flag.LISTENER, "listen"), (Flag.ACTIVE, "connect"), (Flag.PASSIVE, "accept")):
        if flags & bit:
            return word
    return None


def by_state(counts: list[int]) -> dict[str, int]:
    """Those that there are, by the state that they happened in."""
    return {formats.state_name(number): count for number, count in enumerate(counts) if count}


def counted_states(counts: list[int]) -> str | None:
    """``ESTABLISHED 3 LAST_ACK 1``."""
    return " ".join(f"{name} {count}" for name, count in by_state(counts).items()) or None


def holders(subject: Subject, column: Column) -> list[list[Holder] | None]:
    """Every process that has it open; none: nobody can have it; None: nobody has looked."""
    del column
    return [_holders(row, subject.holders) for row in subject.rows]


def _holders(row: np.void, shared: Rows) -> list[Holder] | None:
    start, end = np.searchsorted(shared["id"], row["id"]), np.searchsorted(shared["id"], row["id"], "right")
    if row["holders"] == 1 and row["pid"]:
        return [_holder(row)]
    if row["holders"] > 1 and end > start:
        return [_holder(one) for one in shared[start:end]]
    return [] if row["looked"] == Looked.CLOSED else None


def _holder(row: np.void) -> Holder:
    return Holder(int(row["pid"]), text.clean(bytes(row["comm"])) or None)
