"""Conditions: what the terms of a filter become. Each gives a mask for all rows at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tcptop_tui.close_reasons import close_reasons
from tcptop_tui.fields.row_context import Reader, RowContext
from tcptop_tui.filters.addresses import Network
from tcptop_tui.filters.process_names import distinct_names
from tcptop_tui.host.cgroups import Cgroups
from tcptop_tui.records import TRANSITION, Mask, is_ipv4, speaks_ipv4


class Condition(Protocol):
    """Something that is true of a row or not."""

    def mask(self, context: RowContext) -> Mask:
        """The rows of which it is true, shape (n,)."""
        ...


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of ``conditions`` is true; there is at least one."""

    conditions: tuple[Condition, ...]

    def mask(self, context: RowContext) -> Mask:
        """See ``Condition``."""
        return reduce(np.logical_or, (part.mask(context) for part in self.conditions))


@dataclass(frozen=True, slots=True)
class Not:
    """The exact complement of ``condition``, so that it is true of what is unknown."""

    condition: Condition

    def mask(self, context: RowContext) -> Mask:
        """See ``Condition``."""
        return ~self.condition.mask(context)


@dataclass(frozen=True, slots=True)
class InRange:
    """A known number from ``low`` to ``high``, both included; no number is if ``low`` is above ``high``."""

    read_field: Reader
    low: float
    high: float

    def mask(self, context: RowContext) -> Mask:
        """See ``Condition``."""
        numbers, is_known = self.read_field(context)
        inside: Mask = (numbers >= self.low) & (numbers <= self.high) & is_known
        return inside


@dataclass(frozen=True, slots=True)
class OneOf:
    """A known number that is one of ``numbers``."""

    read: Reader
    numbers: frozenset[int]

    def mask(self, context: RowContext) -> Mask:
        """See ``Condition``."""
        numbers, is_known = self.read(context)
        is_listed: Mask = np.isin(numbers, np.array(sorted(self.numbers), numbers.dtype)) & is_known
        return is_listed


@dataclass(frozen=True, slots=True)
class Equal:
    """A known name (S16) that is ``name``; both are in lower case."""

    read: Reader
    name: str

    def mask(self, context: RowContext) -> Mask:
        """See ``Condition``."""
        names, is_known = self.read(context)
        equal: Mask = (names == self.name.encode()) & is_known
        return equal


@dataclass(frozen=True, slots=True, eq=False)
class InPortSet:
    """A port or another small number at which ``table`` is True, in any of ``columns``."""

    columns: tuple[str, ...]
    table: NDArray[np.bool_]

    def mask(self, context: RowContext) -> Mask:
        """See ``Condition``."""
        return reduce(np.logical_or, (self.table[context.rows[name]] for name in self.columns))


@dataclass(frozen=True, slots=True)
class InStates:
    """One of ``states``; of a transition the old or the new state."""

    states: frozenset[int]

    def mask(self, context: RowContext) -> Mask:
        """See ``Condition``."""
        table = np.zeros(256, np.bool_)
        table[list(self.states)] = True
        columns = ("oldstate", "newstate") if context.rows.dtype == TRANSITION else ("state",)
        return InPortSet(columns, table).mask(context)


@dataclass(frozen=True, slots=True)
class HasCloseReason:
    """One of these close reasons; what is open, or was not seen to end, has none."""

    codes: frozenset[int]

    def mask(self, context: RowContext) -> Mask:
        """See ``Condition``."""
        table = np.zeros(256, np.bool_)
        table[list(self.codes)] = True
        mask: Mask = table[close_reasons(context.rows)]
        return mask


@dataclass(frozen=True, slots=True)
class InCgroup:
    """A socket in the cgroup with the id ``top`` or in one below it, by the hierarchy at the moment of the call."""

    top: int
    _tree: Cgroups = field(default_factory=Cgroups, repr=False, compare=False)

    def mask(self, context: RowContext) -> Mask:
        """See ``Condition``."""
        ids, id_index = np.unique(context.rows["cgroup"], return_inverse=True)
        inside = self._tree.descendants({self.top}, ids.tolist()) - {0}  # 0: unknown
        mask: Mask = np.isin(ids, np.array(sorted(inside), np.uint64))[id_index]
        return mask


@dataclass(frozen=True, slots=True)
class InNetwork:
    """An address in ``network``, in any of ``columns``."""

    columns: tuple[str, ...]
    network: Network

    def mask(self, context: RowContext) -> Mask:
        """See ``Condition``."""
        return reduce(np.logical_or, (self._inside(context.rows[name]) for name in self.columns))

    def _inside(self, addresses: NDArray[np.uint64]) -> Mask:
        mask_words, words = self.network.mask_words, self.network.words
        inside: Mask = (addresses[:, 1] & np.uint64(mask_words[1])) == np.uint64(words[1])
        inside &= (addresses[:, 0] & np.uint64(mask_words[0])) == np.uint64(words[0])
        if self.network.without_ipv4:
            inside &= ~is_ipv4(addresses)
        return inside


@dataclass(frozen=True, slots=True)
class OnDevice:
    """A socket bound to the device with this name or index in the socket's network namespace."""

    device: str

    def mask(self, context: RowContext) -> Mask:
        """See ``Condition``."""
        mask = np.zeros(len(context.rows), np.bool_)
        bound = np.flatnonzero(context.rows["dev"])  # most are bound to none
        pairs = context.rows["netns"][bound].astype(np.uint64) << np.uint64(32) | context.rows["dev"][bound]
        distinct_pairs, pair_index = np.unique(pairs, return_inverse=True)
        matches = [self._matches_device(context, pair >> 32, pair & 0xFFFF_FFFF) for pair in distinct_pairs.tolist()]
        mask[bound] = np.array(matches, np.bool_)[pair_index]
        return mask

    def _matches_device(self, context: RowContext, netns: int, dev: int) -> bool:
        return self.device in {str(dev), context.names.device(netns, dev)}


@dataclass(frozen=True, slots=True)
class AllOf:
    """All of ``conditions`` are true; there is at least one."""

    conditions: tuple[Condition, ...]

    def mask(self, context: RowContext) -> Mask:
        """See ``Condition``."""
        return reduce(np.logical_and, (part.mask(context) for part in self.conditions))


@dataclass(frozen=True, slots=True)
class HasIpVersion:
    """IPv4 or IPv6 (the rest), as the capture options have it."""

    ipv4: bool

    def mask(self, context: RowContext) -> Mask:
        """See ``Condition``."""
        four = speaks_ipv4(context.rows)
        return four if self.ipv4 else ~four


@dataclass(frozen=True, slots=True)
class HasProcessName:
    """A known process name that ``matches_name`` accepts; it is called once for each different name."""

    matches_name: Callable[[str], bool]

    def mask(self, context: RowContext) -> Mask:
        """See ``Condition``."""
        leaders, leader_of = distinct_names(context.rows["comm"])
        leader_matches = np.zeros(len(context.rows), np.bool_)
        names = (raw.split(b"\0", 1)[0] for raw in context.rows["comm"][leaders].tolist())
        leader_matches[leaders] = [bool(name) and self.matches_name(name.decode("utf-8", "replace")) for name in names]
        mask: Mask = leader_matches[leader_of]
        return mask
