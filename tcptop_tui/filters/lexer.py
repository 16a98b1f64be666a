"""Splits the text of a filter into terms and values, with the column of each. It knows only which fields have paths.

::

    filter = [term {blanks term}]
    term   = {"!"} part {"," part}
    part   = [field operator] value         a part without a field has that of the part before
    value  = plain | '"' quoted '"' | "/" regular expression "/"

The slash at the beginning of a path does not begin a regular expression. Blanks are allowed after a comma and around
``<``, ``>`` and ``=``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from tcptop_tui.filters.errors import FilterError, quoted_for_message

_HEAD = re.compile(r'([^\s,:<>=!"/]+)(?: *(>=|<=|==|[<>=])|(:))')
_PLAIN = re.compile(r"[^\s,]*")
_IPV6 = re.compile(r"\[?(?=[^:]*:[^:]*:)[0-9A-Fa-f:.]+\]?(?:[%/].*)?")
_UNEQUAL = re.compile(r"([^\s,:<>=!\"/]+)!=(.*)")
_MARKED_VALUES = {
    '"': re.compile(r'"((?:[^"\\]|\\.)*)"'),
    "/": re.compile(r"/((?:[^/\\]|\\.)*)/"),
}
_PATH_FIELDS = frozenset({"cgroup"})
_MARK_NAMES = {'"': "a quotation mark", "/": "a slash"}


class ValueForm(Enum):
    """How a value was written."""

    PLAIN = "plain"
    QUOTED = "quoted"
    REGEX = "regular expression"


@dataclass(frozen=True, slots=True)
class Value:
    """A value without its quotation marks or slashes."""

    text: str
    column: int
    form: ValueForm = ValueForm.PLAIN

    def error(self, message: str, hint: str = "") -> FilterError:
        """An error with ``message`` at the column of this value."""
        return FilterError(message, self.column, hint=hint)


@dataclass(frozen=True, slots=True)
class FieldValue:
    """``field operator value``; ``field`` and ``operator`` are empty where they are not written."""

    field: str
    operator: str
    value: Value
    column: int
    source: str
    """As typed, without blanks that have no meaning."""


@dataclass(frozen=True, slots=True)
class Term:
    """It is true of a row if one of ``values`` is, or with ``negated`` if none is."""

    negated: bool
    values: tuple[FieldValue, ...]

    @property
    def source(self) -> str:
        """The term as typed, without blanks that have no meaning."""
        return "!" * self.negated + ",".join(part.source for part in self.values)


def is_ipv6_like(text: str) -> bool:
    """Whether a text can only be meant as an IPv6 address or network."""
    return _IPV6.fullmatch(text) is not None


def terms(text: str) -> Iterator[Term]:
    """Yield the terms of ``text`` in their order.

    Raises:
        FilterError: there is a control character, or a quotation mark or slash without its partner, or a value or a
            term is missing.
    """
    text = "".join(" " if character.isspace() else character for character in text)
    for column, character in enumerate(text):
        if not character.isprintable():
            raise FilterError("a control character", column, hint="leave it out")
    position = _skip(text, 0)
    while position < len(text):
        term, position = _term(text, position)
        yield term
        position = _skip(text, position)


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] == " ":
        position += 1
    return position


def _term(text: str, position: int) -> tuple[Term, int]:
    start, negated = position, False
    while text.startswith("!", position):
        negated = not negated
        position = _skip(text, position + 1)
    if position == len(text):
        raise FilterError("nothing after '!'", start, hint="as in !port:22")
    part, position = _field_value(text, position, "")
    parts, field = [part], part.field
    while text.startswith(",", position):
        part, position = _field_value(text, _skip(text, position + 1), field)
        parts.append(part)
        field = part.field or field
    return Term(negated, tuple(parts)), position


def _field_value(text: str, position: int, field: str) -> tuple[FieldValue, int]:
    """The value that starts at ``position``, with its field, and its end; ``field`` is that of the one before it."""
    plain = _PLAIN.match(text, position)
    word = plain[0] if plain else ""
    head = None if is_ipv6_like(word) else _HEAD.match(text, position)
    if head is None:
        _check_start(word, position)
        value, end = _value(text, position, field)
        return FieldValue("", "", value, position, text[position:end]), end
    operator = (head[2] or head[3]).replace("==", "=")
    start = head.end() if operator == ":" else _skip(text, head.end())
    value, end = _value(text, start, head[1])
    return FieldValue(head[1], operator, value, position, head[1] + operator + text[start:end]), end


def _check_start(word: str, column: int) -> None:
    """Refuse operators of other languages.

    Raises:
        FilterError: ``word`` begins with one.
    """
    unequal = _UNEQUAL.fullmatch(word)
    if unequal:
        hint = f"write !{unequal[1]}:{unequal[2]}"
        raise FilterError("'!=' is not an operator", column + len(unequal[1]), hint=hint)
    if word[:1] in {"<", ">", "=", ":"} and not is_ipv6_like(word):
        raise FilterError(f"there is no field before {word[0]!r}", column, hint="as in rtt>10ms or port:443")


def _value(text: str, position: int, field: str) -> tuple[Value, int]:
    """The bare value of ``field`` that starts at ``position``, and where it ends."""
    is_path = field.casefold() in _PATH_FIELDS and text.startswith("/", position)
    if text[position : position + 1] in _MARKED_VALUES and not is_path:
        value, end = _marked_value(text, position)
    else:
        plain = _PLAIN.match(text, position)
        value = Value(plain[0] if plain else "", position)
        end = position + len(value.text)
        _check_plain(value)
    if not value.text:
        raise FilterError("a value is missing", position, hint="blanks separate terms, commas separate values")
    return value, end


def _marked_value(text: str, position: int) -> tuple[Value, int]:
    """The value in quotation marks or slashes that starts at ``position``, and where it ends."""
    mark = text[position]
    match = _MARKED_VALUES[mark].match(text, position)
    if match is None:
        hint = 'for a name with a slash write "/name"' if mark == "/" else ""
        raise FilterError(f"{_MARK_NAMES[mark]} without its partner", position, hint=hint)
    if text[match.end() : match.end() + 1] not in {"", " ", ","}:
        problem = f"something follows the closing {_MARK_NAMES[mark].removeprefix('a ')}"
        raise FilterError(problem, match.end(), hint="put a blank or a comma there")
    value = Value(match[1], position, ValueForm.REGEX)
    if mark == '"':
        value = replace(value, text=re.sub(r'\\(["\\])', r"\1", match[1]), form=ValueForm.QUOTED)
    return value, match.end()


def _check_plain(value: Value) -> None:
    if value.text.startswith("!"):
        raise value.error("'!' stands before a whole term", "as in !state:estab,listen")
    if '"' in value.text:
        raise FilterError(
            f"a quotation mark inside {quoted_for_message(value.text)}",
            value.column + value.text.index('"'),
            hint='quote the whole value, as in comm:"my prog"',
        )


def quoted(name: str) -> str:
    """A name as a value of a filter, in quotation marks where it needs them; empty where no filter can express it."""
    if re.fullmatch("[A-Za-z_][A-Za-z0-9_.-]*", name):
        return name
    if not name or not name.isprintable():
        return ""
    return '"' + re.sub(r'(["\\\\])', r"\\\1", name) + '"'
