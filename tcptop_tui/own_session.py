"""The SSH connection over which somebody looks at this screen."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping

import psutil

from tcptop_tui.capabilities import Cap, lent, raised
from tcptop_tui.errors import UsageError
from tcptop_tui.filters import parse

_NAME = "SSH_CONNECTION"
_TMUX_S = 2.0


def _environments() -> Iterator[Mapping[str, str]]:
    """Tmux's or screen's of whoever attached last, ours, then those of the processes above: sudo drops the variable."""
    if os.environ.get("TMUX"):
        yield _of_tmux()
    if os.environ.get("STY"):
        yield from _of_screen()
    yield os.environ
    yield from map(_environment, psutil.Process().parents())


def _environment(process: psutil.Process) -> Mapping[str, str]:
    """Of another process; empty where it has ended, or may not be asked."""
    try:
        with raised(Cap.SYS_PTRACE):
            return dict(process.environ())
    except psutil.Error:
        return {}


def _of_screen() -> Iterator[Mapping[str, str]]:
    """Screen's server, too, keeps the environment of its start; its clients, the latest first, have their own."""
    found = psutil.process_iter(["name", "create_time", "terminal"])
    # the server has no terminal
    clients = [one for one in found if one.info["name"] == "screen" and one.info["terminal"]]
    yield from map(_environment, sorted(clients, key=lambda one: -one.info["create_time"]))


def _of_tmux() -> Mapping[str, str]:
    """A tmux server keeps the environment of its start; what it knows of the client that is attached it tells."""
    asked = ["tmux", "show-environment", _NAME]
    try:
        with lent(Cap.DAC_OVERRIDE):  # its socket may be that of who called sudo
            told = subprocess.run(asked, capture_output=True, text=True, timeout=_TMUX_S, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    name, _, value = told.strip().partition("=")
    return {name: value} if value else {}


def own_session() -> str:
    """A filter for exactly that connection (both of its ends, should they be here); empty: this is no SSH session.

    sshd sets the variable to client address and port, server address and port (ssh(1)).
    """
    for environment in _environments():
        parts = environment.get(_NAME, "").split()
        if len(parts) != 4:
            continue
        client, server = (part.partition("%")[0] for part in (parts[0], parts[2]))
        wanted = f"raddr:{client} rport:{parts[1]} laddr:{server} lport:{parts[3]}"
        try:
            parse(wanted)
        except UsageError:  # sshd on no socket says UNKNOWN; and anybody can set a variable
            continue
        return wanted
    return ""
