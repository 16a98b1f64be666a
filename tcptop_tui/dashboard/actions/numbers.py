"""Keys that change how numbers are shown, and begin anew."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import ClassVar

from textual.binding import Binding, BindingType

from tcptop_tui.config.schema import RttUnit
from tcptop_tui.dashboard.views import ViewApp

_NEXT_UNIT: dict[RttUnit, RttUnit] = {"auto": "ms", "ms": "us", "us": "auto"}
_TWICE_S = 3.0
"""The second press of what cannot be undone must come within this time."""


class DisplayActions(ViewApp):
    """Units, and clearing the history."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "rtt_unit", "RTT unit: ms, µs, or automatic", show=False),
        Binding("x", "clear", "Clear the log and the ended connections (press twice)", show=False),
    ]
    _first_press_s = -_TWICE_S

    def action_rtt_unit(self) -> None:
        """The next unit."""
        self.set_view_options(replace(self.view_options, rtt_unit=_NEXT_UNIT[self.view_options.rtt_unit]))

    def action_clear(self) -> None:
        """Begin anew, when it was pressed twice."""
        now_s = time.monotonic()
        if now_s - self._first_press_s > _TWICE_S:
            self._first_press_s = now_s
            self.notify("press x again to clear the log, the ended connections and their RTT samples", timeout=_TWICE_S)
            return
        self._first_press_s = -_TWICE_S
        self._store.clear()
        self.set_paused(paused=False)
        self.call_next(self.tick)
        self.notify("the log and the ended connections are cleared", timeout=2)
