"""What is wrong with a filter, and where."""

from __future__ import annotations

from tcptop_tui.errors import UsageError

_SHOWN_CHARS = 40


class FilterError(UsageError):
    """A filter or a list of ports that cannot be understood; one line.

    Args:
        column: where it starts, counted in characters from 0; the length of the text when
            something is missing at its end. The message counts from 1.
        what: what kind of text it is.
    """

    def __init__(self, message: str, column: int, *, hint: str = "", what: str = "filter") -> None:
        super().__init__(f"{what}, column {column + 1}: {message}", hint=hint)
        self.problem = message
        self.column = column


def quoted_for_message(text: str) -> str:
    """``text`` in quotation marks as a message can show it: short, and nothing a terminal obeys."""
    short = text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
    return "'" + "".join(character if character.isprintable() else "?" for character in short) + "'"
