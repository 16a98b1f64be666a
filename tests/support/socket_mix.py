"""Sockets that are opened, used and closed by chance in every way that needs no second host."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

from tests.support.close_cases import dissolve
from tests.support.sockets import LOOPBACK, port, reset

MIX_ROUNDS = 8


FAMILIES = [socket.AF_INET, socket.AF_INET6]


class SocketMix:
    """Sockets that are opened, used and closed in every way that needs no second host, by chance."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._listeners: list[socket.socket] = []
        self._others: list[socket.socket] = []
        self.ports: set[int] = set()
        """One end of each connection has one of these."""
        self._acts = {
            self._listen: 5, self._listen_unbound: 2, self._unlisten: 4, self._connect: 40, self._connect_itself: 3,
            self._connect_again: 8, self._accept: 25, self._send: 20, self._receive: 20, self._shut: 12,
            self._dissolve: 3, self._listen_instead: 2, self._close: 25, self._reset: 6,
        }  # fmt: skip

    def go(self) -> None:
        for act in self._chance.choices(list(self._acts), list(self._acts.values()), k=self._chance.choice([10, 300])):
            with suppress(OSError, IndexError):  # not in this state; nobody there yet
                act()
        while len(self._others) > 200:
            self._close()

    def close(self) -> None:
        for one in (*self._listeners, *self._others):
            one.close()

    def _one(self) -> socket.socket:
        return self._chance.choice(self._others)

    def _added(self, one: socket.socket) -> socket.socket:
        one.setblocking(False)
        self._others.append(one)
        return one

    def _listening(self, one: socket.socket) -> None:
        one.listen(self._chance.choice([0, 1, 16]))
        self.ports.add(port(one))

    def _listen(self) -> None:
        one = socket.socket(self._chance.choice(FAMILIES))
        one.setblocking(False)
        self._listeners.append(one)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        again = self._listeners and self._chance.random() < 0.3
        one.bind(self._chance.choice(self._listeners).getsockname()[:2] if again else (LOOPBACK[one.family], 0))
        self._listening(one)

    def _listen_unbound(self) -> None:
        one = socket.socket(self._chance.choice(FAMILIES))
        one.setblocking(False)
        self._listeners.append(one)
        self._listening(one)

    def _unlisten(self) -> None:
        one = self._chance.choice(self._listeners[3:])
        self._listeners.remove(one)
        one.close()

    def _connect(self) -> None:
        there = self._chance.choice(self._listeners)
        one = self._added(socket.socket(there.family))
        if self._chance.random() < 0.2:
            one.bind((LOOPBACK[one.family], 0))
        one.connect_ex((LOOPBACK[one.family], port(there)))

    def _connect_itself(self) -> None:
        one = self._added(socket.socket())
        one.bind((LOOPBACK[one.family], 0))
        self.ports.add(port(one))
        one.connect_ex(one.getsockname())

    def _connect_again(self) -> None:
        """A socket that was refused or dissolved, or a new one that nobody answers."""
        one = self._one()
        one.connect_ex((LOOPBACK[one.family], port(self._chance.choice(self._listeners))))

    def _accept(self) -> None:
        listener = self._chance.choice(self._listeners)
        for _ in range(self._chance.randrange(1, 20)):
            self._added(listener.accept()[0])

    def _send(self) -> None:
        self._one().send(b"x" * self._chance.choice([1, 1000, 300_000]))

    def _receive(self) -> None:
        self._one().recv(2**20)

    def _shut(self) -> None:
        self._one().shutdown(self._chance.choice([socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR]))

    def _dissolve(self) -> None:
        dissolve(self._one())

    def _listen_instead(self) -> None:
        self._listening(self._one())

    def _gone(self) -> socket.socket:
        one = self._one()
        self._others.remove(one)
        return one

    def _close(self) -> None:
        self._gone().close()

    def _reset(self) -> None:
        reset(self._gone())
