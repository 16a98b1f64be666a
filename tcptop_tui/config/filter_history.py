"""The filters that were typed, across starts: one a line, newest last, in the platform's state folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import platformdirs

from tcptop_tui.host.private_files import read_private, write_private
from tcptop_tui.settings import MAX_FILTER_CHARS

MOST_ENTRIES = 200


def default_path() -> Path:
    """``~/.local/state/tcptop-tui/filters``, or where ``XDG_STATE_HOME`` says."""
    return platformdirs.user_state_path("tcptop-tui", appauthor=False) / "filters"


class FilterHistory:
    """Newest last, nothing twice.

    Args:
        path: where it is kept; None: only in memory. A file that is not this user's own is left alone.
        parses: whether an entry can still be used.
    """

    def __init__(self, path: Path | None = None, parses: Callable[[str], bool] = bool) -> None:
        self._path = path
        self._is_valid = parses
        self.entries: list[str] = []
        if path is not None:
            with suppress(OSError):
                lines = read_private(path).decode(errors="replace").splitlines()[-MOST_ENTRIES:]
                self.entries = [line for line in lines if self._is_good(line)]

    def _is_good(self, entry: str) -> bool:
        return entry.isprintable() and 0 < len(entry) <= MAX_FILTER_CHARS and self._is_valid(entry)

    def add(self, entry: str) -> None:
        """Remember it as the newest; a file that cannot be written is no reason to stop."""
        entry = entry.strip()
        if not self._is_good(entry):
            return
        self.entries = [*(one for one in self.entries if one != entry), entry][-MOST_ENTRIES:]
        if self._path is not None:
            with suppress(OSError):
                write_private(self._path, "".join(f"{line}\n" for line in self.entries).encode())

    def older(self, prefix: str, before: int) -> int | None:
        """Place of the entry before place ``before`` that begins with ``prefix``."""
        return next((place for place in range(before - 1, -1, -1) if self.entries[place].startswith(prefix)), None)

    def newer(self, prefix: str, after: int) -> int | None:
        """Place of the entry after place ``after`` that begins with ``prefix``."""
        places = range(after + 1, len(self.entries))
        return next((place for place in places if self.entries[place].startswith(prefix)), None)
