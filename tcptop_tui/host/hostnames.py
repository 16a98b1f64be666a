"""Names of addresses and ports. They are looked up in the background; a caller gets at once what is known so far."""

from __future__ import annotations

import socket
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import lru_cache

from tcptop_tui import safe_text

_THREADS = 4
_MOST_WAITING = 256
_MAX_CACHED = 4096
_KNOWN_S, _UNKNOWN_S = 600.0, 120.0
"""How long an answer, and how long its absence, counts."""
_MOST_CHARS = 255
"""Of a host name (RFC 1035, 2.3.4)."""


class HostNames:
    """Reverse look-ups as the system's own tools do them: /etc/hosts, DNS, whatever nsswitch.conf says.

    Args:
        answered: called from a thread when there is something new to show.
        ask: from an address to its name; raises OSError when it has none.
    """

    def __init__(self, answered: Callable[[], object], ask: Callable[[str], str] | None = None) -> None:
        self._answered = answered
        self._ask = ask or _ask
        self._cache: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._queued: set[str] = set()
        self._waiting: deque[str] = deque()
        self._lock = threading.Condition()
        self._started = False

    def host(self, address: str) -> str:
        """The name of an address, or the address while none is known. Never waits."""
        kept = self._cache.get(address)
        if kept is None or kept[1] < time.monotonic():
            self._enqueue(address)
        return (kept[0] if kept is not None else "") or address

    def _enqueue(self, address: str) -> None:
        if not self._started:
            self._started = True
            for _ in range(_THREADS):  # daemons: a resolver that does not answer must not delay the end
                threading.Thread(target=self._work, name="names", daemon=True).start()
        with self._lock:
            if address in self._queued:
                return
            if len(self._waiting) == _MOST_WAITING:  # the address that waits longest has left the screen
                self._queued.discard(self._waiting.popleft())
            self._waiting.append(address)
            self._queued.add(address)
            self._lock.notify()

    def _work(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._waiting)
                address = self._waiting.pop()  # the latest first: it is what is on the screen
            try:
                name = safe_text.clean(self._ask(address)[:_MOST_CHARS])
            except Exception:  # noqa: BLE001  whatever it is, the next address is not to blame
                name = ""
            with self._lock:
                self._cache[address] = (name, time.monotonic() + (_KNOWN_S if name else _UNKNOWN_S))
                self._cache.move_to_end(address)
                while len(self._cache) > _MAX_CACHED:
                    self._cache.popitem(last=False)
                self._queued.discard(address)
            if name:
                self._answered()


def _ask(address: str) -> str:
    return socket.getnameinfo((address, 0), socket.NI_NAMEREQD)[0]


@lru_cache(maxsize=4096)
def service_name(port: int) -> str:
    """The name of a TCP port in /etc/services, the number where it has none."""
    try:
        return safe_text.clean(socket.getservbyport(port, "tcp"))
    except OSError:
        return str(port)
