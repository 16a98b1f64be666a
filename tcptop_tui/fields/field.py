"""The definition of a field: where a value comes from, and what every list, filter and document does with it."""

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
"""Takes rows and the values read from them; gives a text or a JSON value for each, None where it is not known."""


class RecordKinds(IntFlag):
    """Kinds of rows that can have a field."""

    TABLE = auto()
    """Rows of a table, dtype ROW."""
    ENDED = auto()
    """Ended connections, dtype ENDED."""
    TRANSITIONS = auto()
    CONNECTS = auto()
    """Transitions that end a connect(), or destinations."""
    PAGE = auto()
    """The page of one connection, which shows every field of TABLE as well."""


class ValueKind(Enum):
    """What kind of value a filter takes for a field; ``filters.fields`` has a parser for each."""

    NUMBER = auto()
    """A number that identifies something, as a PID. Completion offers those that are in the table."""
    COUNT = auto()
    PORT = auto()
    ADDRESS = auto()
    """An address or a network."""
    VERSION = auto()
    """An address or a network, or 4 or 6."""
    DEVICE = auto()
    NAME = auto()
    WORD = auto()
    """A name that the kernel gives."""
    USER = auto()
    NETNS = auto()
    CGROUP = auto()
    STATE = auto()
    REASON = auto()
    BYTES = auto()
    """A number of bytes, or with ``/s`` bytes per second."""
    MICROSECONDS = auto()
    """A time that the column has in µs; a number without a unit means milliseconds."""
    NANOSECONDS = auto()
    """A time that the column has in ns; a number without a unit means seconds."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Field:
    """Immutable. What has a default is needed only by some fields."""

    key: str
    """Its name in the config file and in sort orders."""
    records: RecordKinds
    """Lists and documents of these kinds of rows have it."""
    read: Reader = lambda context: FieldValues(np.zeros(len(context.rows)), np.zeros(len(context.rows), np.bool_))
    source: str = ""
    """The kernel's name of it, for docs/fields.md."""

    json: str = ""
    """Name in JSON and CSV; empty: documents do not have it."""
    type: Any = int | None
    """Type of its values in JSON."""
    write: Formatter
    """Makes the values of documents."""
    foreign: bool = False
    """A stranger may have chosen the text, so that it may be a formula to a spreadsheet."""

    title: str = ""
    """Title of its column in lists; empty: lists do not have it."""
    meaning: str = ""
    """The title spelled out, for help and for the page of a connection."""
    show: Formatter
    """Makes the texts for people."""
    width: int = 0
    """Width of its column in cells."""
    rank: int = 0
    """Columns with a low rank stay when the screen is narrow; see ``registry.list_fields``."""
    right: bool = True
    """Its column is aligned on the right."""
    stretch: int = 0
    """Cells by which its column may be wider than ``width`` where there is room."""
    optional: bool = False
    """Its column is on the screen only when the user has chosen it, or scrolls to it with →."""
    has_group_sum: bool = False
    """The row of a group has a value for it."""
    cut_in_middle: bool = False
    """A text that is too long is cut in its middle. The column gets its width before columns with a higher rank."""
    detail: bool = False
    """It is one of the details beside the table, which are there only while somebody looks at one of them."""
    changes_with_time: bool = False
    """Its text changes with time even where the row stays the same."""
    descending: bool = False
    """Lists that are sorted by it begin with the largest value, until the user inverts the order."""

    parse: ValueKind | None = None
    """Kind of its values in a filter; None: filters do not have it."""
    names: tuple[str, ...] = ()
    """Its name in filters, then its aliases."""
    columns: tuple[str, ...] = ()
    """Members of the dtype that a filter compares instead of what ``read`` gives; one that matches is enough."""
    example: str = ""
    """Filters that use it."""
    filter_help: str = ""
    """What it means in a filter, for help."""
    per_second: Reader | None = None
    """Reads the rate that a filter with ``/s`` compares, where ``parse`` is BYTES."""

    def values(self, context: RowContext) -> list[Any]:
        """A value for each row as documents have it; None where it is not known."""
        return self.write(context, self.read(context))

    def texts(self, context: RowContext) -> list[str]:
        """A text for each row as people read it; ``–`` where it is not known."""
        texts = self.show(context, self.read(context))
        return [formats.UNKNOWN if text is None else text for text in texts]

    def title_with_unit(self, unit: RttUnit) -> str:
        """The title; for round-trip times with the unit, if the user has chosen one that the numbers are without."""
        return self.title + formats.RTT_UNITS[unit] if self.parse is ValueKind.MICROSECONDS else self.title
