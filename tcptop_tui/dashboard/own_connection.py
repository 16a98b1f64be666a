"""The SSH connection over which somebody looks at this screen.

No program is asked: a client of tmux or screen runs what its server says, and which server that is an environment
variable says. What is needed stands in /proc.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from tcptop_tui.errors import UsageError
from tcptop_tui.filters import parse
from tcptop_tui.host.capabilities import Cap, raise_capabilities

_NAME = "SSH_CONNECTION"


def _environments() -> Iterator[Mapping[str, str]]:
    """Of who looks through tmux or screen, the latest first, then ours, then of the processes above: sudo drops it."""
    try:
        above = psutil.Process().parents()
    except psutil.Error:
        above = []
    for process in above:
        name = _name(process)
        if name.startswith("sshd"):
            break  # a session of its own, inside of the multiplexer or not
        if name.startswith(("tmux", "screen")):
            yield from map(_environment, _clients(process, name.partition(":")[0]))
            break
    yield os.environ
    yield from map(_environment, above)


def _name(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return str(process.name()).lower()
    return ""


def _environment(process: psutil.Process) -> Mapping[str, str]:
    """Of another process, as it was started; empty where it has ended, or may not be asked."""
    try:
        with raise_capabilities(Cap.SYS_PTRACE):
            return dict(process.environ())
    except psutil.Error:
        return {}


def _clients(server: psutil.Process, name: str) -> list[psutil.Process]:
    """The clients of a server of tmux's or screen's: its own user's, on terminals that the server has open.

    A server keeps the environment of its start; a client has that of the session from which it was attached. Of several
    it is the one whose terminal was typed in last (the time of a terminal's last input, ``tty_update_time()`` of
    drivers/tty/tty_io.c, is 8 s exact), then the one that came last.
    """
    typed_s = _terminals(server)
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            terminal = _controlling_terminal(process.pid)
            if terminal in typed_s and _name(process).startswith(name) and process.uids() == server.uids():
                found.append((typed_s[terminal], process.create_time(), process))
    return [process for *_, process in sorted(found, key=lambda one: one[:2], reverse=True)]


def _terminals(process: psutil.Process) -> dict[int, float]:
    """Device numbers of the terminals that it has open, and when each was typed in last."""
    folder = f"/proc/{process.pid}/fd"
    found = {}
    with raise_capabilities(Cap.SYS_PTRACE), suppress(OSError):
        for number in os.listdir(folder):
            with suppress(OSError):
                one = Path(folder, number).stat()
                if stat.S_ISCHR(one.st_mode):
                    found[one.st_rdev] = one.st_atime
    return found


def _controlling_terminal(pid: int) -> int:
    """Its device number; 0: it has none. psutil knows only terminals that were there when it was first asked."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        encoded = int(file.read().rpartition(b")")[2].split()[4])  # tty_nr of proc(5), as the kernel encodes it
    if not encoded:
        return 0
    return os.makedev(encoded >> 8 & 0xFFF, encoded & 0xFF | encoded >> 12 & 0xFFF00)


def own_connection_filter() -> str:
    """A filter for exactly that connection (both of its ends, should they be here); empty: this is no SSH session.

    sshd sets the variable to client address and port, server address and port (ssh(1)).
    """
    for environment in _environments():
        parts = environment.get(_NAME, "").split()
        if len(parts) != 4:
            continue
        client = parts[0].partition("%")[0]
        wanted = f"raddr:{client} rport:{parts[1]} laddr:{parts[2]} lport:{parts[3]}"
        try:
            parse(wanted)
        except UsageError:  # sshd on no socket says UNKNOWN; and anybody can set a variable
            continue
        return wanted
    return ""
