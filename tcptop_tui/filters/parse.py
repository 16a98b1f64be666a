"""From text to a filter, with the place of whatever is wrong."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np

from tcptop_tui.errors import UsageError
from tcptop_tui.filters import values
from tcptop_tui.filters.fields import BY_NAME, Make, Test, either
from tcptop_tui.filters.subject import Subject
from tcptop_tui.records import Mask

_MAX_CHARS = 1000

_WORD = re.compile(r'(?:"[^"]*"|/(?:[^/\s]|\\/)*/(?=[\s,]|$)|[^\s"])+')
_TERM = re.compile(r"([A-Za-z]+)(:|>=|<=|>|<|=)(.*)", re.DOTALL)


class FilterError(UsageError):
    """What is wrong with a filter, and where: ``column`` counts characters from 0."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(f"filter: {message} (at {column + 1})")
        self.column = column


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that parsed. Two are equal when their texts are."""

    text: str
    terms: tuple[Test, ...] = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def matches(self, subject: Subject) -> Mask:
        """Which rows match, shape (n,).

        What is not known matches no term; negated terms are the exact complement, so that they
        match what is not known.
        """
        every = np.ones(len(subject.rows), np.bool_)
        return reduce(np.logical_and, (term(subject) for term in self.terms), every)


MATCH_ALL = Filter("")


def parse(text: str) -> Filter:
    """Read a filter; the empty one matches all.

    Raises:
        FilterError: the first thing in it that cannot be understood.
    """
    if len(text) > _MAX_CHARS:
        raise FilterError(f"longer than {_MAX_CHARS} characters", _MAX_CHARS)
    words = list(_words(text))
    return Filter(" ".join(word for word, _ in words), tuple(_term(word, column) for word, column in words))


def _words(text: str) -> Iterator[tuple[str, int]]:
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        match = _WORD.match(text, place)
        if match is None:
            raise FilterError("a quotation mark without its partner", place)
        yield match[0], place
        place = match.end()


def _term(word: str, column: int) -> Test:
    bare = word.lstrip("!")
    negations = len(word) - len(bare)
    if not bare:
        raise FilterError("nothing after '!'", column)
    test = _positive(bare, column + negations)
    if negations % 2:
        return lambda subject: ~test(subject)
    return test


def _positive(word: str, column: int) -> Test:
    match = _TERM.fullmatch(word)
    if match is None or _is_address(word):
        return either([_guess(value, column) for value in _split(word, column)])
    name, operator, rest = match[1].casefold(), match[2], match[3]
    field = BY_NAME.get(name)
    if field is None:
        close = difflib.get_close_matches(name, BY_NAME, 1)
        hint = f", did you mean {close[0]}?" if close else "; F1 lists them"
        raise FilterError(f"no field {name!r}{hint}", column)
    at = column + match.start(3)
    return either([_test(field.make, operator, value, name, at) for value in _split(rest, at)])


def _test(make: Make, operator: str, value: str, name: str, column: int) -> Test:
    try:
        return make(operator, value)
    except ValueError as error:
        raise FilterError(f"{name}: {error}", column) from None


def _split(text: str, column: int) -> list[str]:
    """The values of a list, without their quotation marks."""
    parts = re.findall(r'(?:"[^"]*"|[^,"])+', text)
    if text.startswith("/"):  # a comma in a regular expression is its own
        parts = [text]
    found = [part.replace('"', "") for part in parts]
    if not found or text.endswith(",") or ",," in text or text.startswith(",") or not all(found):
        raise FilterError("a value is missing", column + len(text))
    return found


def _is_address(word: str) -> bool:
    try:
        values.network(word.split(",", maxsplit=1)[0])
    except ValueError:
        return False
    return True


def _guess(value: str, column: int) -> Test:
    """A value without a field: a number is a port, an address an address, else a process name."""
    if re.fullmatch(r"\d+(-\d+)?", value):
        name = "port"
    elif _is_address(value):
        name = "ip"
    else:
        name = "comm"
    return _test(BY_NAME[name].make, ":", value, name, column)


def parse_ports(text: str) -> frozenset[int]:
    """``22,80,8000-8010`` as a set; the empty text as the empty one.

    Raises:
        UsageError: not ports.
    """
    ports: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            low, high = values.span(part, values.port)
        except ValueError as error:
            raise UsageError(f"ports: {error}", mend="as in 22,80,8000-8010") from None
        if not low:
            raise UsageError("ports: 0 is not a port", mend="as in 22,80,8000-8010")
        ports.update(range(int(low), int(high) + 1))
    return frozenset(ports)
