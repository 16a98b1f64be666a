"""Reads and writes small files of the user's own, only where nobody else can change them.

Under sudo HOME may still be the caller's. A file that another user can write to is not read, and nothing is written
where another user could put a link.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

MAX_BYTES = 1 << 20


class NotPrivateError(OSError):
    """Another user can change the file or a folder on the way to it; the message is one line."""


def _refuse_foreign(path: Path) -> None:
    """Check the file and every folder on the way to it: the owner of a folder can replace what lies in it at any time.

    The file and its folder must be this user's own, or links of theirs to something of root's; the
    folders above may be root's.

    Raises:
        NotPrivateError: it names the first one that belongs to another user.
    """
    me = os.geteuid()
    for one in (path.absolute(), path.absolute().parent):
        with suppress(FileNotFoundError, NotADirectoryError):
            if one.lstat().st_uid != me or one.stat().st_uid not in {me, 0}:
                raise NotPrivateError(f"{one} belongs to another user")
    for one in _parent_folders(path):
        if {one.lstat().st_uid, one.stat().st_uid} - {me, 0}:
            raise NotPrivateError(f"{one} belongs to another user")


def _parent_folders(path: Path) -> Iterator[Path]:
    """Every folder that there is on the way, as it is written and as links lead."""
    given = path.absolute().parent
    for folder in (given, given.resolve()):
        yield from (one for one in (folder, *folder.parents) if one.exists())


def open_nonblocking(path: Path) -> IO[bytes]:
    """Open for reading whatever it is: neither wait for a FIFO, nor get a terminal as the controlling one."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb")


def read_private(path: Path) -> bytes:
    """What is in it.

    Raises:
        FileNotFoundError: there is none.
        NotPrivateError: it is somebody else's.
        OSError: it is no plain file, is too large to be meant, or cannot be read.
    """
    _refuse_foreign(path)
    with open_nonblocking(path) as file:
        found = os.fstat(file.fileno())
        if found.st_uid not in {os.geteuid(), 0}:
            raise NotPrivateError(f"{path} belongs to another user")
        if not stat.S_ISREG(found.st_mode):
            raise OSError("it is not a plain file")
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OSError(f"it is larger than {MAX_BYTES >> 20} MiB")
    return data


def write_private(path: Path, data: bytes) -> None:
    """Whole or not at all, mode 0600; its folder is made where it is missing.

    Raises:
        NotPrivateError: it is somebody else's, or a symbolic link.
        OSError: it cannot be written.
    """
    _refuse_foreign(path)
    if path.is_symlink():
        raise NotPrivateError(f"{path} is a symbolic link")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
