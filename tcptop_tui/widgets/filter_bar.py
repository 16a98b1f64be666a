"""Where the filter is typed; what is wrong with it is said right there."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input, Label

from tcptop_tui.errors import UsageError
from tcptop_tui.filters import Filter, parse


class FilterInput(Input):
    """An input that takes no more after Enter or Esc: a fast hand's next keys are for the view.

    Textual hands keys to whoever has the focus when they come in, and that changes only when the
    line's end has been dealt with; ``late`` holds what came in between.
    """

    def __init__(self) -> None:
        super().__init__(placeholder="443  comm:nginx  state:close_wait  !port:22  rtt>10ms", max_length=1000)
        self.late: list[events.Key] = []
        self.ended = False

    async def _on_key(self, event: events.Key) -> None:
        if self.ended:
            self.late.append(event)
            event.stop()
            event.prevent_default()
            return
        self.ended = event.key == "escape" or (event.key == "enter" and is_valid(self.value))
        await super()._on_key(event)


def is_valid(value: str) -> bool:
    """Whether it parses."""
    try:
        parse(value)
    except UsageError:
        return False
    return True


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

        def __init__(self, late: list[events.Key]) -> None:
            self.late = late
            """Keys that were typed behind its end."""
            super().__init__()

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._before = parse("")
        self.display = False

    def compose(self) -> ComposeResult:
        """Prompt and input, the complaint below."""
        with Horizontal():
            yield Label("Filter: ")
            yield FilterInput()
        yield Label("", id="complaint", markup=False)

    def open(self, current: Filter) -> None:
        """Show the bar with the filter in force."""
        self._before = current
        self.display = True
        entry = self.query_one(FilterInput)
        entry.ended, entry.late = False, []
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
        self.post_message(self.Closed(self.query_one(FilterInput).late))
