"""Every error that a user is meant to read: one line that says what, why, and what to do."""

from __future__ import annotations

from collections.abc import Sequence


class TcptopError(Exception):
    """An error with an exit code and, where there is one, the command that mends it."""

    exit_code = 1

    def __init__(self, message: str, *, mend: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = mend

    def __str__(self) -> str:
        return f"{self.message}: {self.hint}" if self.hint else self.message


class UsageError(TcptopError):
    """What the user typed cannot be used: option, filter, port, path, terminal."""

    exit_code = 2


class BackendUnavailable(TcptopError):
    """A source cannot run on this host; ``mend`` says what would help.

    Args:
        said: the last lines of the compiler or of the kernel's verifier, for ``doctor``.
    """

    def __init__(self, message: str, *, mend: str = "", said: Sequence[str] = ()) -> None:
        super().__init__(message, mend=mend)
        self.details = tuple(said)
