"""Parses the text of a filter into conditions; an error says at which column the text is wrong."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field, replace

import numpy as np

from tcptop_tui.fields import BY_KEY, RowContext
from tcptop_tui.filters import units
from tcptop_tui.filters.addresses import looks_like_address, split_port
from tcptop_tui.filters.conditions import AnyOf, Condition, Not, OneOf
from tcptop_tui.filters.errors import FilterError, quoted_for_message
from tcptop_tui.filters.fields import BY_NAME, FIELDS, compare
from tcptop_tui.filters.lexer import FieldValue, Term, Value, ValueForm, terms
from tcptop_tui.records import Mask
from tcptop_tui.settings import MAX_FILTER_CHARS

"""A filter is not longer than this."""

_OTHER_OPERATORS = {
    "and": "terms beside each other must all hold",
    "&&": "terms beside each other must all hold",
    "or": "use a comma, as in port:80,443",
    "||": "use a comma, as in port:80,443",
    "not": "use '!', as in !port:22",
}
_PORT_LIKE = re.compile(r"[0-9][0-9-]*")


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter. Two filters are equal when their texts are."""

    text: str
    """As typed, without blanks that have no meaning."""
    keys: frozenset[str] = field(repr=False, compare=False)
    """Keys of the fields that it names."""
    _conditions: tuple[Condition, ...] = field(repr=False, compare=False)

    def matches(self, context: RowContext) -> Mask:
        """Which rows match, shape (n,).

        An unknown value matches no term. A negated term is the exact complement, so that it does match unknown values.
        """
        mask = np.ones(len(context.rows), np.bool_)
        for condition in self._conditions:
            mask &= condition.mask(context)
        return mask

    def of_processes(self, pids: frozenset[int]) -> Filter:
        """The same filter for these processes only, however many; without ``pids`` it is for all."""
        return replace(self, _conditions=(*self._conditions, OneOf(BY_KEY["pid"].read, pids))) if pids else self


def parse(text: str) -> Filter:
    """Parse a filter. An empty text, or one of blanks, matches all rows.

    Raises:
        FilterError: about the first part that cannot be parsed.
    """
    if len(text) > MAX_FILTER_CHARS:
        raise FilterError(f"longer than {MAX_FILTER_CHARS} characters", MAX_FILTER_CHARS, hint="shorten it")
    parsed_terms = list(terms(text))
    conditions = tuple(_condition(term) for term in parsed_terms)
    keys = {BY_NAME[part.field.casefold()].key for term in parsed_terms for part in term.values if part.field}
    return Filter(" ".join(term.source for term in parsed_terms), frozenset(keys), conditions)


def _condition(term: Term) -> Condition:
    parts: list[Condition] = []
    name = operator = ""
    for part in term.values:
        if not part.field and operator[:1] in {"<", ">"}:
            raise part.value.error("a comparison has one value", f"repeat the field, as in {name}{operator}1")
        if part.field:
            name, operator = part.field.casefold(), part.operator
            _check_field(part)
        parts.append(compare(name, operator, part.value) if name else _condition_without_field(part.value))
    either = parts[0] if len(parts) == 1 else AnyOf(tuple(parts))
    return Not(either) if term.negated else either


def _check_field(part: FieldValue) -> None:
    name = part.field.casefold()
    if name in BY_NAME:
        return
    endpoint = split_port(part.source)
    close = difflib.get_close_matches(name, [field.names[0] for field in FIELDS], 1)
    close = close or difflib.get_close_matches(name, BY_NAME, 1)
    if endpoint:
        hint = f"for an address and a port write ip:{endpoint[0]} port:{endpoint[1]}"
    elif close:
        hint = f"did you mean {close[0]}?"
    else:
        names = [field.names[0] for field in FIELDS if not field.detail]
        hint = f"use {', '.join(names)} or a detail of tcp_info as cwnd"
    raise FilterError(f"no field {quoted_for_message(part.field)}", part.column, hint=hint)


def _condition_without_field(value: Value) -> Condition:
    """The condition of a value without a field: a port, an address, or any other text a process name."""
    name = "comm"
    if value.form is ValueForm.PLAIN:
        meaning = _OTHER_OPERATORS.get(value.text.casefold())
        if meaning:
            hint = f'{meaning}; for a process name quote it: "{value.text}"'
            raise value.error(f"{quoted_for_message(value.text)} is not an operator here", hint)
        if _PORT_LIKE.fullmatch(value.text):
            name = "port"
        elif looks_like_address(value.text):
            name = "ip"
    return compare(name, ":", value)


def parse_ports(text: str) -> frozenset[int]:
    """Parse a list of ports, as ``22,80,8000-8010``. An empty text, or one of blanks, is the empty set.

    Raises:
        FilterError: a part is neither a port from 1 to 65535 nor a range of them.
    """
    ports: set[int] = set()
    column = 0
    for piece in text.split(",") if text.strip() else ():
        value = Value(piece.strip(), column + len(piece) - len(piece.lstrip()))
        try:
            low, high = units.port_range(value)
        except FilterError as error:
            raise FilterError(error.problem, error.column, hint=error.hint, what="ports") from None
        ports.update(range(low, high + 1))
        column += len(piece) + 1
    return frozenset(ports)


MATCH_ALL = parse("")
