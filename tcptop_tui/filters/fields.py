"""Makes the condition for a field, an operator and a value, by the kind of value that the field takes."""

from __future__ import annotations

import pwd
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

import numpy as np

from tcptop_tui import fields
from tcptop_tui.fields import BY_KEY, Field, ValueKind
from tcptop_tui.fields.row_context import Reader
from tcptop_tui.filters import units
from tcptop_tui.filters.addresses import read_network
from tcptop_tui.filters.close_reasons import read_close_reasons
from tcptop_tui.filters.conditions import (
    AllOf,
    Condition,
    Equal,
    HasCloseReason,
    HasIpVersion,
    HasProcessName,
    InCgroup,
    InNetwork,
    InPortSet,
    InRange,
    InStates,
    OnDevice,
)
from tcptop_tui.filters.errors import quoted_for_message
from tcptop_tui.filters.lexer import Value, ValueForm
from tcptop_tui.filters.place_names import read_cgroup, read_netns
from tcptop_tui.filters.regexes import compile_name_regex
from tcptop_tui.filters.state_names import read_states

Make: TypeAlias = Callable[[str, Value], Condition]
"""Makes a condition of an operator (``: = < <= > >=``) and a value; raises FilterError for what it cannot use."""

_MAX_NAME_BYTES = 15
"""TASK_COMM_LEN of include/linux/sched.h, without its NUL."""


def _plain(make: Make) -> Make:
    """Refuse regular expressions, which only names take."""

    def checked(operator: str, value: Value) -> Condition:
        if value.form is ValueForm.REGEX:
            raise value.error("only comm takes a regular expression")
        return make(operator, value)

    return checked


def _unordered(make: Callable[[Value], Condition]) -> Make:
    """Refuse ``<`` and ``>`` as well, for values that have no order."""

    def checked(operator: str, value: Value) -> Condition:
        if operator not in {":", "="}:
            raise value.error(f"this field has no order for {operator!r}", "use ':'")
        return make(value)

    return _plain(checked)


def _whole_number(read: Reader, number: units.Read) -> Make:
    return _plain(lambda operator, value: InRange(read, *units.integer_interval(operator, value, number)))


def _ports(*names: str) -> Make:
    def make(operator: str, value: Value) -> Condition:
        if operator in {":", "="}:
            low, high = units.port_range(value)
        else:
            low, high = units.integer_interval(operator, value, units.read_port)
        table = np.zeros(units.MAX_PORT + 1, np.bool_)
        table[max(1, low) : high + 1] = True  # 0 is unknown
        return InPortSet(names, table)

    return _plain(make)


def _bytes(field: Field) -> Make:
    """A number of bytes, or with ``/s`` of bytes per second."""

    def make(operator: str, value: Value) -> Condition:
        amount = replace(value, text=value.text.replace("/s", ""))
        if amount.text == value.text or field.per_second is None:
            return InRange(field.read, *units.integer_interval(operator, value, units.read_size_bytes))
        if not value.text.endswith("/s"):
            raise value.error(f"{quoted_for_message(value.text)} is not a rate", "as in 1MB/s")
        return InRange(field.per_second, *units.float_interval(operator, amount, units.read_size_bytes))

    return _plain(make)


def _address(*names: str) -> Make:
    return _unordered(lambda value: _network(names, value))


def _either_address(*names: str) -> Make:
    def make(value: Value) -> Condition:
        if value.text in {"4", "6"}:
            return HasIpVersion(ipv4=value.text == "4")
        return _network(names, value)

    return _unordered(make)


def _network(names: tuple[str, ...], value: Value) -> Condition:
    """A network, perhaps with a device behind it, as lists show it: ``fe80::1%eth0``."""
    address, percent_sign, device = value.text.partition("%")
    if address.startswith("[") and device.endswith("]"):
        address, device = address + "]", device[:-1]
    if percent_sign and not device:
        raise value.error("there is no device behind the %", "as in fe80::1%eth0")
    in_network = InNetwork(names, read_network(replace(value, text=address)))
    return AllOf((in_network, OnDevice(device))) if percent_sign else in_network


def _device(operator: str, value: Value) -> Condition:
    """A device by name, or by index, which has an order."""
    if operator in {":", "="}:
        return OnDevice(value.text)
    return InRange(BY_KEY["ifindex"].read, *units.integer_interval(operator, value, units.read_count))


def _state(value: Value) -> Condition:
    return InStates(frozenset(read_states(value)))


def _close_reason(value: Value) -> Condition:
    return HasCloseReason(frozenset(read_close_reasons(value)))


def _namespace(operator: str, value: Value) -> Condition:
    """A netns by number, which has an order, or by name, which is looked up once, when the filter is parsed."""
    read = BY_KEY["netns"].read
    if re.fullmatch("[0-9]+(-[0-9]+)?", value.text) or operator not in {":", "="}:
        return InRange(read, *units.integer_interval(operator, value, units.read_count))
    inode = read_netns(value)
    return InRange(read, inode, inode)


def _cgroup(value: Value) -> Condition:
    return InCgroup(read_cgroup(value))


def _user(value: Value) -> Condition:
    """A user by number or by name, which is looked up once, when the filter is parsed."""
    number = value.text
    if not re.fullmatch("[0-9]+", number):
        try:
            number = str(pwd.getpwnam(value.text).pw_uid)
        except (KeyError, ValueError):
            raise value.error(
                f"no user {quoted_for_message(value.text)} on this host", "use a name or a number"
            ) from None
    uid = int(units.read_count(replace(value, text=number)))
    return InRange(BY_KEY["uid"].read, uid, uid)


def _comm(operator: str, value: Value) -> Condition:
    """A process name: ``:`` matches a part of it, ``=`` the whole; upper and lower case are the same."""
    if operator not in {":", "="}:
        raise value.error(f"a name has no order for {operator!r}", "use ':' for a part of it, '=' for all")
    if value.form is ValueForm.REGEX:
        return HasProcessName(compile_name_regex(value, whole=operator == "="))
    if len(value.text.encode()) > _MAX_NAME_BYTES:
        raise value.error(
            f"{quoted_for_message(value.text)} cannot be a process name: the kernel keeps {_MAX_NAME_BYTES} bytes",
            "shorten it",
        )
    text = value.text.casefold()
    return HasProcessName(lambda name: text in name.casefold() if operator == ":" else text == name.casefold())


_MAKERS: Final[dict[ValueKind, Callable[[Field], Make]]] = {
    ValueKind.NUMBER: lambda field: _whole_number(field.read, units.read_count),
    ValueKind.COUNT: lambda field: _whole_number(field.read, units.read_count),
    ValueKind.PORT: lambda field: _ports(*field.columns),
    ValueKind.ADDRESS: lambda field: _address(*field.columns),
    ValueKind.VERSION: lambda field: _either_address(*field.columns),
    ValueKind.DEVICE: lambda _: _plain(_device),
    ValueKind.NAME: lambda _: _comm,
    ValueKind.WORD: lambda field: _unordered(lambda value: Equal(field.read, value.text.casefold())),
    ValueKind.USER: lambda _: _unordered(_user),
    ValueKind.NETNS: lambda _: _plain(_namespace),
    ValueKind.CGROUP: lambda _: _unordered(_cgroup),
    ValueKind.STATE: lambda _: _unordered(_state),
    ValueKind.REASON: lambda _: _unordered(_close_reason),
    ValueKind.BYTES: _bytes,
    ValueKind.MICROSECONDS: lambda field: _whole_number(field.read, units.read_duration("ms", "us")),
    ValueKind.NANOSECONDS: lambda field: _whole_number(field.read, units.read_duration("s", "ns")),
}

FIELDS = tuple(field for field in fields.FIELDS if field.names)
"""The fields that filters have."""
BY_NAME = {name: field for field in FIELDS for name in field.names}
"""Fields by name and alias."""
_MAKE: Final = {field.key: _MAKERS[field.parse](field) for field in FIELDS if field.parse}


def compare(name: str, operator: str, value: Value) -> Condition:
    """Make the condition of ``name operator value``; ``name`` is one of ``BY_NAME``.

    Raises:
        FilterError: the field does not take this operator or value.
    """
    return _MAKE[BY_NAME[name].key](operator, value)
