"""Pictures of a real run: the program on real traffic of this machine, driven by its own keys.

Run as root with ``make screenshots``. The traffic is bounded, on loopback, and ends with the script.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import http.server
import os
import socket
import socketserver
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from textual.pilot import Pilot

from tcptop_tui.dashboard.app import TcptopApp
from tcptop_tui.feed import Feed
from tcptop_tui.settings import Settings
from tcptop_tui.stream.batches import Capture

HERE = Path(__file__).parent
WIDE, SMALL = (160, 50), (80, 24)
SECONDS = 6
FILE_BYTES = 3_000_000

Drive: TypeAlias = Callable[[Pilot[Any]], Awaitable[None]]
"""Presses keys of a running dashboard."""


class Files(http.server.SimpleHTTPRequestHandler):
    """Serves quietly, and keeps connections open."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing: the terminal belongs to the script."""


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """A thread for each connection."""

    daemon_threads = True


def clients(port: int, stop: threading.Event) -> None:
    """Fetch the file again and again, on new connections, and try a port where nobody listens."""
    while not stop.wait(0.15):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/file", headers={"Connection": "close"})
        connection.getresponse().read()
        connection.close()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", 9), timeout=1):
            pass


def streams(port: int, stop: threading.Event) -> None:
    """One long connection with a request every tenth of a second."""
    with socket.create_connection(("127.0.0.1", port)) as stream:
        while not stop.wait(0.1):
            stream.sendall(b"GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n")
            left = FILE_BYTES
            while left > 0:
                left -= len(stream.recv(1 << 20))


@contextlib.contextmanager
def traffic() -> Iterator[int]:
    """A web server with clients; the port."""
    stop = threading.Event()
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "file").write_bytes(os.urandom(FILE_BYTES))
        os.chdir(folder)
        with Server(("127.0.0.1", 8080), Files) as server:
            workers = [threading.Thread(target=server.serve_forever, daemon=True)]
            workers += [threading.Thread(target=clients, args=(8080, stop)) for _ in range(2)]
            workers += [threading.Thread(target=streams, args=(8080, stop)) for _ in range(6)]
            for worker in workers:
                worker.start()
            try:
                yield 8080
            finally:
                stop.set()
                for worker in workers[1:]:
                    worker.join(timeout=5)
                server.shutdown()
                os.chdir(before)


async def picture(name: str, size: tuple[int, int], drive: Drive) -> None:
    """Run the program at ``size``, let it look for a while, press keys, and keep what it shows."""
    settings = Settings()
    uname = os.uname()
    feed = Feed("auto", settings, Capture())
    app = TcptopApp(feed, settings, uname.nodename, uname.release)
    async with app.run_test(size=size) as pilot:
        await app.first_table_shown.wait()
        await pilot.pause(SECONDS)
        await drive(pilot)
        await pilot.pause(1)
        target = HERE / f"{name}.svg"
        target.write_text(app.export_screenshot(title="tcptop-tui"))
        print(f"wrote {target.relative_to(HERE.parent)}")


async def all_pictures() -> None:
    """Every picture of the README and the docs."""

    def press(*keys: str) -> Drive:
        async def drive(pilot: Pilot[Any]) -> None:
            for key in keys:
                await pilot.press(key)

        return drive

    # nothing is filtered out: a real first screen is mostly TIME_WAIT
    await picture("dashboard", WIDE, press())
    await picture("filter", WIDE, press("slash", *"rtt>10us 8080"))
    await picture("connects", WIDE, press("2"))
    await picture("grouped", WIDE, press("t"))
    await picture("connection", WIDE, press("down", "enter"))
    await picture("narrow", SMALL, press())


def main() -> int:
    """Make them all."""
    with traffic():
        asyncio.run(all_pictures())
    return 0


if __name__ == "__main__":
    sys.exit(main())
