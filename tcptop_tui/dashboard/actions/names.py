"""n: names instead of numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from textual.binding import Binding, BindingType

from tcptop_tui.dashboard.views import ViewApp


class NameActions(ViewApp):
    """Host and service names; filters, order and exports keep the numbers."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "names", "Show host and service names, or numbers", show=False),
    ]

    def action_names(self) -> None:
        """Names, or numbers again."""
        self.set_view_options(replace(self.view_options, names=not self.view_options.names))
