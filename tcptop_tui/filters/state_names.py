"""Parses a state name in a filter, in any usual spelling: the kernel's, ss's, netstat's, RFC 9293's."""

from __future__ import annotations

import difflib
import re

from tcptop_tui.filters.errors import quoted_for_message
from tcptop_tui.filters.lexer import Value
from tcptop_tui.records import State

_IGNORED = re.compile(r"[-_ ]|^tcp[-_]")

# since Linux 4.4 a request that waits for its ACK is in NEW_SYN_RECV, which ss and netstat show as SYN-RECV
_SYN_RECV = frozenset({State.SYN_RECV, State.NEW_SYN_RECV})
_ALL = frozenset(State)
_CONNECTED = _ALL - {State.LISTEN, State.CLOSE, State.BOUND_INACTIVE}
_BUCKET = _SYN_RECV | {State.TIME_WAIT}

_ALIASES = {
    State.ESTABLISHED: ("estab", "est"),
    State.FIN_WAIT1: ("fin1", "finw1"),
    State.FIN_WAIT2: ("fin2", "finw2"),
    State.TIME_WAIT: ("timew", "tw"),
    State.CLOSE: ("closed", "unconn"),
    State.CLOSE_WAIT: ("closew", "cw"),
    State.LISTEN: ("listening",),
}


def _plain(name: str) -> str:
    return _IGNORED.sub("", name.casefold())


_NAMES: dict[str, frozenset[State]] = {
    **{_plain(state.name): frozenset({state}) for state in State},
    **{alias: frozenset({state}) for state, aliases in _ALIASES.items() for alias in aliases},
    **dict.fromkeys(("synrecv", "synrcvd", "synreceived"), _SYN_RECV),
    # groups, as ss(8) has them
    "all": _ALL,
    "connected": _CONNECTED,
    "synchronized": _CONNECTED - {State.SYN_SENT},
    "bucket": _BUCKET,
    "big": _ALL - _BUCKET,
}


def read_states(value: Value) -> frozenset[State]:
    """The states that a name stands for: one, or several for ``connected`` and other groups of ss.

    Raises:
        FilterError: no state has this name.
    """
    states = _NAMES.get(_plain(value.text))
    if states is None:
        close = difflib.get_close_matches(_plain(value.text), _NAMES, 1)
        hint = f"did you mean {close[0]}?" if close else f"use {', '.join(state.name.lower() for state in State)}"
        raise value.error(f"no TCP state {quoted_for_message(value.text)}", hint)
    return states
