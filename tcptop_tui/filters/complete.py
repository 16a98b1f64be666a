"""What a filter that is being typed could go on with: fields, and values that are really there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui import formats, text
from tcptop_tui.filters.fields import FIELDS
from tcptop_tui.filters.lexer import quoted
from tcptop_tui.records import UNKNOWN_UID, Rows, State

_MOST = 200
_STATES = tuple(state.name.lower() for state in State)
_ENDS = ("fin", "reset", "refused", "timeout", "unreachable", "aborted")
_LAST = re.compile(
    r"""(?:[^\s"]|"[^"]*")*?(?P<token>!*(?:(?P<field>[a-z]+)[:=](?:[^\s,"]*,)*)?(?P<part>"[^"]*|[^\s,"]*))$"""
)
"""The word that is being typed, at the end; blanks in quotation marks do not end one."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Values by field, the most frequent first."""

    values: Mapping[str, Sequence[str]] = field(default_factory=dict)


def vocabulary(rows: Rows) -> Vocabulary:
    """What is in a table (dtype ROW)."""
    raws = [bytes(raw) for raw in _frequent(rows["comm"][rows["comm"] != b""])]
    names = [text.clean(raw) for raw in raws if text.clean(raw).encode() == raw]  # others cannot be written
    states = [formats.state_name(int(number)).lower() for number in _frequent(rows["state"])]
    lports, rports = (_frequent(rows[name][rows[name] != 0]) for name in ("lport", "rport"))
    users = [formats.login_name(int(uid)) or str(uid) for uid in _frequent(rows["uid"][rows["uid"] != UNKNOWN_UID])]
    return Vocabulary(
        {
            "comm": [shown for shown in map(quoted, names) if shown],
            "state": [*states, *(state for state in _STATES if state not in states)],
            "lport": list(map(str, lports)), "rport": list(map(str, rports)),
            "port": list(dict.fromkeys(map(str, [*lports, *rports]))),
            "pid": list(map(str, _frequent(rows["pid"][rows["pid"] != 0]))),
            "user": [shown for shown in map(quoted, users) if shown],
            "why": _ENDS,
        }
    )  # fmt: skip


def _frequent(values: NDArray[Any]) -> list[Any]:
    found, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_MOST]
    return list(found[order].tolist())


def completions(typed: str, known: Vocabulary) -> list[str]:
    """Whole filters that ``typed`` could become: its last word completed."""
    begun = _begin(typed)
    found = _LAST.match(typed, begun)
    if found is None or not found["token"].strip("!"):
        return []
    start = found.start("part")
    part = found["part"]
    if found["field"]:
        candidates = list(known.values.get(_canonical(found["field"]), ()))
    else:
        fields = [f"{name}:" for one in FIELDS for name in (one.name, *one.aliases)]
        candidates = [*fields, *known.values.get("comm", ()), *known.values.get("port", ())]
    fitting = [one for one in dict.fromkeys(candidates) if one.startswith(part) and one != part]
    return [typed[:start] + one for one in fitting]


def _begin(typed: str) -> int:
    """Where the last term begins: behind the last blank that is in no quotation marks."""
    begun, inside = 0, False
    for place, character in enumerate(typed):
        if character == '"':
            inside = not inside
        elif character == " " and not inside:
            begun = place + 1
    return begun


def _canonical(name: str) -> str:
    return next((one.name for one in FIELDS if name in (one.name, *one.aliases)), name)
