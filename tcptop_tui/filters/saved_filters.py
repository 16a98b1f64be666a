"""Expands ``@name`` in a filter: it stands for the filter that was saved under that name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from tcptop_tui.filters.errors import FilterError, quoted_for_message
from tcptop_tui.filters.lexer import Term, ValueForm, terms
from tcptop_tui.settings import MAX_FILTER_CHARS

_MARK = "@"


def expand_saved(text: str, saved: Mapping[str, str]) -> str:
    """Replace each ``@name`` in ``text`` by the saved filter; ``@name`` in a saved filter is not replaced.

    Raises:
        FilterError: no filter has this name, the name is negated, or the result is too long.
    """
    if _MARK not in text:
        return text
    expanded = " ".join(filter(None, (_expand_term(term, saved) for term in terms(text))))
    if len(expanded) > MAX_FILTER_CHARS:
        raise FilterError(
            f"longer than {MAX_FILTER_CHARS} characters with what its names stand for", 0, hint="shorten it"
        )
    return expanded


def _expand_term(term: Term, saved: Mapping[str, str]) -> str:
    value = term.values[0].value
    if term.values[0].field or value.form is not ValueForm.PLAIN or not value.text.startswith(_MARK):
        return term.source
    name = value.text[1:]
    if term.negated or len(term.values) > 1:
        raise value.error(
            f"{quoted_for_message(value.text)} is a whole filter: it stands by itself", "leave out '!' and ','"
        )
    if name not in saved:
        close = difflib.get_close_matches(name, saved, 1)
        names = ", ".join(_MARK + saved_name for saved_name in list(saved)[:5])
        hint = f"there is {names}" if names else "save one with f first"
        hint = f"did you mean {_MARK}{close[0]}?" if close else hint
        raise value.error(
            f"no saved filter {quoted_for_message(name)}", f'{hint}; for a process name quote it: "{value.text}"'
        )
    return saved[name]
