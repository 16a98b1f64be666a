"""The user's config file: TOML, in the platform's own folder, read at start and written by F2."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import platformdirs
import tomlkit
from tomlkit.exceptions import TOMLKitError

from tcptop_tui.config.schema import Config
from tcptop_tui.errors import TcptopError, UsageError

_MOST_BYTES = 1 << 20


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
        if foreign := is_foreign(path):
            return Config(), f"{foreign} belongs to another user: the settings in it are not used"
        text = path.read_bytes()[:_MOST_BYTES].decode()
        return msgspec.convert(tomlkit.parse(text).unwrap(), Config), ""
    except FileNotFoundError:
        return Config(), ""
    except (OSError, UnicodeDecodeError, TOMLKitError, msgspec.ValidationError) as error:
        why = " ".join(str(error).split())
        raise UsageError(f"the settings in {path} cannot be used: {why}", mend="mend or remove the file") from error


def is_foreign(path: Path) -> str:
    """The file, its folder, or the folder that this would be made in, when it is not this user's own; else empty.

    Links are not followed: whoever made one decides where it leads.
    """
    home = next((one for one in path.parents if one.exists() or one.is_symlink()), path.parent)
    for one in (home, path.parent, path):
        with suppress(FileNotFoundError, NotADirectoryError):
            if one.lstat().st_uid != os.geteuid():
                return str(one)
    return ""


def saved_filters(wanted: str) -> dict[str, str]:
    """The filters with names, if ``wanted`` calls one: where no other configuration matters none need be readable."""
    return load_config(default_path())[0].filters if "@" in wanted else {}


def save_config(path: Path, before: Config, after: Config) -> None:
    """Write what differs between the two into the file; comments and all else in it stay.

    Raises:
        TcptopError: it cannot be written, or should not.
    """
    try:
        if foreign := is_foreign(path):
            raise TcptopError(f"the settings are not saved: {foreign} belongs to another user")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.is_symlink():
            raise TcptopError(f"the settings are not saved: {path} is a symbolic link", mend="replace it by a file")
        document = tomlkit.parse(path.read_text(encoding="utf-8")) if path.exists() else tomlkit.document()
        _merge(document, msgspec.to_builtins(before), msgspec.to_builtins(after))
        write_private(path, tomlkit.dumps(document))
    except (OSError, UnicodeDecodeError, TOMLKitError) as error:
        raise TcptopError(f"the settings are not saved in {path}: {' '.join(str(error).split())}") from error


def _merge(document: Any, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    for name, value in after.items():
        if value == before.get(name):
            continue
        if isinstance(value, dict) and isinstance(document.get(name), dict):
            _merge(document[name], before.get(name, {}), value)
        else:
            document[name] = value
    for name in before.keys() - after.keys():
        document.pop(name, None)


def write_private(path: Path, text: str) -> None:
    """Whole or not at all, mode 0600."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
