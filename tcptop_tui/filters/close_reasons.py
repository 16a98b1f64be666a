"""Parses the close reason in a filter, in any usual spelling."""

from __future__ import annotations

import difflib
import re

from tcptop_tui.close_reasons import TEXT, WORDS, CloseReason
from tcptop_tui.filters.errors import quoted_for_message
from tcptop_tui.filters.lexer import Value

_IGNORED = re.compile(r"[-_ ]")


def _plain(name: str) -> str:
    return _IGNORED.sub("", name.casefold())


_FIN = frozenset({CloseReason.FIN_BY_US, CloseReason.FIN_BY_PEER})
_RESET = frozenset({CloseReason.RESET_SENT, CloseReason.RESET_RECEIVED})

_NAMES: dict[str, frozenset[CloseReason]] = {
    **{_plain(text): frozenset({reason}) for reason, text in TEXT.items() if text},
    **{_plain(word): frozenset({reason}) for reason, word in WORDS.items()},
    **{_plain(reason.name): frozenset({reason}) for reason in CloseReason if reason is not CloseReason.NONE},
    **dict.fromkeys(("fin", "closed"), _FIN),
    **dict.fromkeys(("reset", "rst"), _RESET),
    "rstsent": frozenset({CloseReason.RESET_SENT}),
    **dict.fromkeys(("rstreceived", "resetbypeer"), frozenset({CloseReason.RESET_RECEIVED})),
    "resetbyus": frozenset({CloseReason.RESET_SENT}),
    **dict.fromkeys(("timeout", "etimedout"), frozenset({CloseReason.TIMED_OUT})),
    "econnrefused": frozenset({CloseReason.REFUSED}),
    "eaddrnotavail": frozenset({CloseReason.NO_PORT}),
    "repair": frozenset({CloseReason.SILENT}),
}

_SUGGESTIONS = ("fin", "fin-by-us", "fin-by-peer", "reset", "reset-sent", "reset-received", "refused", "timeout",
          "unreachable", "given-up", "no-port", "aborted", "nothing-sent", "error")  # fmt: skip


def read_close_reasons(value: Value) -> frozenset[CloseReason]:
    """The close reasons that a word stands for: one, or several for ``fin`` and ``reset``.

    Raises:
        FilterError: no reason has this name.
    """
    reasons = _NAMES.get(_plain(value.text))
    if reasons is None:
        close = difflib.get_close_matches(value.text.casefold(), _SUGGESTIONS, 1)
        hint = f"did you mean {close[0]}?" if close else f"use {', '.join(_SUGGESTIONS)}"
        raise value.error(f"no way to end {quoted_for_message(value.text)}", hint)
    return reasons
