"""Folders for the compiler's headers: none stays behind, whatever ends the process that made it.

bcc reads headers from a folder only. A process keeps its folder locked (flock(2)), and the kernel drops the lock when
the process ends. A folder that nobody has locked was left behind; the next compiler, or whoever killed the last one,
removes it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

_PREFIX = "tcptop-headers-"


class _Lock:
    """A lock on a folder, until it is closed.

    Raises:
        OSError: the folder is gone, is a link, or is locked by others (BlockingIOError).
    """

    def __init__(self, folder: Path, operation: int) -> None:
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, operation)
        except OSError:
            self.close()
            raise

    def is_ours(self) -> bool:
        """Whether this user made the folder."""
        return os.fstat(self._descriptor).st_uid == os.geteuid()

    def close(self) -> None:
        """Release it."""
        os.close(self._descriptor)


@contextmanager
def locked_folder() -> Iterator[Path]:
    """A new empty folder, removed at the end of the context.

    Raises:
        OSError: no temporary folder can be written.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        with suppress(FileNotFoundError), closing(_Lock(folder, fcntl.LOCK_SH)):
            if not folder.exists():  # it was not locked yet, and taken for one that was left behind
                continue
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return


def remove_abandoned(place: str) -> None:
    """Remove this user's folders in ``place`` that no process has locked."""
    with suppress(OSError):
        found = [Path(entry) for entry in os.scandir(place) if entry.name.startswith(_PREFIX)]
        for folder in found:
            with suppress(OSError), closing(_Lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)) as lock:
                if lock.is_ours():
                    shutil.rmtree(folder, ignore_errors=True)
