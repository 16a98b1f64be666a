"""A process that makes maps, for one that gives up what that takes: streams, once they are attached.

It has CAP_BPF and nothing else, makes maps of one shape, and ends with whoever asks it.
"""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress

from tcptop_tui.bpf.load.syscalls import create_map, map_shape
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.host import capabilities
from tcptop_tui.host.capabilities import Cap


class MapMaker:
    """Is forked here; the calling thread must be the only one.

    Args:
        name: of the maps.
        model: descriptor of a map that all are to be like.

    Raises:
        OSError: there can be no other process.
    """

    def __init__(self, name: str, model: int) -> None:
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = os.fork()
        if not self._pid:
            _serve(theirs, name, model)
        theirs.close()

    def create_map(self) -> int:
        """A new map; its descriptor is the caller's.

        Raises:
            OSError: the kernel refuses, or the process is gone.
        """
        self._link.send(b"+")
        _, descriptors, *_ = socket.recv_fds(self._link, 1, 1)
        if not descriptors:
            raise OSError("no map")
        os.set_inheritable(descriptors[0], False)
        return descriptors[0]

    def close(self) -> None:
        """End it."""
        self._link.close()
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


def _serve(link: socket.socket, name: str, model: int) -> None:
    """Answer each request with a map, or without, until nobody asks; never returns."""
    try:
        os.setpgid(0, 0)  # Ctrl-C is not meant for it
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        _close_other_descriptors({link.fileno(), model})
        capabilities.keep({Cap.BPF}, {Cap.BPF})
        shape = map_shape(model)
        while link.recv(1):
            try:
                made = create_map(name, shape)
            except BackendUnavailable:
                link.send(b"-")
                continue
            socket.send_fds(link, [b"+"], [made])
            os.close(made)
    finally:
        os._exit(0)


def _close_other_descriptors(kept: set[int]) -> None:
    """Pipes that somebody waits for the end of, programs that are to be detached."""
    for one in [int(name) for name in os.listdir("/proc/self/fd")]:
        if one not in kept:
            with suppress(OSError):
                os.close(one)
