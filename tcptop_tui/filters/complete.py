"""What a filter that is being typed could go on with: fields, and values that are really there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tcptop_tui import formats, text
from tcptop_tui.filters.fields import FIELDS
from tcptop_tui.filters.lexer import quoted
from tcptop_tui.filters.places import namespace_names
from tcptop_tui.reasons import WORDS, Reason, reasons
from tcptop_tui.records import UNKNOWN_UID, Rows, State
from tcptop_tui.source.batches import Names
from tcptop_tui.source.identity import pair_hash

_MOST = 200
_STATES = tuple(state.name.lower() for state in State)
_ENDS = ("fin", "reset", "refused", "timeout", "unreachable", "aborted")
_LAST = re.compile(
    r"""(?:[^\s"]|"[^"]*")*?(?P<token>!*(?:(?P<field>[a-z]+)[:=](?:[^\s,"]*,)*)?(?P<part>"[^"]*|[^\s,"]*))$""",
    re.IGNORECASE,
)
"""The word that is being typed, at the end; blanks in quotation marks do not end one."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Values by field, the most frequent first."""

    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    saved: Sequence[str] = ()
    """Names of saved filters."""


def vocabulary(rows: Rows, ended: Rows, names: Names, saved: Iterable[str] = ()) -> Vocabulary:
    """What is in a table (dtype ROW) and among ended connections (dtype SESSION)."""
    raws = [bytes(raw) for raw in _frequent(rows["comm"][rows["comm"] != b""])]
    processes = [text.clean(raw) for raw in raws if text.clean(raw).encode() == raw]  # others cannot be written
    states = [formats.state_name(int(number)).lower() for number in _frequent(rows["state"])]
    lports, rports = (_frequent(rows[name][rows[name] != 0]) for name in ("lport", "rport"))
    users = [formats.login_name(int(uid)) or str(uid) for uid in _frequent(rows["uid"][rows["uid"] != UNKNOWN_UID])]
    laddrs, raddrs = (_addresses(rows[name]) for name in ("laddr", "raddr"))
    why = [WORDS[Reason(code)] for code in _frequent(reasons(ended)) if Reason(code) in WORDS]
    cgroups = [names.cgroups.get(int(number), str(number)) for number in _frequent(rows["cgroup"][rows["cgroup"] != 0])]
    return Vocabulary(
        {
            "comm": _written(processes),
            "state": _first(states, _STATES),
            "lport": list(map(str, lports)), "rport": list(map(str, rports)), "port": _first(lports, rports),
            "dev": _written(_devices(rows, names)),
            "laddr": laddrs, "raddr": raddrs, "ip": _first(raddrs, laddrs),
            "pid": list(map(str, _frequent(rows["pid"][rows["pid"] != 0]))),
            "uid": list(map(str, _frequent(rows["uid"][rows["uid"] != UNKNOWN_UID]))),
            "user": _written(users),
            "netns": [*_written(namespace_names()), *map(str, _frequent(rows["netns"][rows["netns"] != 0]))],
            "cgroup": [path for path in cgroups if text.clean(path) == path and not _BREAKS.search(path)],
            "why": _first(why, _ENDS),
        },
        [name for name in sorted(saved) if _NAME.fullmatch(name)],
    )  # fmt: skip


_NAME = re.compile(r"[^\s,:<>=!\"/]+")
"""What can stand behind @."""
_BREAKS = re.compile(r"[\s,\"]")


def _written(values: Iterable[str]) -> list[str]:
    """As a filter has to have them; those that it cannot have are left out."""
    return [shown for shown in map(quoted, dict.fromkeys(values)) if shown]


def _first(present: Iterable[Any], others: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(map(str, [*present, *others])))


def _frequent(values: NDArray[Any]) -> list[Any]:
    found, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_MOST]
    return list(found[order].tolist())


def _devices(rows: Rows, names: Names) -> list[str]:
    """Names of those that sockets are bound to; what cannot be written as it is is left out."""
    bound = rows["dev"] != 0
    pairs = _frequent(rows["netns"][bound].astype(np.uint64) << np.uint64(32) | rows["dev"][bound])
    known = [names.device(pair >> 32, pair & 0xFFFF_FFFF) for pair in pairs]
    return [name for name in known if text.clean(name) == name]


def _addresses(values: NDArray[np.uint64]) -> list[str]:
    """Of shape (n, 2)."""
    words = values.astype("<u8")
    _, first, counts = np.unique(pair_hash(words), return_index=True, return_counts=True)
    most = first[np.argsort(-counts, kind="stable")[:_MOST]]
    return [formats.address((int(high), int(low))) for high, low in words[most].tolist()]


@dataclass(frozen=True, slots=True)
class Choice:
    """What could stand in place of the word that ends at the cursor."""

    before: str = ""
    words: Sequence[str] = ()
    after: str = ""

    def text(self, number: int) -> str:
        """The filter with one of the words."""
        return self.before + self.words[number] + self.after

    def cursor(self, number: int) -> int:
        """Behind the word."""
        return len(self.before) + len(self.words[number])


def choice(typed: str, known: Vocabulary, cursor: int) -> Choice:
    """The words that begin like the one that ends at the cursor, in any case."""
    before, after = typed[:cursor], typed[cursor:]
    found = _LAST.match(before, _begin(before))
    if found is None or not found["token"].strip("!") or after[:1] not in {"", " ", ","}:
        return Choice()
    start, part = found.start("part"), found["part"]
    if found["field"]:
        candidates = list(known.values.get(_canonical(found["field"].lower()), ()))
    elif part.startswith("@"):
        candidates = [f"@{name}" for name in known.saved]
    else:
        fields = [f"{name}:" for one in FIELDS for name in (one.name, *one.aliases)]
        bare = [known.values.get(name, ()) for name in ("comm", "port", "ip")]
        candidates = [*fields, *(value for values in bare for value in values)]
    fitting = [one for one in dict.fromkeys(candidates) if one.lower().startswith(part.lower()) and one != part]
    return Choice(before[:start], fitting, after)


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
