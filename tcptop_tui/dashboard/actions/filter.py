"""Keys that choose what is shown: the filter, and what of it the kernel applies."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import ClassVar

import msgspec
from textual import on, work
from textual.binding import Binding, BindingType

from tcptop_tui.dashboard.own_connection import own_session
from tcptop_tui.dashboard.views import ViewsApp
from tcptop_tui.errors import UsageError
from tcptop_tui.filters import MATCH_ALL, parse
from tcptop_tui.filters.capture_terms import pin
from tcptop_tui.filters.completion import vocabulary
from tcptop_tui.widgets.dialogs.saved_filters import SavedFilters
from tcptop_tui.widgets.panels.filter_bar import FilterBar


class Filtering(ViewsApp):
    """The filter line and capture filters."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash,f4,backslash", "filter", "Filter", key_display="F4", priority=True),
        Binding("f", "saved_filters", "Saved filters: apply, save, delete", show=False, priority=True),
        Binding("o", "hide_own", "Hide or show your own SSH connection", show=False),
        Binding("F", "pin", "Use the filter as capture filter; again: stop using it", show=False),
    ]

    def action_filter(self) -> None:
        """Open the filter."""
        self.panel(FilterBar).open(self.look.filter, self.config.filters)
        self._learn()

    @work(group="vocabulary", exclusive=True)
    async def _learn(self) -> None:
        """What there is to complete with: away from the loop, 30 ms at 100,000 connections."""
        facts = self.frame.facts
        known = await asyncio.to_thread(vocabulary, facts.subject, facts.about(facts.sessions), self.config.filters)
        self.panel(FilterBar).knows(known)

    @on(FilterBar.Changed)
    def _filter_changed(self, event: FilterBar.Changed) -> None:
        self.set_look(replace(self.look, filter=event.chosen))

    @on(FilterBar.Closed)
    def _filter_closed(self) -> None:
        self.focus_view()

    async def action_saved_filters(self) -> None:
        """Choose one, or save the present one under a name."""
        await self._show_saved(naming=False)

    @on(FilterBar.Save)
    async def _save_wanted(self) -> None:
        await self._show_saved(naming=True)

    async def _show_saved(self, *, naming: bool) -> None:
        saved, present = dict(self.config.filters), self.look.filter.text
        await self.push_screen(SavedFilters(saved, present, naming=naming), self._saved_chosen)

    def _saved_chosen(self, answer: tuple[dict[str, str], str | None] | None) -> None:
        if answer is None:
            return
        filters, chosen = answer
        if filters != self.config.filters:
            self.keep(msgspec.structs.replace(self.config, filters=filters))
        if chosen is not None:
            try:
                self.set_look(replace(self.look, filter=parse(chosen)))
            except UsageError as error:
                self.notify(str(error), severity="error", markup=False)

    @work(group="own", exclusive=True)
    async def action_hide_own(self) -> None:
        """Leave out the connection over which somebody looks at this; again: show it."""
        if self.look.hidden is not None:
            self.set_look(replace(self.look, hidden=None))
            return
        own = await asyncio.to_thread(own_session)
        if not own:
            self.notify("nothing to hide: this is not an SSH session", timeout=3)
            return
        self.set_look(replace(self.look, hidden=parse(own)))

    def action_pin(self) -> None:
        """Let the kernel apply what it can of the filter; again, or with no filter: no more."""
        base = self._feed.capture
        pinned = pin(MATCH_ALL if self.look.pinned else self.look.filter, base)
        self._feed.recapture(pinned.capture)
        self.notify(pinned.told or "the capture filter is removed: capturing as at the start", markup=False)
        self.set_look(replace(self.look, pinned=pinned.told))
