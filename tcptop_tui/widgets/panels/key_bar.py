"""The last line: what can be pressed now, in htop's order and manner."""

from __future__ import annotations

from textwrap import wrap
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import Binding
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from tcptop_tui.safe_text import fit
from tcptop_tui.widgets.key_names import key_name

_MOST_LINES = 3
"""Of messages."""
_ORDER = (
    "help", "setup", "search", "filter", "group", "pick_sort", "close_connection", "quit",
    "open", "view", "pause", "export",
)  # fmt: skip
"""Actions from left to right; others stand before them: they are of the panel that has the focus."""


def _rank(binding: Binding) -> int:
    action = binding.action.partition("(")[0].rpartition(".")[2]
    return _ORDER.index(action) if action in _ORDER else -1


def _display(binding: Binding) -> str:
    """As short as the bar needs it, else by the name that the help has."""
    return binding.key_display or ("⏎" if binding.key == "enter" else key_name(binding.key))


class KeyBar(Widget):
    """Shows the bindings that are in force, whole ones only, as many as fit; a click presses the key."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"key-bar--key", "key-bar--text", "key-bar--word", "key-bar--trouble"}

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._keys: list[tuple[Binding, str]] = []
        self._message: list[tuple[str, bool]] = []

    def show_message(self, message: str, seconds: float, *, trouble: bool) -> None:
        """Show a message in place of the keys, for so long or until a click; the latest ones if there are several."""
        one = (message, trouble)
        self._message.append(one)
        self._show_said()

        def unsay() -> None:
            if one in self._message:
                self._message.remove(one)
                self._show_said()

        self.set_timer(seconds, unsay)

    def clear_message(self) -> None:
        """Show the keys again."""
        self._message.clear()
        self._show_said()

    def _show_said(self) -> None:
        self.styles.height = max(1, len(self._lines))
        self.refresh()

    @property
    def _lines(self) -> list[tuple[str, bool]]:
        """The messages in lines of the screen, the last few of them."""
        width = max(1, self.size.width)
        wrapped = [(line, trouble) for said, trouble in self._message for line in wrap(said, width)[:_MOST_LINES]]
        return wrapped[-_MOST_LINES:]

    def on_mount(self) -> None:
        """Follow the focus, dialogs, and whatever else decides about keys."""
        self.screen.bindings_updated_signal.subscribe(self, self._update)
        self.app.screen_change_signal.subscribe(self, self._follow)

    def _follow(self, screen: Screen[object]) -> None:
        """Keys of the screen below a dialog do nothing."""
        screen.bindings_updated_signal.subscribe(self, self._update)
        self._update(screen)

    def _update(self, screen: Screen[object]) -> None:
        if screen is not self.app.screen:
            return
        bindings = [one.binding for one in screen.active_bindings.values() if one.binding.show and one.enabled]
        of_app = {one.binding.action for one in screen.active_bindings.values() if one.node is self.app}
        unique = {binding.action: binding for binding in reversed(bindings)}.values()
        ranked = sorted(unique, key=lambda one: _rank(one) if one.action in of_app or _rank(one) > 0 else -1)
        keys = [(binding, _display(binding)) for binding in ranked]
        if keys != self._keys:
            self._keys = keys
            self.refresh()

    def _fitting(self) -> list[tuple[Binding, str]]:
        """The most important ones, in their order."""
        room, chosen = self.size.width, []
        important = sorted(self._keys, key=lambda one: _rank(one[0]))
        for binding, key in important:
            cells = len(key) + len(binding.description) + 1
            if cells <= room:
                room -= cells
                chosen.append((binding, key))
        return [one for one in self._keys if one in chosen]

    def render_line(self, y: int) -> Strip:
        """``F1Help F4Filter ...``, or what is said."""
        base = self.rich_style
        lines = self._lines
        if lines:
            line, trouble = lines[y] if y < len(lines) else ("", False)
            style = self.get_component_rich_style("key-bar--trouble" if trouble else "key-bar--word")
            return Strip([Segment(fit(line, self.size.width), style)])
        key_style = self.get_component_rich_style("key-bar--key")
        text_style = self.get_component_rich_style("key-bar--text")
        segments: list[Segment] = []
        for binding, key in self._fitting() if y == 0 else ():
            segments += [Segment(key, key_style), Segment(binding.description, text_style), Segment(" ", base)]
        return Strip(segments).adjust_cell_length(self.size.width, base)

    async def on_click(self, event: events.Click) -> None:
        """Press the key that stands there."""
        if self._message:
            self.clear_message()
            return
        left = 0
        for binding, key in self._fitting():
            right = left + len(key) + len(binding.description) + 1
            if left <= event.x < right:
                self.app.simulate_key(binding.key)
                return
            left = right
