"""y: copies the selected row to the clipboard of the user's terminal, also over SSH."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from tcptop_tui.dashboard.views import ViewApp


class CopyActions(ViewApp):
    """Copies by OSC 52, a sequence to the terminal. tmux passes it on with ``set-clipboard on`` only."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy", "Copy the row to the clipboard (OSC 52; tmux needs set-clipboard on)", show=False),
    ]

    def action_copy(self) -> None:
        """Copy all columns of the row under the cursor."""
        lists = self.view_lists
        focused = next((listing for listing in lists if listing.has_focus), next(iter(lists), None))
        row_text = focused.row_text() if focused is not None else ""
        if not row_text:
            self.notify("nothing to copy: no row is selected", severity="warning", timeout=3)
            return
        self.copy_to_clipboard(row_text)
        self.notify(f"copied: {row_text}", markup=False, timeout=3)
