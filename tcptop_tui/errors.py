"""Errors that a user is meant to read: one line that says what happened, why, and what to do."""

from __future__ import annotations

from collections.abc import Sequence


class TcptopError(Exception):
    """An error that the command line prints as ``message: hint``, and its exit code.

    Args:
        message: what happened, and why.
        hint: what the user can do about it; empty if nothing is known.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}: {self.hint}" if self.hint else self.message


class UsageError(TcptopError):
    """What the user typed cannot be used: option, filter, port, path, terminal."""

    exit_code = 2


class BackendUnavailable(TcptopError):
    """A source cannot run on this host; ``hint`` says what would help.

    Args:
        details: the last lines of the compiler or of the kernel's verifier, for ``doctor``.
    """

    def __init__(self, message: str, *, hint: str = "", details: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.details = tuple(details)
