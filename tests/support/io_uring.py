"""A connect() by io_uring: inline, by a worker (IOSQE_ASYNC), or by the kernel's SQPOLL thread."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct
import sys
import time

SETUP, ENTER = 425, 426
GETEVENTS, SQ_WAKEUP = 1, 2
SETUP_SQPOLL, NEED_WAKEUP = 2, 1
IOSQE_ASYNC, OP_CONNECT = 1 << 4, 16
OFF_SQ_RING, OFF_CQ_RING, OFF_SQES = 0, 0x8000000, 0x10000000
LIBC = ctypes.CDLL(None, use_errno=True)


def call(*arguments: int | ctypes.c_void_p | ctypes.Array) -> int:
    result = LIBC.syscall(*(ctypes.c_long(one) if isinstance(one, int) else one for one in arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)


class Uring:
    """A ring of two requests."""

    def __init__(self, *, sqpoll: bool) -> None:
        self._sqpoll = sqpoll
        params = ctypes.create_string_buffer(120)
        struct.pack_into("<I", params, 8, SETUP_SQPOLL if sqpoll else 0)
        struct.pack_into("<I", params, 16, 1000)
        self._fd = call(SETUP, 2, params)
        self._sq_at = struct.unpack_from("<6I", params, 40)  # head tail mask entries flags dropped
        sq_array = struct.unpack_from("<I", params, 64)[0]
        self._cq_at = struct.unpack_from("<6I", params, 80)  # head tail mask entries overflow cqes
        self._sq = mmap.mmap(self._fd, sq_array + 64, offset=OFF_SQ_RING)
        self._cq = mmap.mmap(self._fd, self._cq_at[5] + 16 * 4, offset=OFF_CQ_RING)
        self._sqes = mmap.mmap(self._fd, 128, offset=OFF_SQES)
        struct.pack_into("<I", self._sq, sq_array, 0)

    def connect(self, sock: socket.socket, host: str, port: int, *, by_worker: bool) -> int:
        """The result, as a completion has it: 0, or an errno below 0."""
        packed = socket.inet_aton(host)
        addr = ctypes.create_string_buffer(struct.pack("<H", socket.AF_INET) + struct.pack(">H", port) + packed, 16)
        flags = IOSQE_ASYNC if by_worker else 0
        sqe = struct.pack("<BBHiQQ", OP_CONNECT, flags, 0, sock.fileno(), 16, ctypes.addressof(addr))
        self._sqes[: len(sqe)] = sqe
        head = struct.unpack_from("<I", self._cq, self._cq_at[0])[0]
        struct.pack_into("<I", self._sq, self._sq_at[1], struct.unpack_from("<I", self._sq, self._sq_at[1])[0] + 1)
        call(ENTER, self._fd, 0 if self._sqpoll else 1, 1, GETEVENTS | (SQ_WAKEUP if self._sqpoll else 0), 0, 0)
        while struct.unpack_from("<I", self._cq, self._cq_at[1])[0] == head:
            time.sleep(0.001)
        mask = struct.unpack_from("<I", self._cq, self._cq_at[2])[0]
        result = struct.unpack_from("<i", self._cq, self._cq_at[5] + 16 * (head & mask) + 8)[0]
        struct.pack_into("<I", self._cq, self._cq_at[0], head + 1)
        return int(result)


if __name__ == "__main__":
    how, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with socket.socket() as sock:
        print(Uring(sqpoll=how == "sqpoll").connect(sock, host, port, by_worker=how == "worker"))
