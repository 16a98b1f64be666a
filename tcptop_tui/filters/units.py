"""Parses numbers with units exactly, and turns comparisons with them into intervals."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import TypeAlias

from tcptop_tui.filters.errors import quoted_for_message
from tcptop_tui.filters.lexer import Value

Read: TypeAlias = Callable[[Value], Fraction]
MAX_NUMBER = 2**64 - 1
MAX_PORT = 65535
_MAX_DIGITS = 20  # Python refuses to convert thousands

_COUNT = re.compile(r"[0-9]+")
_MEASURE = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)([^\W0-9]*)")

_DURATION_NS = {
    "ns": 1,
    "us": 10**3,
    "μs": 10**3,  # U+03BC; casefold makes U+00B5 of it as well
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "min": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
}

_SIZE_BYTES = {"b": Fraction(1), "bit": Fraction(1, 8)} | {
    prefix + unit: Fraction(base**power, divisor)
    for power, prefix in enumerate("kmgt", 1)
    for unit, base, divisor in (("", 1024, 1), ("ib", 1024, 1), ("b", 1000, 1), ("bit", 1000, 8))
}


def read_count(value: Value) -> Fraction:
    """Parse a whole number.

    Raises:
        FilterError: it is something else, or above 2^64 - 1.
    """
    if not _COUNT.fullmatch(value.text):
        raise value.error(f"{quoted_for_message(value.text)} is not a whole number")
    return _bounded(Fraction(value.text), value)


def read_port(value: Value) -> Fraction:
    """Parse a port number from 0 to 65535.

    Raises:
        FilterError: it is something else.
    """
    if not _COUNT.fullmatch(value.text):
        raise value.error(f"{quoted_for_message(value.text)} is not a port number", "as in 443 or 8000-8010")
    port = Fraction(value.text[-_MAX_DIGITS:])
    if port > MAX_PORT or len(value.text) > _MAX_DIGITS:
        raise value.error(f"{quoted_for_message(value.text)} is not a port number: they end at {MAX_PORT}")
    return port


def read_duration(default: str, unit: str) -> Read:
    """Make a parser of ``250us``, ``1.5s``, ``1h30m`` that gives a number of ``unit``.

    Args:
        default: unit of a number without one.
        unit: unit of the result.
    """
    read = _reader(_DURATION_NS, default, "use us, ms, s, m, h or d, as in 10ms")
    return lambda value: read(value) / _DURATION_NS[unit]


def _reader(units: dict[str, int] | dict[str, Fraction], default: str, hint: str) -> Read:
    def read(value: Value) -> Fraction:
        pairs = _MEASURE.findall(value.text)
        if not pairs or "".join(number + unit for number, unit in pairs) != value.text:
            raise value.error(f"{quoted_for_message(value.text)} is not a number with a unit", hint)
        total = Fraction(0)
        for number, unit in pairs:
            factor = units.get(unit.casefold() or (default if len(pairs) == 1 else ""))
            if factor is None:
                problem = f"has an unknown unit {quoted_for_message(unit)}" if unit else "has a number without a unit"
                raise value.error(f"{quoted_for_message(value.text)} {problem}", hint)
            total += Fraction(number) * factor
        return _bounded(total, value)

    return read


read_size_bytes = _reader(_SIZE_BYTES, "b", "use B, K (1024), kB (1000), MiB, MB, Mbit, as in 1MB")
"""Parses ``512``, ``10K`` and ``10KiB`` (units of 1,024, as in the table), ``10kB`` (1,000), ``10kbit``."""


def _bounded(number: Fraction, value: Value) -> Fraction:
    if number > MAX_NUMBER:
        raise value.error(f"{quoted_for_message(value.text)} is too large")
    return number


def port_range(value: Value) -> tuple[int, int]:
    """Parse ``443`` or ``8000-8010``, both ends included.

    Raises:
        FilterError: an end is no port from 1 to 65535, or the first one is larger than the second.
    """
    low, high = integer_range(value, read_port)
    if low == 0:
        raise value.error("0 is not a port", f"they run from 1 to {MAX_PORT}")
    return int(low), int(high)


def integer_range(value: Value, read: Read) -> tuple[Fraction, Fraction]:
    """Parse ``80`` or ``8000-8010``, both ends included, with a parser of numbers.

    Raises:
        FilterError: an end cannot be parsed, or the first one is larger than the second.
    """
    first, dash, last = value.text.partition("-")
    low = read(Value(first, value.column, value.form))
    high = read(Value(last, value.column + len(first) + 1, value.form)) if dash else low
    if low > high:
        raise value.error(f"the range {quoted_for_message(value.text)} is the wrong way round", f"write {last}-{first}")
    return low, high


def integer_interval(operator: str, value: Value, read: Read) -> tuple[int, int]:
    """The smallest and the largest whole number of which ``operator value`` is true.

    If the first one is larger than the second, it is true of no number.

    Raises:
        FilterError: ``value`` cannot be parsed.
    """
    if operator in {":", "="}:
        low, high = integer_range(value, read)
        return math.ceil(low), math.floor(high)
    bound = read(value)
    return {
        ">": (math.floor(bound) + 1, MAX_NUMBER),
        ">=": (math.ceil(bound), MAX_NUMBER),
        "<": (0, math.ceil(bound) - 1),
        "<=": (0, math.floor(bound)),
    }[operator]


def float_interval(operator: str, value: Value, read: Read) -> tuple[float, float]:
    """The same for floating-point numbers that are not negative.

    Raises:
        FilterError: ``value`` cannot be parsed.
    """
    if operator in {":", "="}:
        low, high = integer_range(value, read)
        return float(low), float(high)
    bound = float(read(value))
    return {
        ">": (math.nextafter(bound, math.inf), math.inf),
        ">=": (bound, math.inf),
        "<": (0.0, math.nextafter(bound, -math.inf)),
        "<=": (0.0, bound),
    }[operator]
