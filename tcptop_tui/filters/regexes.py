"""Regular expressions on process names. They are RE2's, which takes time linear in the length of the name.

Python's own ``re`` backtracks: ``((a*)*)*b`` on a name of 15 letters would hold the event loop for minutes.
"""

from __future__ import annotations

from collections.abc import Callable

from tcptop_tui.filters.errors import quoted_for_message
from tcptop_tui.filters.lexer import Value

_MAX_BYTES = 1 << 20
"""Memory of a compiled expression. One that needs more is refused, after 10 ms at most."""
_HINT = "it is RE2's language: no look-around, no back-references"


def compile_name_regex(value: Value, *, whole: bool) -> Callable[[str], bool]:
    """Compile a regular expression. Upper and lower case are the same.

    Args:
        value: the expression.
        whole: the whole name has to match, not only a part of it.

    Returns:
        A function that says whether a name matches.

    Raises:
        FilterError: RE2 does not accept the expression, or it is too large.
    """
    import re2  # noqa: PLC0415  it takes 1.5 MB, and few filters have an expression

    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False  # it would print on standard error
    options.max_mem = _MAX_BYTES
    options.never_capture = True
    try:
        pattern = re2.compile(value.text, options)
    except re2.error as error:
        what, _, part = error.args[0].decode("utf-8", "replace").partition(": ")
        message = f"{what}: {quoted_for_message(part)}" if part else what
        raise value.error(
            f"the regular expression is wrong: {message}", _HINT if what.startswith("invalid") else ""
        ) from None
    match = pattern.fullmatch if whole else pattern.search
    return lambda name: match(name) is not None
