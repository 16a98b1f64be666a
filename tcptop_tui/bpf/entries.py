"""The map's entries from one reading to the next: who they are, and which of the dump's sockets.

Of 100,000 connections most are the same ones a second later: what has been found out about an entry is
carried over, and only the rest is looked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.bpf.compared import Compared
from tcptop_tui.bpf.portless import adopt_ports
from tcptop_tui.records import Mask, Rows, State, overwrite, picked
from tcptop_tui.source.identity import Index, tuple_hash, with_birth

_MOVING = [State.SYN_SENT, State.SYN_RECV]
"""Ends may be incomplete yet: ``tcp_v4_connect``, net/ipv4/tcp_ipv4.c; ``remote_unknown`` in ``c/filter.c``."""
NOWHERE = -1


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """Those of one reading that have not closed; columns of shape (n,)."""

    which: NDArray[np.intp]
    """Where they stand in the reading."""
    skaddr: NDArray[np.uint64]
    born_ns: NDArray[np.uint64]
    lives: Index
    """of ``identity.socket_life``"""
    ids: NDArray[np.uint64]
    """Those that they had among the entries before, 0 if they are new, until whoever numbers them has."""
    hashes: NDArray[np.uint64]
    """``identity.tuple_hash``"""
    settled: Mask
    """``hashes`` will not change."""
    dumped: NDArray[np.intp]
    """Row of the latest dump with the same ends, or ``NOWHERE``."""

    @classmethod
    def nothing(cls) -> Entries:
        """Before the first reading."""
        none = np.zeros(0, np.intp)
        no_keys, nobody = np.zeros(0, "<u8"), np.zeros(0, np.bool_)
        return cls(none, no_keys, no_keys, Index.of(no_keys), no_keys, no_keys, nobody, none)

    def then(self, keys: NDArray[np.uint64], conns: Rows, dump: Compared) -> Entries:
        """The entries of a later reading; ``dump`` is the one that ``dumped`` is about.

        Ports that only the dump knows are written into ``conns``.
        """
        # where the guard was skipped a closed socket keeps its entry until it is destroyed
        which = np.flatnonzero(conns["state"] != State.CLOSE)
        skaddr, born_ns = keys[which], conns["born_ns"][which]
        lives = Index.of(with_birth(skaddr, born_ns))
        place, there = self.lives.find_all(lives)
        ids = np.zeros(len(which), "<u8")
        ids[there] = self.ids[place[there]]
        there[there] = self.settled[place[there]]
        known, other, place = np.flatnonzero(there), np.flatnonzero(~there), place[there]
        hashes, settled, dumped = np.empty(len(which), "<u8"), there, np.empty(len(which), np.intp)
        hashes[known], dumped[known] = self.hashes[place], self.dumped[place]
        rest = picked(conns, which[other])
        if adopt_ports(rest, dump.rows, hashes[known]):
            overwrite(conns, which[other], rest)
        hashes[other] = tuple_hash(rest)
        dumped[other] = _places(dump, hashes[other])
        settled[other] = ~np.isin(rest["state"], _MOVING)
        return Entries(which, skaddr, born_ns, lives, ids, hashes, settled, dumped)

    def beside(self, dump: Compared) -> Entries:
        """The same ones, looked for in another dump."""
        return replace(self, dumped=_places(dump, self.hashes))


def _places(dump: Compared, hashes: NDArray[np.uint64]) -> NDArray[np.intp]:
    place, there = dump.index.find(hashes)
    return np.where(there, place, NOWHERE)
