"""Completes a filter that is being typed: with fields, and with values that are in the table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tcptop_tui import safe_text
from tcptop_tui.close_reasons import WORDS, CloseReason
from tcptop_tui.fields import BY_KEY, Field, RowContext, ValueKind
from tcptop_tui.filters.fields import BY_NAME, FIELDS
from tcptop_tui.filters.lexer import quoted
from tcptop_tui.filters.place_names import namespace_names
from tcptop_tui.records import State
from tcptop_tui.stream.identity import pair_hash

_MAX_VALUES = 200
_STATES = tuple(state.name.lower() for state in State)
_REASONS = ("fin", "reset", "refused", "timeout", "unreachable", "aborted")
_LAST_WORD = re.compile(
    r"""(?:[^\s"]|"[^"]*")*?(?P<token>!*(?:(?P<field>[a-z_]+)[:=](?:[^\s,"]*,)*)?(?P<part>"[^"]*|[^\s,"]*))$""",
    re.IGNORECASE,
)
"""The word that is being typed, at the end of the text; a blank in quotation marks does not end a word."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What completion can offer. Immutable."""

    values_by_field: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By name of a field its values, the most frequent first."""
    saved: Sequence[str] = ()
    """Names of saved filters."""


def make_vocabulary(table: RowContext, ended: RowContext, saved: Iterable[str] = ()) -> Vocabulary:
    """Collect the values of a table (dtype ROW) and of ended connections (dtype ENDED).

    Args:
        table: the table.
        ended: ended connections, which have the close reasons.
        saved: names of saved filters.
    """
    listed_fields = [field for field in FIELDS if field.parse and field.parse not in _QUANTITIES]
    keys = dict.fromkeys(key for field in listed_fields for key in field.columns or (field.key,))
    present = {key: _present(BY_KEY[key], ended if BY_KEY[key].parse is ValueKind.REASON else table) for key in keys}
    present["netns"] = [*filter(None, map(quoted, namespace_names())), *present["netns"]]
    others: dict[ValueKind | None, tuple[str, ...]] = {ValueKind.STATE: _STATES, ValueKind.REASON: _REASONS}
    values = {
        field.names[0]: _present_first(
            *(present[key] for key in field.columns or (field.key,)), others.get(field.parse, ())
        )
        for field in listed_fields
    }
    return Vocabulary(values, [name for name in sorted(saved) if _NAME.fullmatch(name)])


def _present(field: Field, context: RowContext) -> list[str]:
    """The values of a field in the form that a filter takes, the most frequent first.

    Values that a filter cannot express are left out.
    """
    column = field.read(context)
    known_rows = np.flatnonzero(column.is_known)
    values = column.values[known_rows]
    keys = pair_hash(values.astype("<u8")) if values.ndim == 2 else values
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    frequent_rows = known_rows[first[np.argsort(-counts, kind="stable")[:_MAX_VALUES]]]
    raw = column.values[frequent_rows].tolist()
    if field.parse is ValueKind.REASON:
        return [WORDS[CloseReason(code)] for code in raw if CloseReason(code) in WORDS]
    texts = [str(number if value is None else value) for value, number in zip(
        field.values(context.select(frequent_rows)), raw, strict=True)]  # fmt: skip
    unchanged = [text for text in texts if not _REPLACED.search(text)]
    if field.parse in {ValueKind.NAME, ValueKind.WORD, ValueKind.DEVICE, ValueKind.USER}:
        return [text for text in map(quoted, unchanged) if text]
    if field.parse is ValueKind.STATE:
        return [text.lower() for text in unchanged]
    return [text for text in unchanged if not _SEPARATOR.search(text)]


_QUANTITIES = {ValueKind.COUNT, ValueKind.BYTES, ValueKind.MICROSECONDS, ValueKind.NANOSECONDS}
_REPLACED = re.compile(f"[{safe_text.REPLACEMENT}\ufffd]")
"""Characters that stand for those that a terminal would obey: no filter matches a name by them."""
_NAME = re.compile(r"[^\s,:<>=!\"/]+")
"""What can be written behind @."""
_SEPARATOR = re.compile(r"[\s,\"]")


def _present_first(*parts: Iterable[str]) -> list[str]:
    """All values of all parts in their order, each once."""
    return list(dict.fromkeys(value for part in parts for value in part))


@dataclass(frozen=True, slots=True)
class Completions:
    """Words that can replace the one that ends at the cursor, and the text before and behind it."""

    prefix: str = ""
    words: Sequence[str] = ()
    suffix: str = ""

    def text(self, number: int) -> str:
        """The filter with one of the words."""
        return self.prefix + self.words[number] + self.suffix

    def cursor(self, number: int) -> int:
        """Behind the word."""
        return len(self.prefix) + len(self.words[number])


def complete(typed: str, vocabulary: Vocabulary, cursor: int) -> Completions:
    """Words that begin like the one that ends at the cursor, in upper or lower case.

    Args:
        typed: the text of the filter.
        vocabulary: what can be offered.
        cursor: its position in ``typed``.
    """
    before, after = typed[:cursor], typed[cursor:]
    match = _LAST_WORD.match(before, _term_start(before))
    if match is None or not match["token"].strip("!") or after[:1] not in {"", " ", ","}:
        return Completions()
    start, part = match.start("part"), match["part"]
    if match["field"]:
        name = match["field"].lower()
        candidates = list(vocabulary.values_by_field.get(BY_NAME[name].names[0], ()) if name in BY_NAME else ())
    elif part.startswith("@"):
        candidates = [f"@{name}" for name in vocabulary.saved]
    else:
        fields = [f"{name}:" for field in FIELDS for name in field.names]
        fieldless = [vocabulary.values_by_field.get(name, ()) for name in ("comm", "port", "ip")]
        candidates = [*fields, *(value for values in fieldless for value in values)]
    words = [word for word in dict.fromkeys(candidates) if word.lower().startswith(part.lower()) and word != part]
    return Completions(before[:start], words, after)


def _term_start(typed: str) -> int:
    """Where the last term begins: behind the last blank that is not in quotation marks."""
    start, is_quoted = 0, False
    for position, character in enumerate(typed):
        if character == '"':
            is_quoted = not is_quoted
        elif character == " " and not is_quoted:
            start = position + 1
    return start
