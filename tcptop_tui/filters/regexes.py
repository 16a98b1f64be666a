"""Regular expressions of users on names of strangers: RE2, whose time is linear in the text it reads.

Python's own ``re`` goes back and tries again: ``((a*)*)*b`` on a name of 15 letters takes minutes, on the event loop.
"""

from __future__ import annotations

from collections.abc import Callable

from tcptop_tui.filters.errors import quoted_for_message
from tcptop_tui.filters.lexer import Value

_MOST_BYTES = 1 << 20
"""For a compiled expression: what needs more is refused, after 10 ms at most."""
_MEND = "it is RE2's language: no look-around, no back-references"


def compile_name_regex(value: Value, *, whole: bool) -> Callable[[str], bool]:
    """Whether a name has a match for the expression, in any case; with ``whole`` all of the name has to be one.

    Raises:
        FilterError: it is no regular expression of RE2's, or a very large one.
    """
    import re2  # noqa: PLC0415  1.5 MB, for who writes one

    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False  # it would print on standard error
    options.max_mem = _MOST_BYTES
    options.never_capture = True
    try:
        pattern = re2.compile(value.text, options)
    except re2.error as error:
        what, _, part = error.args[0].decode("utf-8", "replace").partition(": ")
        message = f"{what}: {quoted_for_message(part)}" if part else what
        raise value.error(
            f"the regular expression is wrong: {message}", _MEND if what.startswith("invalid") else ""
        ) from None
    match = pattern.fullmatch if whole else pattern.search
    return lambda name: match(name) is not None
