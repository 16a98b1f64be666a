"""F2: choose and keep how everything is shown."""

from __future__ import annotations

from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType

from tcptop_tui.dashboard.views import SORTED_LISTS, ViewApp
from tcptop_tui.widgets.dialogs.setup import SetupDialog

_FASTER, _SLOWER = 0.5, 2.0


class SetupActions(ViewApp):
    """The settings, and the file that they are kept in."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2,S", "setup", "Setup", tooltip="Setup: columns, theme, periods", key_display="F2"),
        Binding("plus", "pace(1)", "Refresh twice as often", show=False),
        Binding("minus", "pace(-1)", "Refresh half as often", show=False),
    ]

    def action_pace(self, way: int) -> None:
        """Faster or slower, until the end of the program."""
        self.set_refresh(self._settings.refresh_s * (_FASTER if way > 0 else _SLOWER))
        self.notify(f"refreshing every {self._settings.refresh_s:g} s", timeout=2)

    @work(group="setup", exclusive=True)
    async def action_setup(self) -> None:
        """Let the user change things, then keep them or put them back."""
        before = self.config
        lists = {name: kind.COLUMNS for name, kind in SORTED_LISTS.items()}
        themes = sorted(self.available_themes, key=lambda name: (not name.startswith("tcptop-"), name))
        after = await self.push_screen_wait(SetupDialog(before, lists, themes))
        self.apply_config(after or before)
        if after is not None and after != before:
            self.save_config(after)

    @on(SetupDialog.Changed)
    def _setup_changed(self, event: SetupDialog.Changed) -> None:
        self.apply_config(event.config)
