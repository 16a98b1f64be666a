"""F9: asks before a connection is closed."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from tcptop_tui import formats, safe_text
from tcptop_tui.records import Rows, State
from tcptop_tui.stream.batches import Names
from tcptop_tui.widgets.lists.list_rows import endpoints

_NOT_CLOSED = "The process gets ECONNABORTED and the peer gets a reset. Data that is still under way is lost."
_WHAT_HAPPENS = {
    State.LISTEN: "New connections are refused. Connections that were accepted stay open.",
    State.TIME_WAIT: "No process owns it any more. Late segments may reach the next connection with the same ports.",
    State.SYN_SENT: "The connect() call of the process fails with ECONNABORTED.",
}


class CloseDialog(ModalScreen[bool]):
    """Ends with whether to close it; Enter alone does not.

    Args:
        row: dtype ROW, shape (1,).
        names: of devices.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n,q,f10", "dismiss(False)", "Cancel"),
        Binding("y", "dismiss(True)", "Close it"),
        Binding("left,right", "app.focus_next", "Other button", show=False),
    ]

    def __init__(self, row: Rows, names: Names) -> None:
        super().__init__()
        self._row, self._names = row, names

    def compose(self) -> ComposeResult:
        """What it is, what happens, two buttons."""
        row = self._row[0]
        owner = f"{safe_text.clean(bytes(row['comm'])) or formats.UNKNOWN} (PID {row['pid'] or formats.UNKNOWN})"
        with Vertical(id="dialog") as box:
            box.border_title = "Close this connection?"
            box.border_subtitle = "y closes it, n or Esc cancels"
            yield Static(
                Text(f"{owner}\n{endpoints(self._row, self._names)}\n{formats.state_name(int(row['state']))}\n")
            )
            yield Static(_WHAT_HAPPENS.get(State(row["state"]), _NOT_CLOSED))
            with Horizontal():
                yield Button("Cancel", id="no")
                yield Button("Close", id="yes", variant="error")

    def on_mount(self) -> None:
        """A hand that only wanted on has not closed anything."""
        self.query_one("#no", Button).focus()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")
