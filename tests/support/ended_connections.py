"""What the dashboard says of connections that have ended, and where two ends of one contradict each other."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

from tcptop_tui.close_reasons import CloseReason, close_reasons
from tcptop_tui.records import CloseFlag, Flag, Rows
from tests.support.running_source import Running

_RESET = CloseFlag.RST_SENT | CloseFlag.RST_RECEIVED


def ended_rows(source: Running) -> Rows:
    """The log of ended connections in this thread's network namespace, without listeners."""
    rows = source.store.snapshot().ended_rows
    netns = Path("/proc/thread-self/ns/net").stat().st_ino
    return rows[((rows["flags"] & Flag.LISTENER) == 0) & (rows["netns"] == netns)]


def ended_row(source: Running, *ports: int) -> Rows:
    """The latest ended connection with these ports, local and remote; no row where it has not been logged yet."""
    rows = ended_rows(source)
    return rows[(rows["lport"] == ports[0]) & (rows["rport"] == ports[1])][-1:]


def ended_pair(source: Running, ports: tuple[int, int]) -> tuple[Rows, Rows]:
    """Both ends of a connection, each as one row; no row where an end has not been logged yet."""
    return ended_row(source, *ports), ended_row(source, *ports[::-1])


def contradicts(one: Rows, other: Rows) -> bool:
    """Whether one end received a reset that the other did not send, or both or neither of them sent the first FIN."""
    ends, others = int(one["close_flags"][0]), int(other["close_flags"][0])
    if (ends | others) & _RESET:
        return bool(ends & CloseFlag.RST_RECEIVED) != bool(others & CloseFlag.RST_SENT)
    first = {CloseReason.FIN_BY_US: CloseReason.FIN_BY_PEER, CloseReason.FIN_BY_PEER: CloseReason.FIN_BY_US}
    return first.get(close_reason(one)) != close_reason(other)


def close_reason(rows: Rows) -> CloseReason:
    """The close reason of the first row."""
    return CloseReason(int(close_reasons(rows)[0]))


def latest_ended_row(source: Running, lport: int) -> Rows:
    """The latest ended connection from this port; no row where it has not been logged yet."""
    rows = ended_rows(source)
    return rows[rows["lport"] == lport][-1:]


def socket_error(sock: socket.socket) -> int:
    """The error that the application gets (SO_ERROR)."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def until_both_ended(source: Running, pairs: list[tuple[int, int]]) -> None:
    """Wait until both ends of every connection are logged; ``pairs`` has the two ports of each."""
    source.until(lambda: all(len(one) for ports in pairs for one in ended_pair(source, ports)))


def reset_count(source: Running, pairs: list[tuple[int, int]]) -> int:
    """How many of these connections' ends are logged as having sent a reset."""
    return sum(bool(one["close_flags"][0] & CloseFlag.RST_SENT) for ports in pairs for one in ended_pair(source, ports))


def contradictions(source: Running, pairs: list[tuple[int, int]]) -> list[tuple[CloseReason, CloseReason]]:
    """Close reasons of both ends of those connections whose ends contradict each other."""
    said = [ended_pair(source, ports) for ports in pairs]
    return [
        (close_reason(one), close_reason(two)) for one, two in said if contradicts(one, two) or contradicts(two, one)
    ]


def drain_and_close(*socks: socket.socket) -> None:
    """Read what each socket has received, so that its close sends a FIN and no reset."""
    for one in socks:
        with suppress(OSError):
            one.setblocking(False)
            while one.recv(1 << 20):
                pass
        one.close()
