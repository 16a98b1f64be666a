"""The user's config file: TOML, in the platform's own folder, read at start and written by F2."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import platformdirs

from tcptop_tui.config.own_files import NotOwnError, read_own, write_own
from tcptop_tui.config.schema import ColumnChoice, Config
from tcptop_tui.errors import TcptopError, UsageError

_MOST_NAMED = 5
_UNUSABLE = (OSError, ValueError, msgspec.ValidationError)


def default_path() -> Path:
    """``~/.config/tcptop-tui/config.toml``, or where ``XDG_CONFIG_HOME`` says."""
    return platformdirs.user_config_path("tcptop-tui", appauthor=False) / "config.toml"


def load_config(path: Path) -> tuple[Config, str]:
    """What the file says, and a note about it; no file: the defaults.

    Under sudo the folder may be another user's: what somebody else wrote decides nothing here.

    Raises:
        UsageError: it cannot be read, is no TOML, or has a value that cannot be.
    """
    try:
        document = tomllib.loads(read_own(path).decode())
        return msgspec.convert(document, Config), _unknown_note(path, document)
    except (FileNotFoundError, NotADirectoryError):
        return Config(), ""
    except (NotOwnError, PermissionError) as error:
        return Config(), f"{error}: the settings in it are not used"
    except _UNUSABLE as error:
        raise UsageError(
            f"the settings in {path} cannot be used: {_line(error)}", mend="mend or remove the file"
        ) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _unknown_note(path: Path, document: Mapping[str, Any]) -> str:
    """What it has that nothing reads: mistyped, or of another version; empty when there is nothing."""
    names = [name if name.isprintable() else repr(name) for name in _unknown(document)]
    if not names:
        return ""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{path}: not known, and without effect: {', '.join(names[:_MOST_NAMED])}{more}"


def _unknown(document: Mapping[str, Any]) -> Iterator[str]:
    yield from (name for name in document if name not in Config.__struct_fields__)
    for kind, choices in document.get("columns", {}).items():
        for place, choice in enumerate(choices):
            for name in choice.keys() - set(ColumnChoice.__struct_fields__):
                yield f"columns.{kind}[{place}].{name}"


def saved_filters(wanted: str) -> dict[str, str]:
    """The filters with names, if ``wanted`` calls one: where no other configuration matters none need be readable."""
    return load_config(default_path())[0].filters if "@" in wanted else {}


def save_config(path: Path, before: Config, after: Config) -> None:
    """Write what differs between the two into the file; comments, line ends and all else in it stay.

    Raises:
        TcptopError: it cannot be written, or should not.
    """
    from tcptop_tui.config.edited import edited  # noqa: PLC0415  10 ms of a start, for who changes something

    try:
        written = edited(_present(path), msgspec.to_builtins(before), msgspec.to_builtins(after))
        msgspec.convert(tomllib.loads(written), Config)  # the next start reads this
        write_own(path, written.encode())
    except NotOwnError as error:
        raise TcptopError(f"the settings are not saved: {error}") from error
    except _UNUSABLE as error:
        raise TcptopError(f"the settings are not saved in {path}: {_line(error)}", mend="mend the file") from error


def _present(path: Path) -> str:
    try:
        return read_own(path).decode()
    except FileNotFoundError:
        return ""
