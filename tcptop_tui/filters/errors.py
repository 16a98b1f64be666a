"""The error of a filter that cannot be parsed: what is wrong, and at which column."""

from __future__ import annotations

from tcptop_tui.errors import UsageError

_SHOWN_CHARS = 40


class FilterError(UsageError):
    """A filter or a list of ports that cannot be parsed; its message is one line.

    Args:
        message: what is wrong.
        column: where the wrong part starts, in characters from 0; the length of the text where something is missing at
            its end. The message counts from 1.
        hint: what to write instead.
        what: the kind of text, in the message.
    """

    def __init__(self, message: str, column: int, *, hint: str = "", what: str = "filter") -> None:
        super().__init__(f"{what}, column {column + 1}: {message}", hint=hint)
        self.problem = message
        self.column = column


def quoted_for_message(text: str) -> str:
    """``text`` in quotation marks for a message: at most 40 characters, without any that a terminal would obey."""
    short = text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
    return "'" + "".join(character if character.isprintable() else "?" for character in short) + "'"
