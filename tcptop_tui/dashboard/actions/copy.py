"""y: the selected row into the clipboard of whoever looks, however far away."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from tcptop_tui.dashboard.views import ViewApp
from tcptop_tui.widgets.lists.listing import Listing


class CopyActions(ViewApp):
    """Copies by OSC 52: the terminal does it, also over SSH; tmux with ``set-clipboard on`` only."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy", "Copy the row to the clipboard (OSC 52; tmux needs set-clipboard on)", show=False),
    ]

    def action_copy(self) -> None:
        """Copy the row under the cursor, all of its columns."""
        lists = [one for one in (self.view, *self.view.query(Listing)) if isinstance(one, Listing)]
        focused = next((one for one in lists if one.has_focus), next(iter(lists), None))
        told = focused.row_text() if focused is not None else ""
        if not told:
            self.notify("nothing to copy: no row is selected", severity="warning", timeout=3)
            return
        self.copy_to_clipboard(told)
        self.notify(f"copied: {told}", markup=False, timeout=3)
