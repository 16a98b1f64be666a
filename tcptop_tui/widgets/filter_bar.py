"""Where the filter is typed; what is wrong with it is said right there."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input, Label

from tcptop_tui.errors import UsageError
from tcptop_tui.filters import Filter, parse


class FilterBar(Vertical):
    """Hidden until opened. Every keystroke that parses takes effect; Esc restores, Enter keeps."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Restore", show=True),
    ]

    class Changed(Message):
        """A filter that parses was typed, or the one from before is restored."""

        def __init__(self, chosen: Filter) -> None:
            self.chosen = chosen
            super().__init__()

    class Closed(Message):
        """The bar is not shown any more."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._before = parse("")
        self.display = False

    def compose(self) -> ComposeResult:
        """Prompt and input, the complaint below."""
        with Horizontal():
            yield Label("Filter: ")
            yield Input(placeholder="443  comm:nginx  state:close_wait  !port:22  rtt>10ms", max_length=1000)
        yield Label("", id="complaint", markup=False)

    def open(self, current: Filter) -> None:
        """Show the bar with the filter in force."""
        self._before = current
        self.display = True
        entry = self.query_one(Input)
        entry.value = current.text
        entry.cursor_position = len(entry.value)
        # at once, not when the loop comes round to it: the next key may be here already
        self.screen.set_focus(entry)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Apply what parses, complain about what does not."""
        event.stop()
        complaint = self.query_one("#complaint", Label)
        try:
            chosen = parse(event.value)
        except UsageError as error:
            complaint.update(str(error))
            complaint.display = True
            return
        complaint.display = False
        if self.display:
            self.post_message(self.Changed(chosen))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the filter; an invalid one is not kept and the bar stays open."""
        event.stop()
        try:
            chosen = parse(event.value)
        except UsageError:
            return
        # a fast hand's Enter may overtake the changes that it ends
        self.post_message(self.Changed(chosen))
        self._close()

    def action_cancel(self) -> None:
        """Back to the filter from before."""
        self.post_message(self.Changed(self._before))
        self._close()

    def _close(self) -> None:
        self.display = False
        self.post_message(self.Closed())
