"""The fields of the language, as data: names, meaning, and the condition a value makes."""

from __future__ import annotations

import pwd
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from tcptop_tui.filters import subject as columns
from tcptop_tui.filters import units
from tcptop_tui.filters.addresses import read_network
from tcptop_tui.filters.conditions import (
    AllOf,
    Between,
    Condition,
    EndedBy,
    InCgroup,
    InNetwork,
    InStates,
    InTable,
    Named,
    OfVersion,
    OnDevice,
)
from tcptop_tui.filters.ends import read_reasons
from tcptop_tui.filters.errors import shown
from tcptop_tui.filters.lexer import Form, Value
from tcptop_tui.filters.patterns import name_test
from tcptop_tui.filters.places import read_cgroup, read_namespace
from tcptop_tui.filters.states import read_states

Make: TypeAlias = Callable[[str, Value], Condition]
"""From operator (``: = < <= > >=``) and value; raises FilterError for what it cannot use."""

_MAX_NAME_BYTES = 15
"""TASK_COMM_LEN of include/linux/sched.h, without its NUL."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field; ``example`` is a filter that parses."""

    name: str
    aliases: tuple[str, ...]
    example: str
    meaning: str
    make: Make = field(repr=False, compare=False)


def _plain(make: Make) -> Make:
    """For values that are not names: without a regular expression."""

    def checked(operator: str, value: Value) -> Condition:
        if value.form is Form.REGEX:
            raise value.error("only comm takes a regular expression")
        return make(operator, value)

    return checked


def _unordered(make: Callable[[Value], Condition]) -> Make:
    """For values that are the same or not, but not larger or smaller."""

    def checked(operator: str, value: Value) -> Condition:
        if operator not in {":", "="}:
            raise value.error(f"this field has no order for {operator!r}", "use ':'")
        return make(value)

    return _plain(checked)


def _whole(read: columns.Reader, number: units.Read) -> Make:
    return _plain(lambda operator, value: Between(read, *units.whole_interval(operator, value, number)))


def _ports(*names: str) -> Make:
    def make(operator: str, value: Value) -> Condition:
        if operator in {":", "="}:
            low, high = units.port_range(value)
        else:
            low, high = units.whole_interval(operator, value, units.read_port)
        table = np.zeros(units.MAX_PORT + 1, np.bool_)
        table[max(1, low) : high + 1] = True  # 0 is unknown
        return InTable(names, table)

    return _plain(make)


def _traffic(total: columns.Reader, rate: columns.Reader) -> Make:
    """Bytes so far, or with ``/s`` bytes per second."""

    def make(operator: str, value: Value) -> Condition:
        amount = replace(value, text=value.text.replace("/s", ""))
        if amount.text == value.text:
            return Between(total, *units.whole_interval(operator, value, units.read_size_bytes))
        if not value.text.endswith("/s"):
            raise value.error(f"{shown(value.text)} is not a rate", "as in 1MB/s")
        return Between(rate, *units.real_interval(operator, amount, units.read_size_bytes))

    return _plain(make)


def _address(*names: str) -> Make:
    return _unordered(lambda value: _network(names, value))


def _either_address(value: Value) -> Condition:
    if value.text in {"4", "6"}:
        return OfVersion(ipv4=value.text == "4")
    return _network(("laddr", "raddr"), value)


def _network(names: tuple[str, ...], value: Value) -> Condition:
    """With a device behind it, as it is shown: ``fe80::1%eth0``."""
    address, mark, device = value.text.partition("%")
    if address.startswith("[") and device.endswith("]"):
        address, device = address + "]", device[:-1]
    if mark and not device:
        raise value.error("there is no device behind the %", "as in fe80::1%eth0")
    inside = InNetwork(names, read_network(replace(value, text=address)))
    return AllOf((inside, OnDevice(device))) if mark else inside


def _device(operator: str, value: Value) -> Condition:
    """By name; or by number, in order."""
    if operator in {":", "="}:
        return OnDevice(value.text)
    return Between(columns.nonzero("dev"), *units.whole_interval(operator, value, units.read_count))


def _state(value: Value) -> Condition:
    return InStates(frozenset(read_states(value)))


def _why(value: Value) -> Condition:
    return EndedBy(frozenset(read_reasons(value)))


def _namespace(operator: str, value: Value) -> Condition:
    """By number, in order; or by name, looked up once, when the filter is read."""
    read = columns.nonzero("netns")
    if re.fullmatch("[0-9]+(-[0-9]+)?", value.text) or operator not in {":", "="}:
        return Between(read, *units.whole_interval(operator, value, units.read_count))
    inode = read_namespace(value)
    return Between(read, inode, inode)


def _cgroup(value: Value) -> Condition:
    return InCgroup(read_cgroup(value))


def _user(value: Value) -> Condition:
    """Look a name up once, when the filter is read."""
    number = value.text
    if not re.fullmatch("[0-9]+", number):
        try:
            number = str(pwd.getpwnam(value.text).pw_uid)
        except (KeyError, ValueError):
            raise value.error(f"no user {shown(value.text)} on this host", "use a name or a number") from None
    uid = int(units.read_count(replace(value, text=number)))
    return Between(columns.uid, uid, uid)


def _comm(operator: str, value: Value) -> Condition:
    """``:`` finds a part of the name, ``=`` the whole of it; case does not matter."""
    if operator not in {":", "="}:
        raise value.error(f"a name has no order for {operator!r}", "use ':' for a part of it, '=' for all")
    if value.form is Form.REGEX:
        return Named(name_test(value, whole=operator == "="))
    if len(value.text.encode()) > _MAX_NAME_BYTES:
        raise value.error(
            f"{shown(value.text)} cannot be a process name: the kernel keeps {_MAX_NAME_BYTES} bytes",
            "shorten it",
        )
    wanted = value.text.casefold()
    return Named(lambda name: wanted in name.casefold() if operator == ":" else wanted == name.casefold())


FIELDS = (
    Field("port", (), "443  port:80,8000-8010", "port at either end; a number alone is one",
          _ports("lport", "rport")),
    Field("lport", ("sport",), "lport:22  lport<1024", "local port", _ports("lport")),
    Field("rport", ("dport",), "rport:1000-2000", "remote port", _ports("rport")),
    Field("ip", ("addr",), "10.0.0.0/8  ip:::1  ip:6", "address or network at either end, or version 4 or 6; "
          "an address alone is one", _unordered(_either_address)),
    Field("laddr", ("src",), "laddr:127.0.0.1", "local address or network", _address("laddr")),
    Field("raddr", ("dst",), "raddr:fe80::/10", "remote address or network", _address("raddr")),
    Field("dev", ("device", "iface"), "dev:eth0,wg0", "network device that the socket is bound to, by name or number; "
          "dev>0: any", _plain(_device)),
    Field("comm", ("process", "proc"), "nginx  comm=ssh  /^ng/", "part of the process name, in any case (= all of it, "
          '/regular expression/, "quoted"); a word alone is one', _comm),
    Field("pid", (), "pid:812", "process number", _whole(columns.nonzero("pid"), units.read_count)),
    Field("user", (), "user:root", "owner of the socket, by name or number", _unordered(_user)),
    Field("uid", (), "uid>=1000", "owner of the socket, by number", _whole(columns.uid, units.read_count)),
    Field("netns", (), "netns:4026531840", "network namespace, by inode number or by its name in ip netns",
          _plain(_namespace)),
    Field("cgroup", (), "cgroup:1032", "cgroup (v2) and all below it, by its path as /system.slice or its number",
          _unordered(_cgroup)),
    Field("state", (), "state:estab,close_wait", "TCP state (of a transition the old or new one), or ss's "
          "connected, synchronized, bucket, big", _unordered(_state)),
    Field("why", ("reason",), "why:refused,timeout", "how it ended: fin, fin-by-us, fin-by-peer, reset, "
          "reset-sent, reset-received, refused, timeout, unreachable, given-up, no-port, aborted, nothing-sent, error",
          _unordered(_why)),
    Field("rtt", ("srtt",), "rtt>10ms", "smoothed round-trip time; us, ms (when no unit is given), s",
          _whole(columns.rtt_ns, units.read_duration_ns("ms"))),
    Field("age", (), "age>1m", "time since it was opened; s (when no unit is given), m, h, d",
          _whole(columns.age_ns, units.read_duration_ns("s"))),
    Field("instate", ("since",), "instate>2h30m", "time in the state, of a transition in the old one; as age",
          _whole(columns.in_state_ns, units.read_duration_ns("s"))),
    Field("retrans", ("retr",), "retrans>0", "segments sent again",
          _whole(columns.gauge("retrans"), units.read_count)),
    Field("tx", (), "tx>10K  tx>1MB/s", "bytes sent, or per second; K KiB MiB: 1024s, kB MB: 1000s, Mbit: bits",
          _traffic(columns.gauge("tx_bytes"), columns.tx_rate)),
    Field("rx", (), "rx:0  rx>1MB/s", "bytes received, or per second; units as tx",
          _traffic(columns.gauge("rx_bytes"), columns.rx_rate)),
)  # fmt: skip

BY_NAME = {name: found for found in FIELDS for name in (found.name, *found.aliases)}
"""Every name and alias."""
