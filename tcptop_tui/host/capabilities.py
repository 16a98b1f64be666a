"""The calling thread's capabilities: capget, capset and prctl, no more of them than is needed.

ctypes, because no library fits: python-prctl is a C extension without wheels, and pyprctl has had no release since
2021.

Each thread has its own sets; a new thread inherits those of the thread that starts it. Here all threads have the same
permitted set: a process of the same user may trace a thread that has less, and all threads share one memory. Only the
effective sets differ.
"""

from __future__ import annotations

import ctypes as ct
import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache
from typing import Any

from tcptop_tui.host import c_functions
from tcptop_tui.host.c_functions import Signature

_VERSION_3 = 0x20080522
"""_LINUX_CAPABILITY_VERSION_3: 64 bits, in two halves."""
_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_SECUREBITS = 23, 24, 28
_PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 38, 39, 47
_PR_CAP_AMBIENT_RAISE = 2
_NOROOT_LOCKED = 0b11
"""SECBIT_NOROOT with its lock: executing something as root gives no capabilities (capabilities(7))."""
_NUMBERS = 64


class Cap(IntEnum):
    """The capabilities that are used here, with the numbers of include/uapi/linux/capability.h."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    DAC_READ_SEARCH = 2
    FOWNER = 3
    SETPCAP = 8
    NET_ADMIN = 12
    SYS_PTRACE = 19
    SYS_ADMIN = 21
    PERFMON = 38
    BPF = 39

    def __str__(self) -> str:
        return f"CAP_{self.name}"


class _Header(ct.Structure):
    _fields_ = (("version", ct.c_uint32), ("pid", ct.c_int))


class _Half(ct.Structure):
    _fields_ = (("effective", ct.c_uint32), ("permitted", ct.c_uint32), ("inheritable", ct.c_uint32))


_Halves = _Half * 2


@dataclass(frozen=True, slots=True)
class CapabilitySets:
    """The sets of one thread, a bit for each capability."""

    effective: int
    permitted: int
    inheritable: int

    def has(self, cap: Cap) -> bool:
        """Whether the thread can use it: it is in the permitted set."""
        return bool(self.permitted >> cap & 1)


@lru_cache(maxsize=1)
def _libc() -> Any:
    on_sets = Signature(ct.c_int, (ct.POINTER(_Header), ct.POINTER(_Half)))
    prctl = Signature(ct.c_int, (ct.c_int, *[ct.c_ulong] * 4))
    return c_functions.load_library(None, {"prctl": prctl, "capget": on_sets, "capset": on_sets})


def _checked(call: Callable[..., int], *arguments: object) -> int:
    result = call(*arguments)
    if result < 0:
        number = ct.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _prctl(option: int, *arguments: int) -> int:
    return _checked(_libc().prctl, option, *arguments, *[0] * (4 - len(arguments)))


def _capability_bits(caps: Iterable[Cap]) -> int:
    return sum(1 << cap for cap in set(caps))


def thread_capabilities() -> CapabilitySets:
    """The sets of the calling thread."""
    halves = _Halves()
    _checked(_libc().capget, ct.byref(_Header(_VERSION_3, 0)), halves)
    low, high = halves
    return CapabilitySets(
        low.effective | high.effective << 32,
        low.permitted | high.permitted << 32,
        low.inheritable | high.inheritable << 32,
    )


def _set_thread(sets: CapabilitySets) -> None:
    low, high = (
        _Half(*(one >> shift & 0xFFFF_FFFF for one in (sets.effective, sets.permitted, sets.inheritable)))
        for shift in (0, 32)
    )
    _checked(_libc().capset, ct.byref(_Header(_VERSION_3, 0)), _Halves(low, high))


@contextmanager
def raise_capabilities(*caps: Cap) -> Iterator[None]:
    """Have ``caps`` in force in this thread meanwhile, as far as they are permitted."""
    previous = thread_capabilities()
    _set_thread(replace(previous, effective=previous.effective | _capability_bits(caps) & previous.permitted))
    try:
        yield
    finally:
        now = thread_capabilities()  # a capability that was given up meanwhile cannot come back
        _set_thread(replace(now, effective=previous.effective & now.permitted))


@contextmanager
def lend(*caps: Cap) -> Iterator[None]:
    """Let programs that this thread starts meanwhile have ``caps``, as far as they are permitted."""
    previous = thread_capabilities()
    permitted = {cap for cap in caps if previous.has(cap)}
    try:
        with suppress(PermissionError):  # not in the bounding set: whoever started us does not want it
            _set_thread(replace(previous, inheritable=previous.inheritable | _capability_bits(permitted)))
            for cap in permitted:
                _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, cap)
        yield
    finally:
        _set_thread(
            replace(thread_capabilities(), inheritable=previous.inheritable)
        )  # this clears them in the ambient set, too


def forbid_gains() -> None:
    """From now on a program that this process starts has only what it is lent, even if it is setuid or we are root.

    Raises:
        OSError: a sandbox forbids it.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if thread_capabilities().has(Cap.SETPCAP):
        with raise_capabilities(Cap.SETPCAP):
            _prctl(_PR_SET_SECUREBITS, _NOROOT_LOCKED)


def has_no_new_privs() -> bool:
    """Whether no_new_privs is set."""
    return bool(_prctl(_PR_GET_NO_NEW_PRIVS))


def keep(permitted: Iterable[Cap], effective: Iterable[Cap]) -> None:
    """Give up all other capabilities for good, in this thread and in those that it will start.

    Without CAP_SETPCAP the bounding set stays as it is.

    Raises:
        OSError: a sandbox forbids it.
    """
    kept_bits = _capability_bits(permitted)
    previous = thread_capabilities()
    if previous.has(Cap.SETPCAP):
        with raise_capabilities(Cap.SETPCAP):
            _drop_bounding(kept_bits)
    kept_bits &= previous.permitted
    _set_thread(CapabilitySets(_capability_bits(effective) & kept_bits, kept_bits, 0))


def _drop_bounding(kept_bits: int) -> None:
    for number in range(_NUMBERS):
        if not kept_bits >> number & 1:
            try:
                _prctl(_PR_CAPBSET_DROP, number)
            except OSError as error:
                if error.errno != errno.EINVAL:  # the kernel has no capability of that number
                    raise
                return


def bounding_set() -> int:
    """The bounding set, as bits."""
    bits = 0
    with suppress(OSError):  # the first number that the kernel does not know
        for number in range(_NUMBERS):
            bits |= _prctl(_PR_CAPBSET_READ, number) << number
    return bits
