"""Formats values as text for people, in few cells. ``UNKNOWN`` stands for what is not known, and never for 0."""

from __future__ import annotations

import ipaddress
import math
import pwd
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from tcptop_tui.config.schema import RttUnit
from tcptop_tui.records import UNKNOWN_UID, State

UNKNOWN = "–"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_NS = 86_400 * 10**9
_LINK_LOCAL = 0xFE80 >> 6
_UNITS = ("", "K", "M", "G", "T", "P", "E")


@lru_cache(maxsize=16384)
def address(words: tuple[int, int]) -> str:
    """An address from its two 64-bit words, high and low. IPv4-mapped addresses are written as IPv4."""
    parsed = ipaddress.IPv6Address(words[0] << 64 | words[1])
    return str(parsed.ipv4_mapped or parsed)


def peer_address(words: tuple[int, int], dev: int) -> str:
    """A remote address. A link-local one has the number of the device that its link is at: ``fe80::2%7``."""
    return f"{address(words)}%{dev}" if dev and words[0] >> 54 == _LINK_LOCAL else address(words)


def endpoint(host: str, port: str) -> str:
    """``10.0.0.1:443``, ``[::1]:443``: without brackets the port would look like a part of the address (RFC 3986)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def size_bytes(count: float) -> str:
    """``999``, ``1.2K``, ``34M``, in units of 1,024 as in htop and ls; at most 5 cells."""
    value = float(count)
    for unit in _UNITS:
        if value < 999.5 or unit == _UNITS[-1]:
            break
        value /= 1024
    if not unit or value >= 9.95:
        return f"{value:.0f}{unit}"
    return f"{value:.1f}{unit}"


def rate(bytes_per_s: float) -> str:
    """Bytes per second as ``size_bytes``; the ``/s`` is in the title of the column. NaN is unknown."""
    return UNKNOWN if math.isnan(bytes_per_s) else size_bytes(bytes_per_s)


def duration_ns(span_ns: int) -> str:
    """``87µs``, ``4.2ms``, ``123ms``, ``4.2s``, ``3m05s``, ``2h14m``, ``5d03h``; at most 7 cells."""
    span_us = max(0, span_ns) / 1000
    for limit_us, unit_us, template in _BELOW_A_MINUTE:
        if span_us < limit_us:
            return template.format(span_us / unit_us)
    minutes, seconds = divmod(round(span_us / 1e6), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02}h" if days < 1000 else f"{days}d"
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"


def age_ns(span_ns: int) -> str:
    """``0s``, ``59s``, ``3m05s``, ``14m``, ``2h14m``, ``5d03h``; at most 6 cells.

    For ages that grow on the screen. It has no more digits than matter, because over a slow link each change costs.
    """
    seconds = max(0, span_ns) // 10**9
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 600:
        return f"{seconds // 60}m{seconds % 60:02}s"
    if seconds < 3600:
        return f"{seconds // 60}m"
    return duration_ns(seconds * 10**9)


_BELOW_A_MINUTE = (
    (999.5, 1, "{:.0f}µs"),
    (9_950, 1e3, "{:.1f}ms"),
    (999_500, 1e3, "{:.0f}ms"),
    (59_950_000, 1e6, "{:.1f}s"),
)
"""Durations below so many µs: µs in a unit, and a template for the number in that unit."""


RTT_UNITS = {"auto": "", "us": "µs", "ms": "ms"}
"""How the units that the user can choose for round-trip times are written in titles."""


def rtt_us(span_us: float, unit: RttUnit = "auto") -> str:
    """``87µs``, ``1.24ms``, ``31.0ms``, ``310ms``, ``1.20s``; at most 6 cells.

    With a ``unit`` other than ``auto`` it is a bare number, ``87`` or ``0.087``, so that a column is easy to compare.
    """
    if unit == "us":
        return f"{span_us:.0f}" if span_us < 999_999.5 else f"{span_us / 1e6:.2f}s"
    if unit == "ms":
        span_ms = span_us / 1e3
        return f"{span_ms:.{3 if span_ms < 99 else 1 if span_ms < 9_999 else 0}f}"
    if span_us < 999.5:
        return f"{span_us:.0f}µs"
    value, unit_name = (span_us / 1e3, "ms") if span_us < 999_500 else (span_us / 1e6, "s")
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f}{unit_name}"


def iso_time(utc_ns: int) -> str:
    """A time in UTC to the microsecond, in the form of RFC 3339."""
    moment = _EPOCH + timedelta(microseconds=utc_ns // 1000)
    return moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def clock(utc_ns: int) -> str:
    """``HH:MM:SS.mmm`` in the local time zone."""
    seconds, rest_ns = divmod(utc_ns, 10**9)
    return time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{rest_ns // 10**6:03}"


def clock_or_date(utc_ns: int, now_utc_ns: int) -> str:
    """``15:42`` in the local time zone; ``2026-11-28`` for a time more than a day ago."""
    template = "%H:%M" if now_utc_ns - utc_ns < _DAY_NS else "%Y-%m-%d"
    return time.strftime(template, time.localtime(utc_ns // 10**9))


def percent(share: float) -> str:
    """``0%``, ``<1%``, ``43%``; at most 4 cells. Only 0 itself is written as 0%."""
    if 0 < share < 0.005:
        return "<1%"
    return f"{share:.0%}"


@lru_cache(maxsize=256)
def state_name(number: int) -> str:
    """The kernel's name of a state; ``?14`` for a state that only a newer kernel has."""
    try:
        return State(number).name
    except ValueError:
        return f"?{number}"


def count(number: int) -> str:
    """A whole number with thousands separated."""
    return f"{number:,}"


@lru_cache(maxsize=1024)
def login_name(uid: int) -> str | None:
    """Login name of ``uid``; None where no user has this number."""
    if uid == UNKNOWN_UID:
        return None
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def user_name(uid: int) -> str:
    """Login name of ``uid``, or the number itself where no user has it."""
    if uid == UNKNOWN_UID:
        return UNKNOWN
    return login_name(uid) or str(uid)


def name_with_holders(name: str, holders: int) -> str:
    """The owner's name and the number of other holders: ``nginx +3``."""
    return f"{name} +{holders - 1}" if holders > 1 else name


def process(name: str, pid: int) -> str:
    """A process by its name and PID: ``nginx 812``."""
    return " ".join(filter(None, [name or UNKNOWN, str(pid) if pid else ""]))
