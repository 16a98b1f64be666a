"""Where the filter is typed; what is wrong with it is said right there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.suggester import Suggester
from textual.widgets import Input, Label

from tcptop_tui.config.filter_history import FilterHistory
from tcptop_tui.errors import UsageError
from tcptop_tui.filters import Filter, expand_saved, parse
from tcptop_tui.filters.completion import Completions, Vocabulary, complete
from tcptop_tui.settings import MAX_FILTER_CHARS

_MOST_OFFERED = 30


class _Ghost(Suggester):
    """The best completion, shown behind the cursor; → takes it."""

    def __init__(self, line: FilterInput) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._line = line

    async def get_suggestion(self, value: str) -> str | None:
        """The first word that fits, if it goes on just as it was typed."""
        found = complete(value, self._line.vocabulary, len(value))
        return found.text(0) if found.words and found.text(0).startswith(value) else None


class FilterInput(Input):
    """Where the filter is typed, with what was typed before and what could be meant."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "older", "Older filter that begins with what is typed", show=False),
        Binding("down", "newer", "Newer filter that begins with what is typed", show=False),
        Binding("tab", "complete(1)", "Complete the word; again: the next candidate", show=False),
        Binding("shift+tab", "complete(-1)", "Complete with the previous candidate", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(
            placeholder="443  comm:nginx  state:close_wait  !port:22  rtt>10ms",
            max_length=MAX_FILTER_CHARS,
            suggester=_Ghost(self),
        )
        self.history = FilterHistory()
        self.vocabulary = Vocabulary()
        self.saved: Mapping[str, str] = {}
        self._browsed: tuple[str, int] | None = None
        self._completion_index: tuple[Completions, int] | None = None
        self._set_by_key = ""

    def _replace_text(self, value: str, cursor: int | None = None) -> None:
        self._set_by_key = value
        self.value = value
        self.cursor_position = len(value) if cursor is None else cursor

    @property
    def completions(self) -> tuple[Completions, int]:
        """What the word at the cursor could become, and which of that Tab has put there; -1: none yet."""
        return self._completion_index or (complete(self.value, self.vocabulary, self.cursor_position), -1)

    def watch_value(self, value: str) -> None:
        """What is typed begins anew; what a key has put there goes on."""
        if value != self._set_by_key:
            self._browsed = self._completion_index = None
            self._set_by_key = ""

    def action_older(self) -> None:
        """The filter of before that begins with what was typed."""
        prefix, place = self._browsed or (self.value, len(self.history.entries))
        found = self.history.older(prefix, place)
        if found is not None:
            self._browsed = (prefix, found)
            self._replace_text(self.history.entries[found])

    def action_newer(self) -> None:
        """Back towards what was typed."""
        if self._browsed is None:
            return
        prefix, place = self._browsed
        found = self.history.newer(prefix, place)
        self._browsed = None if found is None else (prefix, found)
        self._replace_text(prefix if found is None else self.history.entries[found])

    def action_complete(self, step: int) -> None:
        """Complete the word at the cursor; again: with the next one that fits."""
        found, place = self.completions
        if found.words:
            place = (place + step if place >= 0 else 0) % len(found.words)
            self._completion_index = (found, place)
            self._replace_text(found.text(place), found.cursor(place))


def is_valid(value: str, saved: Mapping[str, str] | None = None) -> bool:
    """Whether it parses."""
    try:
        parse(expand_saved(value, saved or {}))
    except UsageError:
        return False
    return True


class FilterBar(Vertical):
    """Hidden until opened. Every keystroke that parses takes effect; Esc restores, Enter keeps."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Restore", tooltip="Cancel, and restore the previous filter"),
        Binding("ctrl+s", "save", "Apply the filter, and save it under a name", show=False),
    ]

    class FilterChanged(Message):
        """A filter that parses was typed, or the one from before is restored."""

        def __init__(self, chosen: Filter) -> None:
            self.chosen = chosen
            super().__init__()

    class SaveRequested(Message):
        """The filter in force shall get a name."""

    class Closed(Message):
        """The bar is not shown any more."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._filter_before = parse("")
        self.display = False

    def compose(self) -> ComposeResult:
        """What the word could become, prompt and input, the complaint below."""
        yield Label("", id="offered", markup=False)
        with Horizontal():
            yield Label("Filter: ")
            yield FilterInput()
        yield Label("", id="complaint", markup=False)

    def set_vocabulary(self, known: Vocabulary) -> None:
        """From now on there are these values to complete with."""
        self.query_one(FilterInput).vocabulary = known
        self._show_completions()

    def open(self, current: Filter, saved: Mapping[str, str]) -> None:
        """Show the bar with the filter in force; ``saved`` ones can be called by their names."""
        self._filter_before = current
        self.display = True
        entry = self.query_one(FilterInput)
        entry.saved = saved
        entry.value = current.text
        entry.cursor_position = len(entry.value)
        # at once, not when the loop comes round to it: the next key may be here already
        self.screen.set_focus(entry)

    def keep_history(self, path: Path | None) -> None:
        """Read the filters of before, and write new ones behind them."""
        self.query_one(FilterInput).history = FilterHistory(path, is_valid)

    def _show_completions(self) -> None:
        """A line of what Tab would bring; the one that it has brought stands out."""
        found, place = self.query_one(FilterInput).completions
        line = Text(no_wrap=True, overflow="ellipsis")
        # those before the chosen one that would push it off the line are left out
        for number in range(max(0, place - 1), min(len(found.words), place + _MOST_OFFERED)):
            line.append(found.words[number], "reverse" if number == place else "").append("  ")
        label = self.query_one("#offered", Label)
        label.update(line)

    def _parsed(self, value: str) -> Filter:
        return parse(expand_saved(value, self.query_one(FilterInput).saved))

    def on_input_changed(self, event: Input.Changed) -> None:
        """Apply what parses, complain about what does not."""
        event.stop()
        self._show_completions()
        complaint = self.query_one("#complaint", Label)
        try:
            chosen = self._parsed(event.value)
        except UsageError as error:
            complaint.update(str(error))
            complaint.display = True
            return
        complaint.display = False
        if self.display:
            self.post_message(self.FilterChanged(chosen))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the filter; an invalid one is not kept and the bar stays open."""
        event.stop()
        try:
            chosen = self._parsed(event.value)
        except UsageError:
            return
        self._accept(chosen)

    def _accept(self, chosen: Filter) -> None:
        self.query_one(FilterInput).history.add(chosen.text)
        # a fast hand's Enter may overtake the changes that it ends
        self.post_message(self.FilterChanged(chosen))
        self._close()

    def action_cancel(self) -> None:
        """Back to the filter from before."""
        self.post_message(self.FilterChanged(self._filter_before))
        self._close()

    def action_save(self) -> None:
        """Keep the filter, if it is one, and give it a name."""
        try:
            chosen = self._parsed(self.query_one(FilterInput).value)
        except UsageError:
            return
        self._accept(chosen)
        self.post_message(self.SaveRequested())

    def _close(self) -> None:
        self.display = False
        self.post_message(self.Closed())
