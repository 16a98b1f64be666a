"""What a user can choose and keep: the shape of the config file."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

RttUnit: TypeAlias = Literal["auto", "us", "ms"]


class ColumnChoice(msgspec.Struct, frozen=True):
    """A column that the user wants, where it stands in the list of them."""

    key: str
    width: int = 0
    """Cells; 0: as wide as the column is by itself."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that F2 changes; what the file leaves out is as it is here."""

    refresh_s: float = 0.5
    """Between two repaints."""
    log_rows: int = 10_000
    """Transitions that the log keeps."""
    linger_s: float = 5.0
    """How long a connection that is gone stays in the table, dimmed; 0: not at all."""
    theme: str = "tcptop-dark"
    names: bool = False
    """Host and service names instead of numbers."""
    rtt_unit: RttUnit = "auto"
    columns: dict[str, tuple[ColumnChoice, ...]] = {}
    """By list (``connections``, ``connects``, ``sessions``) its columns from left to right; none: the default."""
    filters: dict[str, str] = {}
    """Filters that were given a name."""
