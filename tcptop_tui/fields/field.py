"""One definition of a field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntFlag, auto
from typing import Any, TypeAlias

import numpy as np

from tcptop_tui import formats
from tcptop_tui.config.schema import RttUnit
from tcptop_tui.fields.row_context import FieldValues, Reader, RowContext

Formatter: TypeAlias = Callable[[RowContext, FieldValues], list[Any]]
"""What stands for each value of a column; None where it is not known."""


class RecordKinds(IntFlag):
    """Kinds of rows."""

    TABLE = auto()
    """Connections that there are, dtype ROW."""
    ENDED = auto()
    """Connections that have ended, dtype ENDED."""
    TRANSITIONS = auto()
    CONNECTS = auto()
    """Transitions that say what came of a connect()."""
    PAGE = auto()
    """The page of one connection; it has every column of TABLE besides."""


class ValueKind(Enum):
    """What a value of a filter is read as; ``filters.fields`` has a reader for each."""

    NUMBER = auto()
    """The number of something, as a PID: those that are there are offered."""
    COUNT = auto()
    PORT = auto()
    ADDRESS = auto()
    """An address or a network."""
    VERSION = auto()
    """Or 4 or 6."""
    DEVICE = auto()
    NAME = auto()
    WORD = auto()
    """A name that the kernel has chosen."""
    USER = auto()
    NETNS = auto()
    CGROUP = auto()
    STATE = auto()
    REASON = auto()
    BYTES = auto()
    """Or, behind them, ``/s``: bytes per second."""
    MICROSECONDS = auto()
    """The column's; milliseconds where the filter gives no unit."""
    NANOSECONDS = auto()
    """The column's; seconds where the filter gives no unit."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Field:
    """Where a value comes from, and what becomes of it everywhere."""

    key: str
    """In the config file, and where lists are sorted."""
    records: RecordKinds
    """Documents and lists of these have it."""
    read: Reader = lambda context: FieldValues(np.zeros(len(context.rows)), np.zeros(len(context.rows), np.bool_))
    source: str = ""
    """Where the kernel has it."""

    json: str = ""
    """Name in JSON and CSV; empty: it is not written."""
    type: Any = int | None
    """In JSON."""
    write: Formatter
    foreign: bool = False
    """Written by strangers: to a spreadsheet it may be a formula."""

    title: str = ""
    """Above its column in lists; empty: it has none."""
    meaning: str = ""
    """The title spelled out, for help and for the page of a connection."""
    show: Formatter
    """Text for people."""
    width: int = 0
    """Cells of its column."""
    rank: int = 0
    """Columns of a low rank stay when the screen is narrow; see ``registry.list_fields``."""
    right: bool = True
    stretch: int = 0
    """Cells that its column may take more than ``width`` when there is room."""
    optional: bool = False
    """Only on the screen when somebody chooses it, or brings it there with →."""
    has_group_sum: bool = False
    """Has a meaning for a group."""
    cut_in_middle: bool = False
    """Too long a text is cut in its middle, and has its cells before columns of a high rank."""
    detail: bool = False
    """Of the block beside the table, which is only made while somebody wants a field of it."""
    changes_with_time: bool = False
    """Shows a time, so that its text changes though the row does not."""
    descending: bool = False
    """Looked at from the largest value down, unless asked otherwise."""

    parse: ValueKind | None = None
    """None: a filter cannot ask for it."""
    names: tuple[str, ...] = ()
    """In a filter: the name, and its aliases."""
    columns: tuple[str, ...] = ()
    """Fields of the rows that a filter compares, any of them; where it does not use ``read``."""
    example: str = ""
    """A filter that parses."""
    filter_help: str = ""
    """What it means."""
    per_second: Reader | None = None
    """Of BYTES: the rate."""

    def values(self, context: RowContext) -> list[Any]:
        """A value for each row as documents have it; None where it is not known."""
        return self.write(context, self.read(context))

    def texts(self, context: RowContext) -> list[str]:
        """A text for each row as people read it; ``–`` where it is not known."""
        shown = self.show(context, self.read(context))
        return [formats.UNKNOWN if text is None else text for text in shown]

    def title_with_unit(self, unit: RttUnit) -> str:
        """The title; of round-trip times with the unit that its numbers then are without."""
        return self.title + formats.RTT_UNITS[unit] if self.parse is ValueKind.MICROSECONDS else self.title
