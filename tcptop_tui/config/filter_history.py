"""The history of typed filters, kept across starts in the platform's state folder: one a line, newest last."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import platformdirs

from tcptop_tui.host.private_files import read_private, write_private
from tcptop_tui.settings import MAX_FILTER_CHARS

MAX_ENTRIES = 200


def default_path() -> Path:
    """``~/.local/state/tcptop-tui/filters``, or where ``XDG_STATE_HOME`` says."""
    return platformdirs.user_state_path("tcptop-tui", appauthor=False) / "filters"


class FilterHistory:
    """Filters that were typed, the newest last, none of them twice.

    Args:
        path: of the file; None: the history is only in memory. A file that is not this user's own is left alone.
        parses: whether an entry is still a valid filter.
    """

    def __init__(self, path: Path | None = None, parses: Callable[[str], bool] = bool) -> None:
        self._path = path
        self._is_valid = parses
        self.entries: list[str] = []
        if path is not None:
            with suppress(OSError):
                lines = read_private(path).decode(errors="replace").splitlines()[-MAX_ENTRIES:]
                self.entries = [line for line in lines if self._is_usable(line)]

    def _is_usable(self, entry: str) -> bool:
        return entry.isprintable() and 0 < len(entry) <= MAX_FILTER_CHARS and self._is_valid(entry)

    def add(self, entry: str) -> None:
        """Make ``entry`` the newest. That the file cannot be written is ignored."""
        entry = entry.strip()
        if not self._is_usable(entry):
            return
        self.entries = [*(older for older in self.entries if older != entry), entry][-MAX_ENTRIES:]
        if self._path is not None:
            with suppress(OSError):
                write_private(self._path, "".join(f"{line}\n" for line in self.entries).encode())

    def older(self, prefix: str, before: int) -> int | None:
        """Index of the last entry before index ``before`` that begins with ``prefix``; None: there is none."""
        indices = range(before - 1, -1, -1)
        return next((index for index in indices if self.entries[index].startswith(prefix)), None)

    def newer(self, prefix: str, after: int) -> int | None:
        """Index of the first entry after index ``after`` that begins with ``prefix``; None: there is none."""
        indices = range(after + 1, len(self.entries))
        return next((index for index in indices if self.entries[index].startswith(prefix)), None)
