"""The user's config file: TOML, in the platform's own folder, read at start and written by F2."""

from __future__ import annotations

import codecs
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import platformdirs

from tcptop_tui.config.schema import ColumnChoice, Config
from tcptop_tui.config.validation import column_choices, valid_settings
from tcptop_tui.errors import TcptopError
from tcptop_tui.host.private_files import NotPrivateError, read_private, write_private

_MAX_NAMED_KEYS = 5
_MAX_DEPTH = 100
"""Parts of a dotted name; tomllib's time grows with their square."""
_MOST_EDITED_BYTES = 1 << 17
"""Half a second of tomlkit, which slows down every key: 2 kB take 15 ms, 1 MB takes 8 s."""
_NOT_OURS = ": the settings in it are not used"
_NOTHING = Path(os.devnull)
_UNUSABLE = (OSError, ValueError, RecursionError)


def default_path() -> Path:
    """``~/.config/tcptop-tui/config.toml``, or where ``XDG_CONFIG_HOME`` says."""
    return platformdirs.user_config_path("tcptop-tui", appauthor=False) / "config.toml"


def load_config(path: Path, *, named: bool = False) -> tuple[Config, str]:
    """What the file says, and a note about it; what it does not say, or says wrongly, has its default.

    Under sudo the folder may be another user's: what somebody else wrote decides nothing here.

    Args:
        path: of the file; there need not be one, and ``/dev/null`` is empty.
        named: the user has named it, and is told that there is none.
    """
    try:
        document = _parsed(_text(path))
    except (FileNotFoundError, NotADirectoryError):
        return Config(), f"{path} does not exist, so the defaults are used" if named else ""
    except (NotPrivateError, PermissionError) as error:
        return Config(), f"{error}{_NOT_OURS}"
    except _UNUSABLE as error:
        return Config(), f"the settings in {path} cannot be used: {_line(error)}"
    config, wrong = valid_settings(document)
    return config, "; ".join(filter(None, (_wrong_note(path, wrong), _unknown_note(path, document))))


def _text(path: Path) -> str:
    return "" if path == _NOTHING else read_private(path).decode("utf-8-sig")


_NO_KEY = re.compile(r"""#.*|"[^"\n]*"|'[^'\n]*'""")
"""Comments and strings: their dots are no parts of a name. Of a quoted key the dots around it stay."""


def _parsed(text: str) -> dict[str, Any]:
    """A TOML document.

    Raises:
        ValueError: it is none.
        RecursionError: it is nested too deeply.
    """
    if any(part.count(".") > _MAX_DEPTH for part in re.split(r"[^\w. \t-]", _NO_KEY.sub("", text))):
        raise ValueError("a name has too many parts")
    return tomllib.loads(text)


def _line(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return (
        (error.strerror or "").lower()
        if isinstance(error, OSError) and error.strerror
        else " ".join(str(error).split())
    )


def _wrong_note(path: Path, wrong: Sequence[str]) -> str:
    if not wrong:
        return ""
    more = f" and {len(wrong) - _MAX_NAMED_KEYS} more" if len(wrong) > _MAX_NAMED_KEYS else ""
    return f"{', '.join(wrong[:_MAX_NAMED_KEYS])}{more}; the default is used ({path})"


def _unknown_note(path: Path, document: Mapping[str, Any]) -> str:
    """What it has that nothing reads: mistyped, or of another version; empty when there is nothing."""
    names = [name if name.isprintable() else repr(name) for name in _unknown(document)]
    if not names:
        return ""
    more = f" and {len(names) - _MAX_NAMED_KEYS} more" if len(names) > _MAX_NAMED_KEYS else ""
    return f"{path} has unknown settings, which have no effect: {', '.join(names[:_MAX_NAMED_KEYS])}{more}"


def _unknown(document: Mapping[str, Any]) -> Iterator[str]:
    yield from (name for name in document if name not in Config.__struct_fields__)
    for place, choice in column_choices(document):
        if isinstance(choice, dict):
            yield from (f"{place}.{name}" for name in choice.keys() - set(ColumnChoice.__struct_fields__))


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """Where the settings are, and whether the user has said so."""

    path: Path
    is_explicit: bool = False

    def load(self) -> tuple[Config, str]:
        """See ``load_config``."""
        return load_config(self.path, named=self.is_explicit)

    def startup_note(self, note: str) -> str:
        """``note``, if it is worth a line where there is no screen: not that with sudo the file is another user's."""
        return note if self.is_explicit or not note.endswith(_NOT_OURS) else ""

    def saved_filters(self, wanted: str) -> tuple[dict[str, str], str]:
        """The filters with names, and a note; the file is read if ``wanted`` calls one, or the user has named it."""
        if not self.is_explicit and "@" not in wanted:
            return {}, ""
        config, note = self.load()
        return config.filters, note

    @property
    def save_path(self) -> Path | None:
        """Where they are saved; None: nowhere."""
        return None if self.path == _NOTHING else self.path


def save_config(path: Path, before: Config, after: Config) -> None:
    """Write what differs between the two into the file; comments, line ends and all else in it stay.

    Raises:
        TcptopError: it cannot be written, or should not.
    """
    from tcptop_tui.config.toml_edit import edit_toml  # noqa: PLC0415  10 ms of a start, for who changes something

    try:
        mark, present = _present(path)
        known_wrong = valid_settings(_parsed(present))[1]
        if len(present) > _MOST_EDITED_BYTES:
            problem = f"the settings are not saved: {path} has more than {_MOST_EDITED_BYTES >> 10} KiB"
            raise TcptopError(problem, hint="make it smaller")
        written = edit_toml(present, msgspec.to_builtins(before), msgspec.to_builtins(after))
        wrong = [one for one in valid_settings(_parsed(written))[1] if one not in known_wrong]
        if wrong:  # the next start reads this
            raise ValueError(wrong[0])
        write_private(path, mark + written.encode())
    except NotPrivateError as error:
        raise TcptopError(f"the settings are not saved: {error}") from error
    except _UNUSABLE as error:
        raise TcptopError(f"the settings are not saved in {path}: {_line(error)}", hint="correct the file") from error


def _present(path: Path) -> tuple[bytes, str]:
    """The byte order mark that editors on Windows begin a file with, if it is there, and the text."""
    try:
        data = read_private(path)
    except FileNotFoundError:
        return b"", ""
    mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    return mark, data.removeprefix(mark).decode()
