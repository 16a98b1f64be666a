"""An alert as one line of text, for the screen and for documents.

Numbers and ages are rounded so that the line does not change each second: over a slow link each change costs.
"""

from __future__ import annotations

from tcptop_tui import formats, safe_text
from tcptop_tui.close_reasons import close_reason_text
from tcptop_tui.model.alert_kinds import (
    AcceptQueueAlert,
    Alert,
    CloseWaitAlert,
    FailedConnectsAlert,
    RetransmitAlert,
    SlowAddressAlert,
    UnansweredAlert,
)


def alert_text(alert: Alert) -> str:
    """What is wrong: ``nginx 812: 210+ in CLOSE_WAIT, oldest 3h00m``.

    Raises:
        TypeError: there is no text for an alert of this class.
    """
    match alert:
        case CloseWaitAlert():
            return _close_wait_text(alert)
        case AcceptQueueAlert():
            return _accept_queue_text(alert)
        case UnansweredAlert(count=count, oldest_age_ns=age_ns):
            address = formats.peer_address(alert.raddr, alert.dev)
            return f"{address} does not answer: {_rounded_count(count)} in SYN_SENT, oldest {_rounded_age(age_ns)}"
        case FailedConnectsAlert():
            return _failed_connects_text(alert)
        case SlowAddressAlert(average_us=average_us, usual_us=usual_us):
            address = formats.peer_address(alert.raddr, alert.dev)
            return f"{address}: round-trip time {formats.rtt_us(average_us)}, usually {formats.rtt_us(usual_us)}"
        case RetransmitAlert(per_second=per_second, usual_per_second=usual):
            return f"{_rounded_count(round(per_second))} segments a second are sent again, usually {usual:.0f}"
    raise TypeError(type(alert).__name__)


def _close_wait_text(alert: CloseWaitAlert) -> str:
    process = formats.process(safe_text.clean(alert.comm), alert.pid)
    oldest = "" if alert.oldest_age_ns is None else f", oldest {_rounded_age(alert.oldest_age_ns)}"
    return f"{process}: {_rounded_count(alert.count)} in CLOSE_WAIT{oldest}"


def _accept_queue_text(alert: AcceptQueueAlert) -> str:
    name = safe_text.clean(alert.comm) or formats.UNKNOWN
    verb = "is full" if alert.waiting > alert.backlog else "fills up"
    return f"{name}: accept queue of port {alert.port} {verb}, {alert.waiting} of {alert.backlog}"


def _failed_connects_text(alert: FailedConnectsAlert) -> str:
    address, count = formats.peer_address(alert.raddr, alert.dev), _rounded_count(alert.count)
    reason = close_reason_text(alert.result, alert.err)
    return f"{address} port {alert.port}: {count} connects failed in {alert.period_s} s, {reason}"


def _rounded_age(span_ns: int) -> str:
    """``under 10 s``, ``50 s``, ``15m``, ``2h14m``."""
    seconds = span_ns // 10**9
    if seconds < 10:
        return "under 10 s"
    if seconds < 60:
        return f"{seconds // 10 * 10} s"
    return formats.age_ns(seconds // 60 * 60 * 10**9).removesuffix("00s")


def _rounded_count(count: int) -> str:
    """``19``, ``20+`` for 25, ``200+`` for 214: rounded down to tens, from 200 on to hundreds."""
    step = 1 if count < 20 else 10 if count < 200 else 100
    return f"{count // step * step:,}{'+' if count % step else ''}"
