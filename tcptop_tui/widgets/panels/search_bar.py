"""F3: find the next row that matches; nothing is hidden. The language is the filter's."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Label

from tcptop_tui.errors import UsageError
from tcptop_tui.filters import MATCH_ALL, Filter, parse
from tcptop_tui.filters.addresses import network_from_prefix
from tcptop_tui.records import State

_STATES = frozenset(state.name.lower() for state in State)


NOT_FOUND = "not found"


def next_match(places: NDArray[np.intp], start: int, step: int) -> tuple[int | None, str]:
    """Of ``places``, in their order, the first from ``start`` on, for -1 back from there; and what to say of it."""
    if not len(places):
        return None, NOT_FOUND
    index = int(np.searchsorted(places, start)) if step >= 0 else int(np.searchsorted(places, start, "right")) - 1
    wrapped = not 0 <= index < len(places)
    index %= len(places)
    return int(places[index]), f"{index + 1:,} of {len(places):,}{' (wrapped)' if wrapped else ''}"


def read_search(text: str) -> Filter:
    """A filter; a state's name alone is one too, and so are addresses that are not typed to their end.

    Raises:
        UsageError: it does not parse.
    """
    text = text.strip()
    begun = network_from_prefix(text)
    return parse(f"ip:{begun}" if begun else f"state:{text}" if text.lower() in _STATES else text)


class SearchBar(Horizontal):
    """Hidden until opened; each keystroke goes to the first match from where the search began."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f10", "close", "Close", tooltip="Close the search"),
        Binding("f3,enter", "find(1)", "Next", tooltip="Next match (in the log: the previous one)", priority=True),
        Binding("shift+f3,f15", "find(-1)", "Previous match (in the log: the next one)", show=False, priority=True),
        Binding("down", "find(1, True)", "Match below", show=False, priority=True),
        Binding("up", "find(-1, True)", "Match above", show=False, priority=True),
    ]

    class MatchRequested(Message):
        """Somebody wants the next match.

        Args:
            wanted: what it is.
            step: 1, -1, or 0 for the first one from where it began.
            below: 1 is downwards, whichever way the list is read.
        """

        def __init__(self, wanted: Filter, step: int, *, below: bool) -> None:
            self.wanted, self.step, self.below = wanted, step, below
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
        self.show_result("")
        self.screen.set_focus(entry)

    def show_result(self, told: str, *, failed: bool = False) -> None:
        """What came of the search."""
        found = self.query_one("#found", Label)
        found.update(told)
        found.set_class(failed, "-failed")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Go there while it is typed."""
        event.stop()
        if self.display:
            self._request_match(0)

    def action_find(self, step: int, below: bool = False) -> None:  # noqa: FBT001, FBT002  from a binding's text
        """The next one, or the one before."""
        self._request_match(step, below=below)

    def _request_match(self, step: int, *, below: bool = False) -> None:
        try:
            wanted = read_search(self.query_one(Input).value)
        except UsageError as error:
            self.show_result(error.message, failed=True)
            return
        if wanted == MATCH_ALL or not wanted.text.strip():
            self.show_result("")
            return
        self.post_message(self.MatchRequested(wanted, step, below=below))

    def action_close(self) -> None:
        """Stay at the match."""
        self.display = False
        self.post_message(self.Closed())
