"""The calling thread's capabilities: capget, capset and prctl, no more of them than is needed.

By ctypes, because there is no library to be had for it: python-prctl is a C extension without
wheels, and pyprctl has had no release since 2021.

A thread has its own sets, and one that is started takes over those of the thread that starts it. The
permitted set is the same in all threads here: one that had less could be traced by a process of the
same user, and with the memory of one he would have all of them. What differs is the effective set.
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
    """As include/uapi/linux/capability.h numbers them; only those that are asked for here."""

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
    """Of one thread, a bit for each capability."""

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
    """What the calling thread has."""
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
    """Use ``caps`` in this thread, as far as they are permitted; what needs others fails as ever."""
    before = thread_capabilities()
    _set_thread(replace(before, effective=before.effective | _capability_bits(caps) & before.permitted))
    try:
        yield
    finally:
        now = thread_capabilities()  # what has been given up meanwhile does not come back
        _set_thread(replace(now, effective=before.effective & now.permitted))


@contextmanager
def lend(*caps: Cap) -> Iterator[None]:
    """Let programs that this thread starts have ``caps``, as far as they are permitted."""
    before = thread_capabilities()
    given = {cap for cap in caps if before.has(cap)}
    try:
        with suppress(PermissionError):  # not in the bounding set: whoever started us does not want it lent
            _set_thread(replace(before, inheritable=before.inheritable | _capability_bits(given)))
            for cap in given:
                _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, cap)
        yield
    finally:
        _set_thread(
            replace(thread_capabilities(), inheritable=before.inheritable)
        )  # takes them out of the ambient set too


def forbid_gains() -> None:
    """No program that is started from now on has more than it is lent, be it setuid or we be root.

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
    """Give up everything but these, for this thread and those that it will start; there is no way back.

    The bounding set needs CAP_SETPCAP; without it, it stays as it is.

    Raises:
        OSError: a sandbox forbids it.
    """
    kept = _capability_bits(permitted)
    had = thread_capabilities()
    if had.has(Cap.SETPCAP):
        with raise_capabilities(Cap.SETPCAP):
            _drop_bounding(kept)
    kept &= had.permitted
    _set_thread(CapabilitySets(_capability_bits(effective) & kept, kept, 0))


def _drop_bounding(kept: int) -> None:
    for number in range(_NUMBERS):
        if not kept >> number & 1:
            try:
                _prctl(_PR_CAPBSET_DROP, number)
            except OSError as error:
                if error.errno != errno.EINVAL:  # the kernel has no capability of that number
                    raise
                return


def bounding_set() -> int:
    """The bounding set, as bits."""
    found = 0
    with suppress(OSError):  # the first number that the kernel does not know
        for number in range(_NUMBERS):
            found |= _prctl(_PR_CAPBSET_READ, number) << number
    return found
