"""Ctrl+P: every action that is possible now, by what it does; and themes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from textual.command import DiscoveryHit, Hit, Hits, Provider

from tcptop_tui.widgets.key_names import key_names
from tcptop_tui.widgets.themes import THEMES


class ActionProvider(Provider):
    """From the bindings that are in force where the palette was opened: there is no second list."""

    def _commands(self) -> Iterator[tuple[str, str, partial[Any]]]:
        found: dict[tuple[str, str], tuple[Any, list[str]]] = {}
        for one in self.screen.active_bindings.values():
            if one.enabled and one.binding.description and one.node is not self.screen:
                key = (one.binding.tooltip or one.binding.description, one.binding.action)
                found.setdefault(key, (one.node, []))[1].append(one.binding.key)
        for (told, action), (node, keys) in found.items():
            yield told, key_names(keys), partial(self.app.run_action, action, node)
        for theme in THEMES:
            yield f"Theme {theme.name}", "", partial(setattr, self.app, "theme", theme.name)

    async def discover(self) -> Hits:
        """All of them, while nothing is typed."""
        for told, keys, run in self._commands():
            yield DiscoveryHit(told, run, help=keys)

    async def search(self, query: str) -> Hits:
        """Those that match."""
        matcher = self.matcher(query)
        for told, keys, run in self._commands():
            score = max(matcher.match(told), matcher.match(keys) if keys else 0)
            if score > 0:
                yield Hit(score, matcher.highlight(told), run, help=keys)
