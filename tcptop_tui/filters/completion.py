"""What a filter that is being typed could go on with: fields, and values that are really there."""

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

_MOST = 200
_STATES = tuple(state.name.lower() for state in State)
_TUPLE_FIELDS = ("fin", "reset", "refused", "timeout", "unreachable", "aborted")
_LAST = re.compile(
    r"""(?:[^\s"]|"[^"]*")*?(?P<token>!*(?:(?P<field>[a-z_]+)[:=](?:[^\s,"]*,)*)?(?P<part>"[^"]*|[^\s,"]*))$""",
    re.IGNORECASE,
)
"""The word that is being typed, at the end; blanks in quotation marks do not end one."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Values by field, the most frequent first."""

    values_by_field: Mapping[str, Sequence[str]] = field(default_factory=dict)
    saved: Sequence[str] = ()
    """Names of saved filters."""


def make_vocabulary(table: RowContext, ended: RowContext, saved: Iterable[str] = ()) -> Vocabulary:
    """What is in a table (dtype ROW) and among ended connections (dtype ENDED)."""
    offered = [field for field in FIELDS if field.parse and field.parse not in _QUANTITIES]
    keys = dict.fromkeys(key for field in offered for key in field.columns or (field.key,))
    present = {key: _present(BY_KEY[key], ended if BY_KEY[key].parse is ValueKind.REASON else table) for key in keys}
    present["netns"] = [*filter(None, map(quoted, namespace_names())), *present["netns"]]
    others: dict[ValueKind | None, tuple[str, ...]] = {ValueKind.STATE: _STATES, ValueKind.REASON: _TUPLE_FIELDS}
    values = {
        field.names[0]: _present_first(
            *(present[key] for key in field.columns or (field.key,)), others.get(field.parse, ())
        )
        for field in offered
    }
    return Vocabulary(values, [name for name in sorted(saved) if _NAME.fullmatch(name)])


def _present(field: Field, context: RowContext) -> list[str]:
    """The values of a field as a filter has to have them, the most frequent first; what it cannot have is left out."""
    column = field.read(context)
    known = np.flatnonzero(column.is_known)
    values = column.values[known]
    keys = pair_hash(values.astype("<u8")) if values.ndim == 2 else values
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    most = known[first[np.argsort(-counts, kind="stable")[:_MOST]]]
    raw = column.values[most].tolist()
    if field.parse is ValueKind.REASON:
        return [WORDS[CloseReason(code)] for code in raw if CloseReason(code) in WORDS]
    written = [str(number if value is None else value) for value, number in zip(
        field.values(context.select(most)), raw, strict=True)]  # fmt: skip
    harmless = [value for value in written if not _CHANGED.search(value)]
    if field.parse in {ValueKind.NAME, ValueKind.WORD, ValueKind.DEVICE, ValueKind.USER}:
        return [shown for shown in map(quoted, harmless) if shown]
    if field.parse is ValueKind.STATE:
        return [value.lower() for value in harmless]
    return [value for value in harmless if not _BREAKS.search(value)]


_QUANTITIES = {ValueKind.COUNT, ValueKind.BYTES, ValueKind.MICROSECONDS, ValueKind.NANOSECONDS}
_CHANGED = re.compile(f"[{safe_text.REPLACEMENT}\ufffd]")
"""What stands for a character that a terminal would obey: no filter finds that."""
_NAME = re.compile(r"[^\s,:<>=!\"/]+")
"""What can stand behind @."""
_BREAKS = re.compile(r"[\s,\"]")


def _present_first(*parts: Iterable[str]) -> list[str]:
    """All of them, each once."""
    return list(dict.fromkeys(value for part in parts for value in part))


@dataclass(frozen=True, slots=True)
class Completions:
    """What could stand in place of the word that ends at the cursor."""

    prefix: str = ""
    words: Sequence[str] = ()
    suffix: str = ""

    def text(self, number: int) -> str:
        """The filter with one of the words."""
        return self.prefix + self.words[number] + self.suffix

    def cursor(self, number: int) -> int:
        """Behind the word."""
        return len(self.prefix) + len(self.words[number])


def complete(typed: str, known: Vocabulary, cursor: int) -> Completions:
    """The words that begin like the one that ends at the cursor, in any case."""
    before, after = typed[:cursor], typed[cursor:]
    found = _LAST.match(before, _term_start(before))
    if found is None or not found["token"].strip("!") or after[:1] not in {"", " ", ","}:
        return Completions()
    start, part = found.start("part"), found["part"]
    if found["field"]:
        name = found["field"].lower()
        candidates = list(known.values_by_field.get(BY_NAME[name].names[0], ()) if name in BY_NAME else ())
    elif part.startswith("@"):
        candidates = [f"@{name}" for name in known.saved]
    else:
        fields = [f"{name}:" for one in FIELDS for name in one.names]
        bare = [known.values_by_field.get(name, ()) for name in ("comm", "port", "ip")]
        candidates = [*fields, *(value for values in bare for value in values)]
    fitting = [one for one in dict.fromkeys(candidates) if one.lower().startswith(part.lower()) and one != part]
    return Completions(before[:start], fitting, after)


def _term_start(typed: str) -> int:
    """Where the last term begins: behind the last blank that is in no quotation marks."""
    begun, inside = 0, False
    for place, character in enumerate(typed):
        if character == '"':
            inside = not inside
        elif character == " " and not inside:
            begun = place + 1
    return begun
