"""F9: what the kernel closes, and what must not be closed."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest

from tcptop_tui.diag.destroy import destroy, find_cookie
from tcptop_tui.diag.netlink import SockDiag
from tcptop_tui.diag.tcp_info import tcp_info
from tcptop_tui.errors import TcptopError
from tcptop_tui.feed import Feed
from tcptop_tui.host import capabilities
from tcptop_tui.records import ROW, Rows, State
from tcptop_tui.row_copy import rows_from_dump
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Capture
from tcptop_tui.widgets.dialogs.close import CloseDialog
from tests.support.dashboard import dashboard
from tests.support.links import FAR, NEAR, Side, bound, linked, server, two_links
from tests.support.namespaces import inside
from tests.support.sockets import LOOPBACK, listening, pair, port
from tests.support.terminal import Terminal

pytestmark = pytest.mark.host

SO_COOKIE = 57


@pytest.fixture
def diag() -> Iterator[SockDiag]:
    made = SockDiag()
    yield made
    made.close()


def row_of(diag: SockDiag, sock: socket.socket) -> Rows:
    rows = diag.dump().rows
    rport = 0 if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) else sock.getpeername()[1]
    return rows[(rows["lport"] == port(sock)) & (rows["rport"] == rport)]


def cookie(sock: socket.socket) -> int:
    """What the kernel tells the socket's own process."""
    return int(struct.unpack("<Q", sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0])


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_process_gets_an_error_and_the_peer_a_reset(diag: SockDiag, family: socket.AddressFamily) -> None:
    with listening(family) as listener:
        ours, theirs = pair(listener)
        row = row_of(diag, ours)
        assert find_cookie(row) == cookie(ours)
        destroy(row, cookie(ours))
        with pytest.raises(ConnectionAbortedError):
            ours.recv(1)
        with pytest.raises(ConnectionResetError):
            theirs.recv(1)
        with pytest.raises(TcptopError, match="not there any more"):
            find_cookie(row)


@pytest.mark.parametrize("device", [b"", b"lo"])
def test_a_socket_of_the_other_protocol_version(diag: SockDiag, device: bytes) -> None:
    """A dual-stack server: the socket is IPv6, the connection IPv4."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        client = socket.create_connection((LOOPBACK[socket.AF_INET], port(listener)))
        accepted, _ = listener.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
        row = row_of(diag, accepted)
        destroy(row, find_cookie(row))
        with pytest.raises(ConnectionAbortedError):
            accepted.recv(1)
        client.close()


def test_another_socket_on_the_same_ports_is_left_alone(diag: SockDiag) -> None:
    """Nor is a socket on other ports closed for its number: the next one's may be given to any."""
    with listening() as listener:
        (ours, theirs), (another, its_peer) = pair(listener), pair(listener)
        row = row_of(diag, ours)
        for wrong in (cookie(theirs), cookie(another), 2**63):
            with pytest.raises(TcptopError, match="not there any more"):
                destroy(row, wrong)
        for sender, receiver in ((ours, theirs), (another, its_peer)):
            sender.send(b"still")
            assert receiver.recv(5) == b"still"


def test_among_many(diag: SockDiag) -> None:
    """The list of them comes in several parts."""
    with listening() as listener, ExitStack() as held:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        pairs = [pair(listener) for _ in range(400)]
        for one in (side for both in pairs for side in both):
            held.enter_context(one)
        ours, theirs = pairs[200]
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        row = row_of(diag, theirs)
        destroy(row, find_cookie(row))
        with pytest.raises(ConnectionResetError):
            ours.recv(1)


def test_a_listener(diag: SockDiag) -> None:
    with listening() as listener:
        row = row_of(diag, listener)
        destroy(row, find_cookie(row))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(listener.getsockname())


def test_without_the_right_to(diag: SockDiag) -> None:
    with listening() as listener:
        ours, theirs = pair(listener)
        row = row_of(diag, ours)

        def without_rights() -> None:  # in a thread that has none
            capabilities.keep((), ())
            destroy(row, cookie(ours))

        with ThreadPoolExecutor(1) as thread, pytest.raises(TcptopError, match="CAP_NET_ADMIN"):
            thread.submit(without_rights).result()
        ours.send(b"still")
        assert theirs.recv(5) == b"still"


def test_in_another_network_namespace() -> None:
    with inside() as other:
        rows = np.zeros(1, ROW)
        rows["netns"], rows["lport"], rows["rport"], rows["state"] = other.inode, other.port, 4321, State.ESTABLISHED
        rows["laddr"] = rows["raddr"] = (0, 0xFFFF_7F00_0001)
        there = ["nsenter", f"--net=/proc/{other.pid}/ns/net", "ss", "-tnH", "state", "established"]
        assert f":{other.port} " in subprocess.run(there, capture_output=True, text=True, check=True).stdout
        before = os.readlink("/proc/thread-self/ns/net")
        destroy(rows, find_cookie(rows))
        assert f":{other.port} " not in subprocess.run(there, capture_output=True, text=True, check=True).stdout
        assert os.readlink("/proc/thread-self/ns/net") == before


def test_read_only_closes_nothing(diag: SockDiag) -> None:
    feed = Feed("diag", Settings(readonly=True), Capture())
    with listening() as listener:
        ours, theirs = pair(listener)
        row = row_of(diag, ours)
        with pytest.raises(TcptopError, match="--readonly"):
            feed.host_requests.find_cookie(row)
        feed.host_requests.destroy(row, cookie(ours))
        ours.send(b"still")
        assert theirs.recv(5) == b"still"


async def test_the_key_is_not_there_when_read_only() -> None:
    async with dashboard() as board:
        board.app._settings = Settings(readonly=True)
        await board.press("f9")
        assert not isinstance(board.app.screen, CloseDialog)
        assert "close_connection" not in {
            one.binding.action for one in board.app.screen.active_bindings.values() if one.enabled
        }
        told = {binding.action for _, bindings in board.app._bindings_by_section() for binding in bindings}
        assert "close_connection" not in told
        assert "export" in told


async def test_it_asks_first() -> None:
    async with dashboard() as board:
        asked: list[int] = []
        board.app._feed.host_requests.find_cookie = lambda row: int(row["rport"][0])  # type: ignore[method-assign]
        board.app._feed.host_requests.destroy = lambda _row, cookie: asked.append(cookie)  # type: ignore[method-assign]
        for keys in (("f9", "escape"), ("f9", "n"), ("f9", "enter"), ("K", "right", "left", "enter")):
            await board.pilot.press(keys[0])
            while not isinstance(board.app.screen, CloseDialog):
                await board.pilot.pause()
            await board.press(*keys[1:])
            assert not isinstance(board.app.screen, CloseDialog)
            assert asked == []
        await board.press("down", "f9")
        while not isinstance(board.app.screen, CloseDialog):
            await board.pilot.pause()
        text = "\n".join(str(line) for line in board.app.screen._compositor.render_strips())
        assert "nginx (PID 100)" in text
        assert "10.0.1.1:50001" in text
        await board.press("y")
        while not asked:
            await board.pilot.pause()
        assert asked == [50_001]


def test_in_a_terminal(bpf_possible: None) -> None:
    with listening() as listener:
        ours, theirs = pair(listener)
        terminal = Terminal("--filter", f"lport:{port(ours)} rport:{port(listener)}")
        try:
            terminal.shows("ESTABLISHED")
            terminal.type("\x1b[20~")  # F9
            terminal.shows("Close this connection?")
            terminal.type("y")
            terminal.shows(f"closed 127.0.0.1:{port(ours)}")
            ours.settimeout(10)
            with pytest.raises(ConnectionAbortedError):
                ours.recv(1)
        finally:
            terminal.close()
        theirs.close()


def test_a_socket_bound_to_a_device(diag: SockDiag) -> None:
    """The kernel finds it only with the device's number."""
    with listening() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        ours, theirs = pair(listener)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        row = row_of(diag, theirs)
        assert tcp_info(row)["cwnd"] == 10  # RFC 6928
        assert find_cookie(row) == cookie(theirs)
        destroy(row, cookie(theirs))
        with pytest.raises(ConnectionAbortedError):
            theirs.recv(1)
        ours.close()


@pytest.fixture(scope="module")
def sides() -> Iterator[tuple[Side, Side]]:
    with two_links() as made:
        yield made


def rows_there(side: Side, lport: int) -> Rows:
    there = side.make(lambda: SockDiag(side.inode))
    rows = there.dump().rows
    there.close()
    return rows[rows["lport"] == lport]


def of_device(side: Side, lport: int, device: str) -> Rows:
    rows = rows_there(side, lport)
    return rows[rows["dev"] == (side.index(device) if device else 0)]


def state_of(sock: socket.socket) -> int:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


LINKS = pytest.mark.parametrize(("family", "connect"), [(socket.AF_INET6, linked), (socket.AF_INET, bound)])


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("closed", [0, 1])
@LINKS
def test_of_two_with_the_same_addresses_and_ports_the_one_that_was_shown(
    sides: tuple[Side, Side], family: int, connect: Callable[..., socket.socket], closed: int, known: bool
) -> None:
    """On two links; with a cookie in the row, and without one."""
    near, far = sides
    lport, rport = 22_001, 22_000
    with ExitStack() as held:
        listeners = [held.enter_context(server(far, rport, device, family)) for device in FAR]
        clients = [held.enter_context(connect(near, device, lport, rport)) for device in NEAR]
        for listener in listeners:
            held.enter_context(listener.accept()[0])
        row = of_device(near, lport, NEAR[closed])
        row["cookie"] = row["cookie"] if known else 0
        number = find_cookie(row)
        assert number == cookie(clients[closed])
        assert tcp_info(row)["cwnd"] == 10
        destroy(row, number)
        states = [state_of(client) for client in clients]
        assert (states[closed], states[1 - closed]) == (State.CLOSE, State.ESTABLISHED)
        with pytest.raises(TcptopError, match="not there any more"):
            find_cookie(row)
        assert state_of(clients[1 - closed]) == State.ESTABLISHED
        clients[1 - closed].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_beside_one_that_is_bound_to_no_device(sides: tuple[Side, Side]) -> None:
    """Asked for a device, the kernel finds the socket that is bound to none as well, and closes the one it finds."""
    near, far = sides
    lport, rport = 22_011, 22_010
    with ExitStack() as held:
        listener = held.enter_context(server(far, rport, family=socket.AF_INET))
        clients = {"va0": held.enter_context(bound(near, "va0", lport, rport))}
        held.enter_context(listener.accept()[0])
        clients[""] = held.enter_context(near.make(socket.socket))
        clients[""].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        clients[""].bind(("10.9.0.1", lport))
        clients[""].setblocking(False)
        clients[""].connect_ex(("10.9.0.2", rport))  # its SYN goes to the other one's peer
        for device in ("va0", ""):
            row = of_device(near, lport, device)
            row["cookie"] = 0
            number = find_cookie(row)
            assert number == cookie(clients[device])
            if device:
                with pytest.raises(TcptopError, match="finds another one"):
                    destroy(row, number)
                assert State.CLOSE not in map(state_of, clients.values())
            else:
                destroy(row, number)
        assert [state_of(client) for client in clients.values()] == [State.ESTABLISHED, State.CLOSE]
        for client in clients.values():
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_what_has_become_another_since_it_was_shown_is_left_alone(sides: tuple[Side, Side]) -> None:
    """The same socket, with another device, or connected anew."""
    near, far = sides
    lport, rport = 22_021, 22_020
    with ExitStack() as held:
        listener = held.enter_context(server(far, rport, family=socket.AF_INET))
        client = held.enter_context(bound(near, "va0", lport, rport))
        held.enter_context(listener.accept()[0])
        row = of_device(near, lport, "va0")
        number = find_cookie(row)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"va1")
        for attempt in (lambda: destroy(row, number), lambda: find_cookie(row)):
            with pytest.raises(TcptopError, match="another connection by now"):
                attempt()
        assert state_of(client) == State.ESTABLISHED
        again = of_device(near, lport, "va1")
        destroy(again, find_cookie(again))
        assert state_of(client) == State.CLOSE


def test_time_wait_is_not_closed_for_the_connection_that_it_was(diag: SockDiag) -> None:
    """An aborted TIME_WAIT lets late segments reach who has the ports next: it was not what was asked for."""
    with listening() as listener:
        ours, theirs = pair(listener)
        row = row_of(diag, ours)
        row["cookie"] = 0
        ours.close()
        theirs.recv(1)
        theirs.close()
        ends = [row["lport"][0], row["rport"][0]]
        waiting = [one for one in diag.dump().rows if [one["lport"], one["rport"]] == ends]
        assert [int(one["state"]) for one in waiting] == [State.TIME_WAIT]
        with pytest.raises(TcptopError, match="another connection by now"):
            find_cookie(row)
        with pytest.raises(TcptopError, match="not closed"):
            destroy(row, int(waiting[0]["cookie"]))
        assert State.TIME_WAIT in diag.dump().rows["state"][diag.dump().rows["lport"] == row["lport"][0]]


def test_in_a_terminal_the_older_of_two(bpf_possible: None, sides: tuple[Side, Side]) -> None:
    near, far = sides
    lport, rport = 22_031, 22_030
    with ExitStack() as held:
        listener = held.enter_context(server(far, rport))
        clients = [held.enter_context(linked(near, device, lport, rport)) for device in NEAR]
        held.enter_context(listener.accept()[0])
        held.enter_context(listener.accept()[0])
        terminal = Terminal("--filter", f"lport:{lport} rport:{rport} dev:{NEAR[0]}")
        held.callback(terminal.close)
        terminal.shows("ESTABLISHED")
        terminal.type("\x1b[20~")  # F9
        terminal.shows("Close this connection?")
        terminal.type("y")
        terminal.shows(f"closed [fe80::1%{NEAR[0]}]:{lport}")
        assert [state_of(client) for client in clients] == [State.CLOSE, State.ESTABLISHED]


def test_each_of_several_listeners_on_a_port(diag: SockDiag) -> None:
    with socket.socket() as one, socket.socket() as other:
        for place, listener in enumerate((one, other)):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(("127.0.0.1", 0 if not place else port(one)))
            listener.listen(10 + place)
        rows = rows_from_dump(diag.dump().rows)
        rows = rows[(rows["lport"] == port(one)) & (rows["state"] == State.LISTEN)]
        backlogs = {int(row["cookie"]): tcp_info(np.array([row], ROW))["backlog"] for row in rows}
        assert backlogs == {cookie(one): 10, cookie(other): 11}
