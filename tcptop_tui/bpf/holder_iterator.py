"""Who has which socket open, by the kernel's iterator over all descriptors (``c/holders.c``)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from tcptop_tui.bpf.load.libbpf import last_error, load_libbpf
from tcptop_tui.host.socket_holders import HOLDER
from tcptop_tui.records import Rows

_READ_BYTES = HOLDER.itemsize * 1024


def read_holders(link: int) -> Iterator[Rows]:
    """Dtype HOLDER, a record for each descriptor of a socket, as many at a time as the kernel gives.

    100,000 descriptors take some 20 ms, where reading their links in /proc takes half a second.

    Args:
        link: descriptor of the iterator's link.

    Raises:
        OSError: the kernel refuses.
    """
    fd = int(load_libbpf().bpf_iter_create(link))
    if fd < 0:
        raise last_error("bpf_iter_create")
    try:
        rest = b""
        while data := os.read(fd, _READ_BYTES):
            data = rest + data
            whole = len(data) // HOLDER.itemsize
            rest = data[whole * HOLDER.itemsize :]
            yield np.frombuffer(data, HOLDER, whole)
    finally:
        os.close(fd)
