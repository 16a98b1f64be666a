"""Whatever mix of connections comes, sends and goes: the table says of each what its sockets know."""

from __future__ import annotations

import dataclasses
import random
import socket

import pytest

from tcptop_tui.bpf.source import BpfSource
from tcptop_tui.records import Rows, State
from tcptop_tui.stream.batches import Batch, Capture, Table
from tests.support.running_source import Running
from tests.support.sockets import listening, pair, port, reset
from tests.support.tracer import SMALL

pytestmark = pytest.mark.host

SETTINGS = dataclasses.replace(SMALL, max_connections=2048, ring_bytes=8 * 2**20, refresh_s=0.05, reconcile_s=0.2)

Ends = tuple[int, int]


class Looking(Running):
    """Lets go of tables but the last ones, so that their memory is used again."""

    def __init__(self, tables: int) -> None:
        self._most = tables
        self._tables: list[Rows] = []
        super().__init__(BpfSource(SETTINGS, Capture()), SETTINGS)

    def offer(self, batch: Batch) -> bool:
        answer = super().offer(batch)
        self.batches.clear()
        if isinstance(batch, Table):
            self._tables = [*self._tables, batch.rows][-self._most :]
        return answer

    def told(self, server: int) -> dict[Ends, int]:
        """Bytes sent by each end of the connections with a port, as far as these are open."""
        rows = self.store.snapshot().rows
        rows = rows[((rows["lport"] == server) | (rows["rport"] == server)) & (rows["state"] == State.ESTABLISHED)]
        ends = zip(rows["lport"].tolist(), rows["rport"].tolist(), strict=True)
        return dict(zip(ends, rows["tx_bytes"].tolist(), strict=True))


class Mix:
    """Connections to a server, by chance."""

    def __init__(self, server: socket.socket, seed: int) -> None:
        self._server = server
        self._chance = random.Random(seed)
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.sent: dict[Ends, int] = {}

    def go(self) -> None:
        """Open some, send over some, close some."""
        for _ in range(self._chance.randrange(20, 400)):
            act = self._chance.choices((self._open, self._send, self._close), (30, 45, 25))[0]
            if self._pairs or act == self._open:
                act()

    def _open(self) -> None:
        self._pairs.append(pair(self._server))
        for one in self._pairs[-1]:
            self.sent[_ends(one)] = 0

    def _send(self) -> None:
        sender, receiver = self._chance.sample(self._chance.choice(self._pairs), 2)
        count = self._chance.randrange(1, 3000)
        sender.sendall(b"x" * count)
        self.sent[_ends(sender)] += count
        while count:
            count -= len(receiver.recv(count))

    def _close(self) -> None:
        client, accepted = self._pairs.pop(self._chance.randrange(len(self._pairs)))
        for one in (client, accepted):
            del self.sent[_ends(one)]
        if self._chance.random() < 0.7:
            reset(client)
        client.close()
        accepted.close()

    def close(self) -> None:
        while self._pairs:
            self._close()


def _ends(one: socket.socket) -> Ends:
    return port(one), int(one.getpeername()[1])


@pytest.mark.parametrize("tables", [1, 2, 4])
def test_the_table_is_what_the_sockets_say(tables: int, bpf_possible: None) -> None:
    """However many tables somebody still looks at: their memory is not to be had then."""
    with listening(backlog=512) as server:
        source, mix = Looking(tables), Mix(server, tables)
        try:
            for _ in range(12):
                mix.go()
                source.until(lambda: source.told(port(server)) == mix.sent)
        finally:
            mix.close()
            source.close()
        loss = source.store.snapshot().loss
        assert (loss.lost, loss.missed, loss.mended) == (0, 0, 0)
