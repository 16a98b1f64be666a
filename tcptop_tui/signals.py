"""The signals that mean: come to an end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def told_by_signals(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Meanwhile ``ENDING`` only call ``handler``; main thread only.

    An exception instead, such as KeyboardInterrupt, is raised in whatever runs just then, and is lost where that
    is a callback of C code that clears errors, or a finalizer.
    """
    before = {number: signal.signal(number, handler) for number in ENDING}
    try:
        yield
    finally:
        for number, one in before.items():
            signal.signal(number, one)
