"""Single values of a row as documents have them: unknown is None, never 0."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from tcptop_tui import formats, text
from tcptop_tui.close_reasons import reason_text, reasons
from tcptop_tui.records import UNKNOWN_UID, Flag, Rows

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso_time(utc_ns: int) -> str:
    """UTC to the microsecond, as RFC 3339 writes it."""
    moment = _EPOCH + timedelta(microseconds=utc_ns // 1000)
    return moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def nonzero(value: np.generic) -> int | None:
    """None for 0, which stands for unknown."""
    return int(value) or None


def seconds(now_ns: int, began_ns: np.generic) -> float | None:
    """Never below 0: a connection may begin while the table is read, after its ``now_ns``."""
    return round(max(0, now_ns - int(began_ns)) / 1e9, 6) if began_ns else None


def rate(value: float) -> float | None:
    """None for NaN."""
    return None if math.isnan(value) else round(float(value), 1)


def address(words: NDArray[np.uint64]) -> str:
    """IPv4-mapped addresses as IPv4."""
    return formats.address((int(words[0]), int(words[1])))


def known_uid(value: np.generic) -> int | None:
    """None where nobody owns it."""
    return None if int(value) == UNKNOWN_UID else int(value)


def user(uid: int | None) -> str | None:
    """Login name, where there is one."""
    name = None if uid is None else formats.login_name(uid)
    return None if name is None else text.clean(name)


def gauge(row: np.void, name: str) -> int | None:
    """A counter, None where the gauges were not read."""
    return int(row[name]) if row["flags"] & Flag.GAUGES else None


def state(number: np.generic) -> str | None:
    """None for 0."""
    return formats.state_name(int(number)) if number else None


def comm(row: np.void) -> str | None:
    """The process's name, harmless."""
    return text.clean(bytes(row["comm"])) or None


def whys(rows: Rows) -> list[str | None]:
    """How each of ``rows`` ended, shape (n,); None for what has not."""
    pairs = zip(reasons(rows).tolist(), rows["err"].tolist(), strict=True)
    return [reason_text(code, err) or None for code, err in pairs]


def opened(row: np.void) -> str | None:
    """``connect``, ``accept`` or ``listen``, as far as it was seen."""
    for bit, word in ((Flag.LISTENER, "listen"), (Flag.ACTIVE, "connect"), (Flag.PASSIVE, "accept")):
        if row["flags"] & bit:
            return word
    return None


def retrans_in(row: np.void) -> dict[str, int]:
    """Retransmits by the state they happened in."""
    return {formats.state_name(number): int(count) for number, count in enumerate(row["retrans_in"]) if count}
