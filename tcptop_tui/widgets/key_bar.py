"""The last line: what can be pressed now, in htop's order and manner."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import Binding
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

_ORDER = (
    "help", "setup", "search", "filter", "group", "pick_sort", "close_connection", "quit",
    "open", "view", "pause", "export",
)  # fmt: skip
"""Actions from left to right; others stand before them: they are of the panel that has the focus."""


def _rank(binding: Binding) -> int:
    action = binding.action.partition("(")[0].rpartition(".")[2]
    return _ORDER.index(action) if action in _ORDER else -1


class KeyBar(Widget):
    """Shows the bindings that are in force, whole ones only, as many as fit; a click presses the key."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"key-bar--key", "key-bar--text"}

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._keys: list[tuple[Binding, str]] = []

    def on_mount(self) -> None:
        """Follow the focus, and whatever else decides about keys."""
        self.screen.bindings_updated_signal.subscribe(self, self._update)

    def _update(self, screen: Screen[object]) -> None:
        bindings = [one.binding for one in screen.active_bindings.values() if one.binding.show and one.enabled]
        of_app = {one.binding.action for one in screen.active_bindings.values() if one.node is self.app}
        unique = {binding.action: binding for binding in reversed(bindings)}.values()
        ranked = sorted(unique, key=lambda one: _rank(one) if one.action in of_app or _rank(one) > 0 else -1)
        keys = [(binding, self.app.get_key_display(binding)) for binding in ranked]
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
        """``F1Help F4Filter ...``."""
        base = self.rich_style
        key_style = self.get_component_rich_style("key-bar--key")
        text_style = self.get_component_rich_style("key-bar--text")
        segments: list[Segment] = []
        for binding, key in self._fitting() if y == 0 else ():
            segments += [Segment(key, key_style), Segment(binding.description, text_style), Segment(" ", base)]
        return Strip(segments).adjust_cell_length(self.size.width, base)

    async def on_click(self, event: events.Click) -> None:
        """Press the key that stands there."""
        left = 0
        for binding, key in self._fitting():
            right = left + len(key) + len(binding.description) + 1
            if left <= event.x < right:
                self.app.simulate_key(binding.key)
                return
            left = right
