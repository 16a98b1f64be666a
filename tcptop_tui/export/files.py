"""Writing a file as root on behalf of somebody: whole or not at all, and nowhere else."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import stat
from pathlib import Path

from tcptop_tui.errors import TcptopError

_MODE = 0o600  # who talks to whom is nobody else's business


class ExportError(TcptopError):
    """The file was not written; what was there before is still there."""


def caller() -> tuple[int, int]:
    """Uid and gid of the user who started us, also through sudo."""
    if os.geteuid() == 0:
        uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
        if uid.isdecimal() and gid.isdecimal():
            return int(uid), int(gid)
    return os.geteuid(), os.getegid()


def resolve_path(text: str) -> Path:
    """The path that a user typed, absolute, with ``~`` for that user's home.

    Raises:
        ExportError: it names no file.
    """
    if "\0" in text or not text.strip():
        raise ExportError("no file name was given", mend="type one, e.g. snapshot.json")
    if text == "~" or text.startswith("~/"):
        with contextlib.suppress(KeyError):
            text = pwd.getpwuid(caller()[0]).pw_dir + text[1:]
    return Path.cwd() / text


def write_export(path: Path, data: bytes) -> Path:
    """Write ``data`` beside ``path`` and rename it there: mode 0600, owned by the caller.

    Nothing is written through a symbolic link: not the last part of the path, which a link of that
    name makes us refuse, nor a folder on the way that somebody else could have put there.

    Raises:
        ExportError: in one line, what and why.
    """
    try:
        _refuse_foreign_links(path.parent)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _explained(path, error) from error
    try:
        _refuse_unless_replaceable(folder, path)
        _write_and_rename(folder, path.name, data)
    except OSError as error:
        raise _explained(path, error) from error
    finally:
        os.close(folder)
    return path


def _explained(path: Path, error: OSError) -> ExportError:
    return ExportError(
        f"cannot write {path}: {(error.strerror or str(error)).lower()}", mend="choose another file or folder"
    )


def _refuse_foreign_links(folder: Path) -> None:
    """A link on the way may belong to root or to the caller, to nobody else."""
    trusted = {0, caller()[0]}
    for part in (*reversed(folder.parents), folder):
        found = part.lstat()
        if stat.S_ISLNK(found.st_mode) and found.st_uid not in trusted:
            raise ExportError(
                f"cannot write below {part}: it is a symbolic link of another user", mend="choose another folder"
            )


def _refuse_unless_replaceable(folder: int, path: Path) -> None:
    """What is there may be replaced only if it is a plain file of root's or the caller's."""
    try:
        found = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        raise ExportError(f"cannot write {path}: it is a symbolic link", mend="choose another file")
    if not stat.S_ISREG(found.st_mode):
        raise ExportError(f"cannot write {path}: it is not a plain file", mend="choose another file")
    if found.st_uid not in {0, caller()[0]}:
        raise ExportError(f"cannot write {path}: it belongs to another user", mend="choose another file")


def _write_and_rename(folder: int, name: str, data: bytes) -> None:
    temporary = f".tcptop-{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    out = os.open(temporary, flags, _MODE, dir_fd=folder)
    try:
        with os.fdopen(out, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), _MODE)
            if os.geteuid() == 0:
                os.fchown(file.fileno(), *caller())
            os.fsync(file.fileno())
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
