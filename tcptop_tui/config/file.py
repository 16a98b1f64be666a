"""The user's config file: TOML in the platform's folder for it, read at the start and written by F2.

A wrong value costs that value and a note, never the start. What is not ours in the file (comments, other keys) stays.
"""

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
_MAX_EDITED_BYTES = 1 << 17
"""tomlkit takes half a second for this, and keys are slow meanwhile: 2 kB take 15 ms, 1 MB takes 8 s."""
_FOREIGN_FILE = ": the settings in it are not used"
_DEV_NULL = Path(os.devnull)
_UNUSABLE = (OSError, ValueError, RecursionError)


def default_path() -> Path:
    """``~/.config/tcptop-tui/config.toml``, or where ``XDG_CONFIG_HOME`` says."""
    return platformdirs.user_config_path("tcptop-tui", appauthor=False) / "config.toml"


def load_config(path: Path, *, is_explicit: bool = False) -> tuple[Config, str]:
    """The settings of the file, and a note for the user; what is missing or wrong in it has its default.

    Under sudo the folder may be another user's. A file that somebody else can write to is not used.

    Args:
        path: of the file, which need not exist; ``/dev/null`` is empty.
        is_explicit: the user has named the file, so the note says if there is none.
    """
    try:
        document = _parsed(_text(path))
    except (FileNotFoundError, NotADirectoryError):
        return Config(), f"{path} does not exist, so the defaults are used" if is_explicit else ""
    except (NotPrivateError, PermissionError) as error:
        return Config(), f"{error}{_FOREIGN_FILE}"
    except _UNUSABLE as error:
        return Config(), f"the settings in {path} cannot be used: {_reason(error)}"
    config, wrong = valid_settings(document)
    return config, "; ".join(filter(None, (_wrong_note(path, wrong), _unknown_note(path, document))))


def _text(path: Path) -> str:
    return "" if path == _DEV_NULL else read_private(path).decode("utf-8-sig")


_NOT_IN_KEYS = re.compile(r"""#.*|"[^"\n]*"|'[^'\n]*'""")
"""Comments and strings, whose dots do not separate parts of a name."""


def _parsed(text: str) -> dict[str, Any]:
    """A TOML document.

    Raises:
        ValueError: ``text`` is not TOML.
        RecursionError: it is nested too deeply.
    """
    if any(part.count(".") > _MAX_DEPTH for part in re.split(r"[^\w. \t-]", _NOT_IN_KEYS.sub("", text))):
        raise ValueError("a name has too many parts")
    return tomllib.loads(text)


def _reason(error: Exception) -> str:
    """What is wrong, in one line."""
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
    """A note of settings that nothing reads, mistyped or of another version; empty if there are none."""
    names = [name if name.isprintable() else repr(name) for name in _unknown_keys(document)]
    if not names:
        return ""
    more = f" and {len(names) - _MAX_NAMED_KEYS} more" if len(names) > _MAX_NAMED_KEYS else ""
    return f"{path} has unknown settings, which have no effect: {', '.join(names[:_MAX_NAMED_KEYS])}{more}"


def _unknown_keys(document: Mapping[str, Any]) -> Iterator[str]:
    yield from (name for name in document if name not in Config.__struct_fields__)
    for location, choice in column_choices(document):
        if isinstance(choice, dict):
            yield from (f"{location}.{name}" for name in choice.keys() - set(ColumnChoice.__struct_fields__))


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """Where the config file is, and whether the user has named it (``--config``)."""

    path: Path
    is_explicit: bool = False

    def load(self) -> tuple[Config, str]:
        """See ``load_config``."""
        return load_config(self.path, is_explicit=self.is_explicit)

    def startup_note(self, note: str) -> str:
        """``note`` if a command without a screen should print it.

        That the file is another user's is normal under sudo, and is only worth a line if the user has named the file.
        """
        return note if self.is_explicit or not note.endswith(_FOREIGN_FILE) else ""

    def saved_filters(self, filter_text: str) -> tuple[dict[str, str], str]:
        """The saved filters, and a note. The file is read if ``filter_text`` uses one, or if the user has named it."""
        if not self.is_explicit and "@" not in filter_text:
            return {}, ""
        config, note = self.load()
        return config.filters, note

    @property
    def save_path(self) -> Path | None:
        """Where settings are saved; None: nowhere."""
        return None if self.path == _DEV_NULL else self.path


def save_config(path: Path, before: Config, after: Config) -> None:
    """Write what differs between ``before`` and ``after`` into the file; comments, line ends and all else stay.

    Raises:
        TcptopError: the file cannot be written, or is one that should not be.
    """
    from tcptop_tui.config.toml_edit import edit_toml  # noqa: PLC0415  10 ms of a start, and few change something

    try:
        byte_order_mark, text = _read_with_mark(path)
        previously_wrong = valid_settings(_parsed(text))[1]
        if len(text) > _MAX_EDITED_BYTES:
            problem = f"the settings are not saved: {path} has more than {_MAX_EDITED_BYTES >> 10} KiB"
            raise TcptopError(problem, hint="make it smaller")
        edited = edit_toml(text, msgspec.to_builtins(before), msgspec.to_builtins(after))
        wrong = [problem for problem in valid_settings(_parsed(edited))[1] if problem not in previously_wrong]
        if wrong:  # the next start would not be able to use it
            raise ValueError(wrong[0])
        write_private(path, byte_order_mark + edited.encode())
    except NotPrivateError as error:
        raise TcptopError(f"the settings are not saved: {error}") from error
    except _UNUSABLE as error:
        raise TcptopError(f"the settings are not saved in {path}: {_reason(error)}", hint="correct the file") from error


def _read_with_mark(path: Path) -> tuple[bytes, str]:
    """The byte order mark that editors on Windows write at the beginning of a file, or b"", and the text behind it."""
    try:
        data = read_private(path)
    except FileNotFoundError:
        return b"", ""
    mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    return mark, data.removeprefix(mark).decode()
