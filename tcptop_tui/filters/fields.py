"""The fields of the language, as data: names, meaning, and how each is compared."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.filters import values
from tcptop_tui.filters.subject import Numbers, Subject
from tcptop_tui.records import UNKNOWN_UID, Mask, is_ipv4

Test: TypeAlias = Callable[[Subject], Mask]
"""Shape (n,) for a subject of n rows."""

Column: TypeAlias = Callable[[Subject], Numbers]

Make: TypeAlias = Callable[[str, str], Test]
"""(operator, value) to a test; ValueError with what is wrong about the value."""

_OPERATORS: dict[str, Callable[[Numbers, float], Any]] = {
    ">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal, "=": np.equal,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Field:
    """One field; ``make(operator, value)`` reads a value and gives a test for it.

    ``make`` raises ValueError with what is wrong about the value.
    """

    name: str
    aliases: tuple[str, ...]
    example: str
    meaning: str
    make: Make


def either(tests: list[Test]) -> Test:
    """True where any of ``tests`` is."""
    return lambda subject: reduce(np.logical_or, (test(subject) for test in tests))


def _numbers(read: Callable[[str], float], *columns: Column) -> Make:
    """A field of numbers: ranges with ``:``, comparisons otherwise, in any of ``columns``."""

    def make(operator: str, text: str) -> Test:
        if operator == ":":
            return either([_inside(column, *values.span(text, read)) for column in columns])
        return either([_compared(column, _OPERATORS[operator], read(text)) for column in columns])

    return make


def _inside(column: Column, low: float, high: float) -> Test:
    return lambda subject: (column(subject) >= low) & (column(subject) <= high)


def _compared(column: Column, compare: Callable[[Numbers, float], Mask], bound: float) -> Test:
    return lambda subject: compare(column(subject), bound)


def _user(text: str) -> Test:
    """One user: a login name may have a dash, so there are no ranges."""
    uid = int(values.user(text))
    return lambda subject: (subject.rows["uid"] == uid) & (uid != UNKNOWN_UID)


def _nonzero(name: str) -> Column:
    return lambda subject: subject.nonzero(name)


def _gauge(name: str) -> Column:
    return lambda subject: subject.gauge(name)


def _equal_only(make: Callable[[str], Test]) -> Make:
    def checked(operator: str, text: str) -> Test:
        if operator not in {":", "="}:
            raise ValueError("it has no order: use ':'")
        return make(text)

    return checked


def _state(text: str) -> Test:
    wanted = values.state(text)
    return lambda subject: reduce(np.logical_or, (column == wanted for column in subject.states()))


def _address(*names: str) -> Callable[[str], Test]:
    """Addresses, networks, or ``4`` and ``6`` for a version."""

    def make(text: str) -> Test:
        if text in {"4", "6"}:
            return lambda subject: is_ipv4(subject.rows[names[0]]) == (text == "4")
        wanted = values.network(text)
        return lambda subject: reduce(np.logical_or, (_within(subject.rows[name], wanted) for name in names))

    return make


def _within(addresses: NDArray[np.uint64], network: values.Network) -> Mask:
    """Which of ``addresses`` (shape (n, 2), IPv6 form) lie in ``network``."""
    if isinstance(network, ipaddress.IPv4Network):
        low, prefix = 0xFFFF << 32 | int(network.network_address), network.prefixlen + 96
    else:
        low, prefix = int(network.network_address), network.prefixlen
    mask = ((1 << 128) - 1) >> (128 - prefix) << (128 - prefix)
    words = [(addresses[:, at].astype("<u8"), 64 * (1 - at)) for at in (0, 1)]
    parts = [
        (word & np.uint64(mask >> shift & (2**64 - 1))) == np.uint64(low >> shift & (2**64 - 1))
        for word, shift in words
    ]
    inside: Mask = parts[0] & parts[1]
    return inside


def _comm(text: str) -> Test:
    """Part of a process name in any case, or ``/regular expression/``."""
    if len(text) > 1 and text[0] == text[-1] == "/":
        try:
            search = re.compile(text[1:-1], re.IGNORECASE).search
        except re.error as error:
            raise ValueError(f"the regular expression does not compile: {error}") from None
        return lambda subject: _named(subject, lambda name: search(name) is not None)
    part = text.casefold()
    return lambda subject: _named(subject, lambda name: part in name.casefold())


def _named(subject: Subject, matches: Callable[[str], bool]) -> Mask:
    """Ask once for each different name, not once a row."""
    names, rows = np.unique(subject.rows["comm"], return_inverse=True)
    wanted = np.array([bool(name) and matches(name.decode("utf-8", "replace")) for name in names.tolist()], np.bool_)
    mask: Mask = wanted[rows] if len(names) else np.zeros(0, np.bool_)
    return mask


def _traffic(name: str) -> Make:
    """Bytes so far, or with ``/s`` bytes per second."""
    total = _numbers(values.size_bytes, lambda s: s.gauge(f"{name}_bytes"))
    pace = _numbers(values.size_bytes, lambda s: s.rate(s.tx_rate if name == "tx" else s.rx_rate))

    def make(operator: str, text: str) -> Test:
        amount = text.removesuffix("/s")
        return total(operator, text) if amount == text else pace(operator, amount)

    return make


FIELDS = (
    Field(
        "port",
        (),
        "443  port:80,443  8000-8010",
        "port at either end",
        _numbers(values.port, _nonzero("lport"), _nonzero("rport")),
    ),
    Field("lport", ("sport",), "lport:22", "local port", _numbers(values.port, _nonzero("lport"))),
    Field("rport", ("dport",), "rport:1000-2000", "remote port", _numbers(values.port, _nonzero("rport"))),
    Field(
        "comm",
        ("process", "proc"),
        "nginx  comm:nginx  /^ng/",
        "part of the process name, or /regular expression/",
        _equal_only(_comm),
    ),
    Field("pid", (), "pid:812", "process", _numbers(values.integer, _nonzero("pid"))),
    Field(
        "user",
        ("uid",),
        "user:www-data",
        "owner of the socket, name or number",
        _equal_only(_user),
    ),
    Field("state", (), "state:estab,close-wait", "TCP state, in any usual spelling", _equal_only(_state)),
    Field(
        "ip",
        ("addr",),
        "10.0.0.0/8  ip:::1  ip:6",
        "address at either end, or version",
        _equal_only(_address("laddr", "raddr")),
    ),
    Field("laddr", ("src",), "laddr:127.0.0.1", "local address", _equal_only(_address("laddr"))),
    Field("raddr", ("dst",), "raddr:::1", "remote address", _equal_only(_address("raddr"))),
    Field(
        "rtt",
        ("srtt",),
        "rtt>10ms",
        "smoothed round-trip time",
        _numbers(values.time_ns, lambda s: s.nonzero("srtt_us") * 1000),
    ),
    Field("age", (), "age>1m", "time since it was opened", _numbers(values.time_ns, Subject.age_ns)),
    Field(
        "instate", ("since",), "instate>3h", "time in the present state", _numbers(values.time_ns, Subject.in_state_ns)
    ),
    Field("retrans", ("retr",), "retrans>0", "retransmitted segments", _numbers(values.integer, _gauge("retrans"))),
    Field("tx", (), "tx>10k  tx>1MB/s", "bytes sent, or per second", _traffic("tx")),
    Field("rx", (), "rx>10k  rx>1MB/s", "bytes received, or per second", _traffic("rx")),
    Field("netns", (), "netns:4026531840", "network namespace", _numbers(values.integer, _nonzero("netns"))),
)

BY_NAME = {name: field for field in FIELDS for name in (field.name, *field.aliases)}
