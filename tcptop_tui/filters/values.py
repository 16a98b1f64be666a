"""How the values of terms are spelled: numbers with units, ranges, states, addresses, users."""

from __future__ import annotations

import ipaddress
import pwd
import re
from collections.abc import Callable
from typing import TypeAlias

from tcptop_tui.records import State

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Range: TypeAlias = tuple[float, float]

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zµμ/]*)", re.IGNORECASE)
_TIME_NS = {
    "us": 1e3,
    "µs": 1e3,
    "μs": 1e3,
    "ms": 1e6,
    "": 1e6,
    "s": 1e9,
    "m": 60e9,
    "min": 60e9,
    "h": 3600e9,
    "d": 86400e9,
}
_BYTES = {"": 1.0, "b": 1.0} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("kmgt", 1)
    for suffix, base in (("", 1024), ("b", 1000), ("ib", 1024))
}

_SPELLINGS = {
    "ESTAB": State.ESTABLISHED, "EST": State.ESTABLISHED, "SYNACK": State.SYN_RECV, "SYNRECEIVED": State.SYN_RECV,
    "SYNRCVD": State.SYN_RECV, "FIN1": State.FIN_WAIT1, "FIN2": State.FIN_WAIT2, "TW": State.TIME_WAIT,
    "CLOSED": State.CLOSE, "UNCONN": State.CLOSE, "LISTENING": State.LISTEN,
}  # fmt: skip


def _bare(name: str) -> str:
    return re.sub(r"[-_ ]", "", name).upper()


_STATES = {_bare(state.name): state for state in State} | _SPELLINGS


def state(text: str) -> State:
    """``ESTAB``, ``established``, ``time-wait``, ``FIN_WAIT_1`` and whatever else is usual.

    Raises:
        ValueError: no such state.
    """
    try:
        return _STATES[_bare(text)]
    except KeyError:
        raise ValueError(f"no TCP state {text!r}: use {', '.join(s.name.lower() for s in State)}") from None


def _measure(text: str, units: dict[str, float], example: str) -> float:
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a number, as in {example}")
    factor = units.get(match[2].casefold())
    if factor is None:
        raise ValueError(f"unknown unit {match[2]!r}, as in {example}")
    return float(match[1]) * factor


def time_ns(text: str) -> float:
    """``10ms``, ``250us``, ``1.5s``, ``2m``, ``3h``, ``1d``; without a unit ms.

    Raises:
        ValueError: not one of these.
    """
    return _measure(text, _TIME_NS, "10ms, 1.5s, 2m")


def size_bytes(text: str) -> float:
    """``512``, ``10k`` and ``10KiB`` (1,024 each), ``1MB`` (1,000,000).

    Raises:
        ValueError: not one of these.
    """
    return _measure(text, _BYTES, "512, 10k, 1MB")


def integer(text: str) -> float:
    """A whole number.

    Raises:
        ValueError: not one.
    """
    if not re.fullmatch(r"[0-9]{1,18}", text.strip()):
        raise ValueError(f"{text!r} is not a whole number")
    return float(text)


def port(text: str) -> float:
    """A port.

    Raises:
        ValueError: not a whole number up to 65535.
    """
    value = integer(text)
    if value > 65535:
        raise ValueError(f"{text} is not a port: they end at 65535")
    return value


def span(text: str, read: Callable[[str], float]) -> Range:
    """``80`` or ``8000-8010``, both ends included.

    Raises:
        ValueError: an end cannot be read, or they are the wrong way round.
    """
    low, dash, high = text.partition("-")
    ends = (read(low), read(high if dash else low))
    if ends[0] > ends[1]:
        raise ValueError(f"the range {text} is empty: its ends are the wrong way round")
    return ends


def network(text: str) -> Network:
    """An address or CIDR network; IPv4-mapped IPv6 as IPv4.

    Raises:
        ValueError: neither.
    """
    try:
        found = ipaddress.ip_network(text.strip("[]"), strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is not an address or network, as in 10.0.0.0/8 or ::1") from None
    mapped = found.network_address.ipv4_mapped if isinstance(found, ipaddress.IPv6Network) else None
    if mapped is not None and found.prefixlen >= 96:
        return ipaddress.ip_network((mapped, found.prefixlen - 96), strict=False)
    return found


def user(text: str) -> float:
    """A login name or a number as uid.

    Raises:
        ValueError: no such user.
    """
    if text.isdecimal():
        return integer(text)
    try:
        return float(pwd.getpwnam(text).pw_uid)
    except (KeyError, ValueError):
        raise ValueError(f"no user {text!r} on this host") from None
