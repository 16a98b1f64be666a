"""What a user can choose and keep: the shape of the config file."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from tcptop_tui.settings import Settings

_DEFAULTS = Settings()

RttUnit: TypeAlias = Literal["auto", "us", "ms"]
MIN_REFRESH_S, MAX_REFRESH_S = 0.1, 60.0
MIN_LOG_ROWS, MAX_LOG_ROWS = 100, 1_000_000
MAX_LINGER_S = 3600.0

Cells: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=200)]


class ColumnChoice(msgspec.Struct, frozen=True):
    """A column that the user wants, where it stands in the list of them."""

    key: str
    width: Cells = 0
    """0: as wide as the column is by itself."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that F2 changes; what the file leaves out is as it is here."""

    refresh_s: Annotated[float, msgspec.Meta(ge=MIN_REFRESH_S, le=MAX_REFRESH_S)] = _DEFAULTS.refresh_s
    """Between two repaints."""
    log_rows: Annotated[int, msgspec.Meta(ge=MIN_LOG_ROWS, le=MAX_LOG_ROWS)] = _DEFAULTS.log_rows
    """Transitions that the log keeps; from the next start on."""
    linger_s: Annotated[float, msgspec.Meta(ge=0, le=MAX_LINGER_S)] = _DEFAULTS.linger_s
    """How long a connection that is gone stays in the table, dimmed; 0: not at all."""
    theme: str = "tcptop-dark"
    names: bool = False
    """Host and service names instead of numbers."""
    rtt_unit: RttUnit = "auto"
    time_wait: bool = True
    """List connections in TIME_WAIT, not only their number."""
    columns: dict[str, tuple[ColumnChoice, ...]] = {}
    """By list (``connections``, ``connects``, ``sessions``); a list that is not there has its default columns."""
    filters: dict[str, str] = {}
    """Filters that were given a name."""

    def look(self) -> dict[str, Any]:
        """What of it a ``ViewOptions`` has, by name."""
        return {"names": self.names, "rtt_unit": self.rtt_unit, "show_time_wait": self.time_wait}
