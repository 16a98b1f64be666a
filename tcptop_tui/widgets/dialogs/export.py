"""e: format and path of a snapshot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Select

from tcptop_tui.export.writers import FORMATS


class ExportDialog(ModalScreen[tuple[str, str] | None]):
    """Ends with (format, path), or None.

    Args:
        name_for: default path for a format.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]

    def __init__(self, name_for: Callable[[str], str]) -> None:
        super().__init__()
        self._name_for = name_for

    def compose(self) -> ComposeResult:
        """Format above path; Enter in the path writes."""
        with Vertical(id="dialog") as box:
            box.border_title = "Export what the filter shows"
            box.border_subtitle = "Enter writes, Esc cancels"
            yield Label("Format")
            yield Select([(name, name) for name in FORMATS], value=FORMATS[0], allow_blank=False, id="format")
            yield Label("File")
            yield Input(self._name_for(FORMATS[0]), id="path")

    def on_mount(self) -> None:
        """Start in the path: the default is right more often than not."""
        self.set_focus(self.query_one("#path", Input))

    def on_select_changed(self, event: Select.Changed) -> None:
        """Follow with the suffix; a name of the user's own stays."""
        path = self.query_one("#path", Input)
        path.value = str(Path(path.value).with_suffix(f".{event.value}")) if path.value else ""

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Write it."""
        chosen = str(self.query_one("#format", Select).value)
        self.dismiss((chosen, event.value.strip() or self._name_for(chosen)))
