"""F3: the line that a search is typed in. It finds the next row that matches, in the filter language; it hides none."""

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
from tcptop_tui.settings import MAX_FILTER_CHARS

_STATES = frozenset(state.name.lower() for state in State)


NOT_FOUND = "not found"


def next_match(positions: NDArray[np.intp], start: int, step: int) -> tuple[int | None, str]:
    """The first of ``positions`` from ``start`` on, or back from there; at the end it begins anew.

    Args:
        positions: where the matches are, ascending.
        start: where to start.
        step: -1: upwards, else downwards.

    Returns:
        A position, None without a match; and the result in words: ``3 of 12``.
    """
    if not len(positions):
        return None, NOT_FOUND
    index = int(np.searchsorted(positions, start)) if step >= 0 else int(np.searchsorted(positions, start, "right")) - 1
    has_wrapped = not 0 <= index < len(positions)
    index %= len(positions)
    return int(positions[index]), f"{index + 1:,} of {len(positions):,}{' (wrapped)' if has_wrapped else ''}"


def parse_search(text: str) -> Filter:
    """A filter from what is typed. Unlike in a filter, a state's name stands alone, and an address may be incomplete.

    Raises:
        UsageError: it does not parse.
    """
    text = text.strip()
    network = network_from_prefix(text)
    return parse(f"ip:{network}" if network else f"state:{text}" if text.lower() in _STATES else text)


class SearchBar(Horizontal):
    """Hidden until opened. Each keystroke goes to the first match from where the search began."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f10", "close", "Close", tooltip="Close the search"),
        Binding("f3,enter", "find(1)", "Next", tooltip="Next match (in the log: the previous one)", priority=True),
        Binding("shift+f3,f15", "find(-1)", "Previous match (in the log: the next one)", show=False, priority=True),
        Binding("down", "find(1, True)", "Match below", show=False, priority=True),
        Binding("up", "find(-1, True)", "Match above", show=False, priority=True),
    ]

    class MatchRequested(Message):
        """The user wants to see another match.

        Args:
            search: what has to match.
            step: 1 for the next match, -1 for the previous one, 0 for the first one from where the search began.
            is_downwards: the next match is the one below, also in the log, which is otherwise read from its end.
        """

        def __init__(self, search: Filter, step: int, *, is_downwards: bool) -> None:
            self.search, self.step, self.is_downwards = search, step, is_downwards
            super().__init__()

    class Closed(Message):
        """The bar has been hidden."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.display = False

    def compose(self) -> ComposeResult:
        """Prompt, input and result."""
        yield Label("Search: ")
        yield Input(placeholder="nginx  443  10.0.0.1  close_wait  rtt>10ms", max_length=MAX_FILTER_CHARS)
        yield Label("", id="found", markup=False)

    def open(self) -> None:
        """Show the bar with the text of last time, selected so that the first key replaces it."""
        self.display = True
        entry = self.query_one(Input)
        entry.select_all()
        self.show_result("")
        self.screen.set_focus(entry)

    def show_result(self, result: str, *, failed: bool = False) -> None:
        """Show the result of the search in words; in the colour of failures if it ``failed``."""
        label = self.query_one("#found", Label)
        label.update(result)
        label.set_class(failed, "-failed")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Search while the text is typed."""
        event.stop()
        if self.display:
            self._request_match(0)

    def action_find(self, step: int, is_downwards: bool = False) -> None:  # noqa: FBT001, FBT002  from a binding's text
        """Go to the next match or the previous one."""
        self._request_match(step, is_downwards=is_downwards)

    def _request_match(self, step: int, *, is_downwards: bool = False) -> None:
        try:
            search = parse_search(self.query_one(Input).value)
        except UsageError as error:
            self.show_result(error.message, failed=True)
            return
        if search == MATCH_ALL or not search.text.strip():
            self.show_result("")
            return
        self.post_message(self.MatchRequested(search, step, is_downwards=is_downwards))

    def action_close(self) -> None:
        """Hide the bar; the cursor stays at the match."""
        self.display = False
        self.post_message(self.Closed())
