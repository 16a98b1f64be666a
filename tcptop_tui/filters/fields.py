"""How the values of a filter are read, by what a field is."""

from __future__ import annotations

import pwd
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

import numpy as np

from tcptop_tui import fields
from tcptop_tui.fields import BY_KEY, Field, Parse
from tcptop_tui.fields.subject import Reader
from tcptop_tui.filters import units
from tcptop_tui.filters.addresses import read_network
from tcptop_tui.filters.close_reasons import read_reasons
from tcptop_tui.filters.conditions import (
    AllOf,
    Between,
    Condition,
    EndedBy,
    Equal,
    InCgroup,
    InNetwork,
    InStates,
    InTable,
    Named,
    OfVersion,
    OnDevice,
)
from tcptop_tui.filters.errors import shown
from tcptop_tui.filters.lexer import Form, Value
from tcptop_tui.filters.patterns import name_test
from tcptop_tui.filters.place_names import read_cgroup, read_namespace
from tcptop_tui.filters.states import read_states

Make: TypeAlias = Callable[[str, Value], Condition]
"""From operator (``: = < <= > >=``) and value; raises FilterError for what it cannot use."""

_MAX_NAME_BYTES = 15
"""TASK_COMM_LEN of include/linux/sched.h, without its NUL."""


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


def _whole(read: Reader, number: units.Read) -> Make:
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


def _bytes(field: Field) -> Make:
    """Bytes so far, or with ``/s`` bytes per second."""

    def make(operator: str, value: Value) -> Condition:
        amount = replace(value, text=value.text.replace("/s", ""))
        if amount.text == value.text or field.per_second is None:
            return Between(field.read, *units.whole_interval(operator, value, units.read_size_bytes))
        if not value.text.endswith("/s"):
            raise value.error(f"{shown(value.text)} is not a rate", "as in 1MB/s")
        return Between(field.per_second, *units.real_interval(operator, amount, units.read_size_bytes))

    return _plain(make)


def _address(*names: str) -> Make:
    return _unordered(lambda value: _network(names, value))


def _either_address(*names: str) -> Make:
    def make(value: Value) -> Condition:
        if value.text in {"4", "6"}:
            return OfVersion(ipv4=value.text == "4")
        return _network(names, value)

    return _unordered(make)


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
    return Between(BY_KEY["ifindex"].read, *units.whole_interval(operator, value, units.read_count))


def _state(value: Value) -> Condition:
    return InStates(frozenset(read_states(value)))


def _why(value: Value) -> Condition:
    return EndedBy(frozenset(read_reasons(value)))


def _namespace(operator: str, value: Value) -> Condition:
    """By number, in order; or by name, looked up once, when the filter is read."""
    read = BY_KEY["netns"].read
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
    return Between(BY_KEY["uid"].read, uid, uid)


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


_MAKERS: Final[dict[Parse, Callable[[Field], Make]]] = {
    Parse.NUMBER: lambda field: _whole(field.read, units.read_count),
    Parse.COUNT: lambda field: _whole(field.read, units.read_count),
    Parse.PORT: lambda field: _ports(*field.columns),
    Parse.ADDRESS: lambda field: _address(*field.columns),
    Parse.VERSION: lambda field: _either_address(*field.columns),
    Parse.DEVICE: lambda _: _plain(_device),
    Parse.NAME: lambda _: _comm,
    Parse.WORD: lambda field: _unordered(lambda value: Equal(field.read, value.text.casefold())),
    Parse.USER: lambda _: _unordered(_user),
    Parse.NETNS: lambda _: _plain(_namespace),
    Parse.CGROUP: lambda _: _unordered(_cgroup),
    Parse.STATE: lambda _: _unordered(_state),
    Parse.REASON: lambda _: _unordered(_why),
    Parse.BYTES: _bytes,
    Parse.MICROSECONDS: lambda field: _whole(field.read, units.read_duration("ms", "us")),
    Parse.NANOSECONDS: lambda field: _whole(field.read, units.read_duration("s", "ns")),
}

FIELDS = tuple(field for field in fields.FIELDS if field.names)
"""Those that a filter can ask for."""
BY_NAME = {name: field for field in FIELDS for name in field.names}
"""Every name and alias."""
_MAKE: Final = {field.key: _MAKERS[field.parse](field) for field in FIELDS if field.parse}


def compare(name: str, operator: str, value: Value) -> Condition:
    """What ``name``, one of ``BY_NAME``, with an operator and a value asks for.

    Raises:
        FilterError: the field cannot use it.
    """
    return _MAKE[BY_NAME[name].key](operator, value)
