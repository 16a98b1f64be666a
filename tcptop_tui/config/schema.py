"""The shape of the config file: what a user can choose with F2 and keep, with defaults and limits."""

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
    """A column of a list; the columns are shown in the order of the choices."""

    key: str
    width: Cells = 0
    """Cells; 0: the column's own width."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that F2 changes; what the file leaves out has the default that stands here."""

    refresh_s: Annotated[float, msgspec.Meta(ge=MIN_REFRESH_S, le=MAX_REFRESH_S)] = _DEFAULTS.refresh_s
    """Seconds between two repaints."""
    log_rows: Annotated[int, msgspec.Meta(ge=MIN_LOG_ROWS, le=MAX_LOG_ROWS)] = _DEFAULTS.log_rows
    """Transitions that the log keeps; a change takes effect at the next start."""
    linger_s: Annotated[float, msgspec.Meta(ge=0, le=MAX_LINGER_S)] = _DEFAULTS.linger_s
    """Seconds that a connection which has ended stays in the table, dimmed; 0: not at all."""
    theme: str = "tcptop-dark"
    names: bool = False
    """Host and service names instead of numbers."""
    rtt_unit: RttUnit = "auto"
    time_wait: bool = True
    """Show connections in TIME_WAIT as rows, and not only their number."""
    columns: dict[str, tuple[ColumnChoice, ...]] = {}
    """By list (``connections``, ``connects``, ``sessions``, ``board``); without choices it has its default columns."""
    filters: dict[str, str] = {}
    """Saved filters, by name."""

    def view_options(self) -> dict[str, Any]:
        """The arguments of ``ViewOptions`` that the config file decides, by name."""
        return {"names": self.names, "rtt_unit": self.rtt_unit, "show_time_wait": self.time_wait}
