"""Writes files, perhaps as root, on behalf of the user who called us.

A file is written whole or not at all, with mode 0600, and belongs to that user. No symbolic link of another user may
lead the write somewhere else.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import re
import secrets
import stat
from pathlib import Path
from typing import IO

from tcptop_tui.errors import TcptopError
from tcptop_tui.host import capabilities
from tcptop_tui.host.privileges import WRITER
from tcptop_tui.safe_text import clean

_MODE = 0o600  # exports say who talks to whom
_MAX_LINKS = 40  # as the kernel (MAXSYMLINKS, include/linux/namei.h)
_NULL_DEVICE = os.makedev(1, 3)  # Documentation/admin-guide/devices.txt
_NO_ID = 2**32 - 1  # chown(2) takes it for "leave as it is"

_HINTS = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "free some space or choose another folder",
    errno.ENOENT: "make the folder first, or choose another one",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder on another disk",
    errno.ENAMETOOLONG: "choose a shorter name",
}


class ExportError(TcptopError):
    """The file was not written; a file that was there before is unchanged."""


def _sudo_id(name: str) -> int | None:
    value = os.environ.get(name, "")
    return int(value) if re.fullmatch("[0-9]{1,10}", value) and int(value) < _NO_ID else None


def calling_user() -> tuple[int, int]:
    """Uid and gid of the user who started us, also through sudo."""
    if os.geteuid() == 0:
        uid, gid = _sudo_id("SUDO_UID"), _sudo_id("SUDO_GID")
        if uid is not None and gid is not None:
            return uid, gid
    return os.geteuid(), os.getegid()


def resolve_path(text: str) -> Path:
    """The path that a user typed, absolute, with ``~`` for that user's home.

    Raises:
        ExportError: it names no file, or is relative to a folder that is gone.
    """
    if "\0" in text or not text.strip():
        raise ExportError("no file name was given", hint="type one, e.g. snapshot.json")
    if text == "~" or text.startswith("~/"):
        with contextlib.suppress(KeyError):
            text = pwd.getpwuid(calling_user()[0]).pw_dir + text[1:]
    try:
        return Path(text).absolute()
    except OSError as error:
        raise _error_text(Path(text), error) from error


def write_export(path: Path, data: bytes) -> Path:
    """Write ``data`` beside ``path`` and rename it there: mode 0600, owned by the caller.

    Nothing is written through a symbolic link: a link in place of the file is refused, and so is a link of another user
    in place of a folder on the way. An existing file is replaced only if it is a plain file of root's or the caller's.
    The null device takes everything and stays what it is.

    Raises:
        ExportError: it was not written; the message says why.
    """
    if _is_null_device(path):
        return path
    try:
        with capabilities.raise_capabilities(*WRITER):
            folder = _open_folder(path.parent)
            try:
                _refuse_unless_replaceable(folder, path)
                _write_and_rename(folder, path.name, data).close()
            finally:
                os.close(folder)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise _error_text(path, error) from error
    return path


def _is_null_device(path: Path) -> bool:
    """Whether ``path`` is /dev/null or a node like it, which scripts name to measure or to test."""
    with contextlib.suppress(OSError, ValueError):
        found = path.lstat()
        return stat.S_ISCHR(found.st_mode) and found.st_rdev == _NULL_DEVICE
    return False


def _error_text(path: Path, error: OSError | ValueError) -> ExportError:
    number = error.errno if isinstance(error, OSError) else None
    why = os.strerror(number).lower() if number else clean(str(error))
    return ExportError(
        f"cannot write {clean(str(path))}: {why}", hint=_HINTS.get(number or 0, "choose another file or folder")
    )


def _open_folder(folder: Path) -> int:
    """An O_PATH descriptor of ``folder``.

    Each part of the path is opened relative to the descriptor of the part before it, so that nobody can replace a part
    between its check and its use. A link must belong to root or to the caller, and so must a link that it leads to. The
    kernel has the same rule, for sticky folders only
    (fs/namei.c ``may_follow_link``, sysctl fs.protected_symlinks).

    Raises:
        ExportError: a link of another user is on the way.
        OSError: it cannot be reached.
    """
    parts = list(reversed(folder.parts))
    links = 0
    here = os.open(folder.anchor or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while parts:
            part = os.open(parts.pop(), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            try:
                if stat.S_ISLNK(os.fstat(part).st_mode):
                    links += 1
                    parts += reversed(_follow(part, links, folder).parts)
                else:
                    here, part = part, here
            finally:
                os.close(part)
    except BaseException:
        os.close(here)
        raise
    return here


def _follow(link: int, links: int, folder: Path) -> Path:
    """The target of the ``links``-th link on the way, if it may be followed; an absolute one starts again at ``/``."""
    if links > _MAX_LINKS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if os.fstat(link).st_uid not in {0, calling_user()[0]}:
        raise ExportError(
            f"cannot write to {clean(str(folder))}: a symbolic link of another user is on the way",
            hint="choose another folder",
        )
    return Path(os.readlink("", dir_fd=link))


def _refuse_unless_replaceable(folder: int, path: Path) -> None:
    try:
        status = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(status.st_mode):
        why = "it is a symbolic link"
    elif not stat.S_ISREG(status.st_mode):
        why = "it is not a plain file"
    elif status.st_uid not in {0, calling_user()[0]}:
        why = "it belongs to another user"
    else:
        return
    raise ExportError(f"cannot write {clean(str(path))}: {why}", hint="choose another file")


def _write_and_rename(folder: int, name: str, data: bytes) -> IO[bytes]:
    file, temporary = _make(folder)
    try:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        _remove(folder, temporary, file)
        raise
    return file


def _make(folder: int, buffering: int = -1) -> tuple[IO[bytes], str]:
    """A new file with a random name, mode 0600, that belongs to the caller; returns the file and its name."""
    temporary = f".tcptop-{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.fdopen(os.open(temporary, flags, _MODE, dir_fd=folder), "wb", buffering)
    try:
        os.fchmod(file.fileno(), _MODE)
        if os.geteuid() == 0:
            os.fchown(file.fileno(), *calling_user())
    except BaseException:
        _remove(folder, temporary, file)
        raise
    return file, temporary


def _remove(folder: int, temporary: str, file: IO[bytes]) -> None:
    with contextlib.suppress(OSError):
        file.close()
    with contextlib.suppress(OSError):
        os.unlink(temporary, dir_fd=folder)


class DraftFile:
    """A file that is written for as long as the program runs, and gets its name once there is something in it.

    Args:
        path: its name; a file of that name is replaced under the same conditions as by ``write_export``.

    Raises:
        ExportError: it cannot be made; the message says why.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._published = False
        self._folder = -1
        try:
            with capabilities.raise_capabilities(*WRITER):
                self._folder = _open_folder(path.parent)
                _refuse_unless_replaceable(self._folder, path)
                self.file, self._temporary = _make(self._folder, buffering=0)
                """Open for writing, without a buffer."""
        except (OSError, ValueError) as error:
            self._close_folder()
            raise _error_text(path, error) from error
        except ExportError:
            self._close_folder()
            raise

    def publish(self) -> None:
        """Give the file its name; a second call does nothing.

        Raises:
            ExportError: there is something else of that name by now that must not be replaced.
        """
        if self._published:
            return
        try:
            with capabilities.raise_capabilities(*WRITER):
                _refuse_unless_replaceable(self._folder, self._path)
                os.rename(self._temporary, self._path.name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except OSError as error:
            raise _error_text(self._path, error) from error
        self._published = True

    def close(self) -> None:
        """Close the file; remove it if it was never published."""
        if self._published:
            self.file.close()
        else:
            with capabilities.raise_capabilities(*WRITER):
                _remove(self._folder, self._temporary, self.file)
        self._close_folder()

    def _close_folder(self) -> None:
        if self._folder >= 0:
            os.close(self._folder)
        self._folder = -1
