"""Secures the process before anything else is imported: where modules come from, and the standard streams.

This module imports only what Python has imported already: while another user's folder may be on ``sys.path``, any
further import may run that user's code.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # built in; signal.py may be somebody else's yet
import io
import os
import stat
import sys

TYPE_CHECKING = False  # typing would have to be imported
if TYPE_CHECKING:
    from typing import Any

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120  pathlib would have to be imported
_STREAMS = (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_RDONLY, "w"), ("stderr", os.O_WRONLY, "w"))


def secure_startup() -> None:
    """Do all of it; to be called once, before any other import."""
    _exit_on_interrupt()
    _open_standard_streams()
    _drop_untrusted_folders()


def isolated_path() -> list[str]:
    """``sys.path`` for a child process with privileges: without the folders that the environment adds."""
    added = set(_from_environment()) - {_package_root()}
    return [folder for folder in sys.path if os.path.isabs(folder) and folder not in added]  # noqa: PTH117


def _exit_on_interrupt() -> None:
    """Let Ctrl+C end the process while it starts, instead of a traceback out of whatever is just being imported."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


# -- where modules come from --------------------------------------------------------------------


def _drop_untrusted_folders() -> None:
    """Take out of ``sys.path`` the present folder, and with privileges what strangers can write to.

    ``python -m`` puts the present folder first. As root, or with capabilities, folders of PYTHONPATH and the user's
    site-packages stay if only root, this user or who owns the program anyway can write to them.
    """
    if not sys.flags.safe_path and sys.path and sys.path[0] in {"", _present_folder()}:
        del sys.path[0]
    sys.path[:] = [folder for folder in sys.path if os.path.isabs(folder)]  # noqa: PTH117
    if _is_privileged():
        foreign = {folder for folder in (*_from_environment(), _user_site()) if folder and not is_trusted(folder)}
        sys.path[:] = [folder for folder in sys.path if folder not in foreign]


def _present_folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:  # it has been removed
        return ""


def _package_root() -> str:
    return os.path.dirname(_PACKAGE)  # noqa: PTH120


def _from_environment() -> list[str]:
    """The folders of PYTHONPATH, as they stand in ``sys.path``; an empty one, as in ``:/opt/x``, is the present one."""
    named = os.environ.get("PYTHONPATH", "")
    if sys.flags.ignore_environment or not named:
        return []
    folders = [os.path.join(_present_folder(), folder) for folder in named.split(os.pathsep)]  # noqa: PTH118
    return [os.path.normpath(folder) for folder in folders if os.path.isabs(folder)]  # noqa: PTH117


def _user_site() -> str:
    return str(getattr(sys.modules.get("site"), "USER_SITE", None) or "")


def _is_privileged() -> bool:
    """Root, or somebody with capabilities."""
    if os.geteuid() == 0:
        return True
    with open("/proc/self/status", "rb") as file:
        return any(line.startswith(b"CapPrm:") and line.split()[1].strip(b"0") for line in file)


def is_trusted(folder: str, *, shared: bool = False) -> bool:
    """Whether nobody but root, this user and the program's owner can replace what lies in ``folder``.

    Args:
        folder: is checked together with all folders above it.
        shared: it may be a sticky folder as ``/tmp``, in which everybody can make files of their own.
    """
    trusted = {0, os.geteuid(), os.stat(_PACKAGE).st_uid}  # noqa: PTH116
    one, sticky_is_enough = os.path.realpath(folder), shared
    try:
        while True:
            found = os.stat(one)  # noqa: PTH116
            closed = not found.st_mode & stat.S_IWOTH or (sticky_is_enough and found.st_mode & stat.S_ISVTX)
            if found.st_uid not in trusted or not closed:
                return False
            above = os.path.dirname(one)  # noqa: PTH120
            if above == one:
                return True
            one, sticky_is_enough = above, True
    except OSError:
        return False


# -- standard streams ---------------------------------------------------------------------------


def _open_standard_streams() -> None:
    """Open ``/dev/null`` for closed standard streams, so that no socket gets their number; and never fail to encode.

    Number 1 is opened for reading, so that a write to a closed standard output fails instead of getting lost.
    """
    for number, (name, flags, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)
        if getattr(sys, name) is None:
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115  as long as the process
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    encoding = sys.stderr.encoding
    file = io.BufferedWriter(_LenientFile(2, "w", closefd=False))
    sys.stderr = io.TextIOWrapper(file, encoding=encoding, errors="backslashreplace", line_buffering=True)


class _LenientFile(io.FileIO):
    """A file that ignores failed writes: an error message that nobody reads is not another error."""

    def write(self, data: Any, /) -> int:
        """See ``io.FileIO``."""
        try:
            return super().write(data) or 0
        except OSError:
            return len(data)
