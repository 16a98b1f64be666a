"""F3: find the next row that matches; nothing is hidden. The language is the filter's."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Label

from tcptop_tui.errors import UsageError
from tcptop_tui.filters import MATCH_ALL, Filter, parse
from tcptop_tui.records import State

_STATES = frozenset(state.name.lower() for state in State)


def read_search(text: str) -> Filter:
    """A filter; a state's name alone is one too.

    Raises:
        UsageError: it does not parse.
    """
    return parse(f"state:{text}" if text.strip().lower() in _STATES else text)


class SearchBar(Horizontal):
    """Hidden until opened; each keystroke goes to the first match from where the search began."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f10", "close", "End the search"),
        Binding("f3,enter,down", "find(1)", "Next match", priority=True),
        Binding("shift+f3,f15,up", "find(-1)", "Match before", priority=True),
    ]

    class Wanted(Message):
        """Somebody wants the next match. ``step``: 1, -1, or 0 for the first one from where it began."""

        def __init__(self, wanted: Filter, step: int) -> None:
            self.wanted, self.step = wanted, step
            super().__init__()

    class Closed(Message):
        """The bar is not shown any more."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.display = False

    def compose(self) -> ComposeResult:
        """Prompt, input, and what came of it."""
        yield Label("Search: ")
        yield Input(placeholder="nginx  443  10.0.0.1  close_wait  rtt>10ms", max_length=1000)
        yield Label("", id="found", markup=False)

    def open(self) -> None:
        """Show it with the text of last time, which the first key replaces."""
        self.display = True
        entry = self.query_one(Input)
        entry.select_all()
        self.say("")
        self.screen.set_focus(entry)

    def say(self, told: str) -> None:
        """What came of the search."""
        self.query_one("#found", Label).update(told)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Go there while it is typed."""
        event.stop()
        if self.display:
            self._want(0)

    def action_find(self, step: int) -> None:
        """The next one, or the one before."""
        self._want(step)

    def _want(self, step: int) -> None:
        try:
            wanted = read_search(self.query_one(Input).value)
        except UsageError as error:
            self.say(error.message)
            return
        if wanted == MATCH_ALL or not wanted.text.strip():
            self.say("")
            return
        self.post_message(self.Wanted(wanted, step))

    def action_close(self) -> None:
        """Stay at the match."""
        self.display = False
        self.post_message(self.Closed())
