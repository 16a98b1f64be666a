"""The program in a pseudo terminal, with an emulator that shows what it draws."""

from __future__ import annotations

import contextlib
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pyte


class Terminal:
    """A pty with the dashboard in it, and a screen that shows what it draws."""

    def __init__(
        self, *arguments: str, columns: int = 160, lines: int = 50, cwd: Path | None = None,
        program: tuple[str, ...] = (sys.executable, "-m", "tcptop_tui"), controls: bool = True, **environ: str,
    ) -> None:  # fmt: skip
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.output = b""
        main, self._other = pty.openpty()
        self._main = main
        ioctl(main, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        os.set_blocking(main, False)
        self.name = os.ttyname(self._other)
        self.settings = termios.tcgetattr(self._other)
        self.process = subprocess.Popen(
            [*program, *arguments],
            stdin=self._other, stdout=self._other, stderr=self._other, start_new_session=True,
            cwd=cwd,
            env={**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **environ},
            # a real controlling terminal, unless it shall be one that sends no signals
            preexec_fn=(lambda: ioctl(0, termios.TIOCSCTTY, 0)) if controls else None,  # noqa: PLW1509
        )  # fmt: skip

    def _read(self) -> None:
        try:
            data = os.read(self._main, 1 << 16)
        except BlockingIOError:
            time.sleep(0.02)
        except OSError:
            time.sleep(0.02)  # nobody has the other end open any more
        else:
            self.output += data
            # pyte does not know the answers that kitty's protocol wants
            self._stream.feed(data.replace(b"\x1b[>1u", b"").replace(b"\x1b[<u", b""))

    @property
    def text(self) -> str:
        return "\n".join(self.screen.display)

    def until(self, happened: Callable[[], bool], seconds: float = 30) -> None:
        """Read until it has happened."""
        deadline_s = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < deadline_s, self.text
            self._read()

    def read_for(self, seconds: float) -> int:
        """Read for so long; returns how many bytes came."""
        before, deadline_s = len(self.output), time.monotonic() + seconds
        while time.monotonic() < deadline_s:
            self._read()
        return len(self.output) - before

    def quiet(self, seconds: float = 1.2) -> None:
        """Read until nothing has come for so long."""
        while self.read_for(seconds):
            pass

    def shows(self, text: str) -> None:
        self.until(lambda: text in self.text)

    def type(self, keys: str | bytes) -> None:
        os.write(self._main, keys if isinstance(keys, bytes) else keys.encode())

    def ended(self) -> int:
        self.until(lambda: self.process.poll() is not None)
        for _ in range(5):
            self._read()
        return int(self.process.returncode)

    def hang_up(self) -> None:
        os.close(self._main)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for end in (self._main, self._other):
            with contextlib.suppress(OSError):
                os.close(end)


@contextlib.contextmanager
def closed_at_the_end() -> Iterator[Callable[..., Terminal]]:
    """Gives what starts a ``Terminal``; each is closed when the context ends."""
    with contextlib.ExitStack() as terminals:

        def start(*arguments: str, **how: Any) -> Terminal:
            return terminals.enter_context(contextlib.closing(Terminal(*arguments, **how)))

        yield start
