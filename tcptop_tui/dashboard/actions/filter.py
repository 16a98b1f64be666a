"""Keys that choose what is shown: the filter, and what of it the kernel applies."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import ClassVar

import msgspec
from textual import on, work
from textual.binding import Binding, BindingType

from tcptop_tui.dashboard.own_connection import own_connection_filter
from tcptop_tui.dashboard.views import ViewApp
from tcptop_tui.errors import UsageError
from tcptop_tui.filters import MATCH_ALL, parse
from tcptop_tui.filters.capture_terms import split_capture
from tcptop_tui.filters.completion import make_vocabulary
from tcptop_tui.widgets.dialogs.saved_filters import SavedFiltersDialog
from tcptop_tui.widgets.panels.filter_bar import FilterBar


class FilterActions(ViewApp):
    """The filter line and capture filters."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash,f4,backslash", "filter", "Filter", key_display="F4", priority=True),
        Binding("f", "saved_filters", "Saved filters: apply, save, delete", show=False, priority=True),
        Binding("o", "hide_own", "Hide or show your own SSH connection", show=False),
        Binding("F", "pin", "Use the filter as capture filter; again: stop using it", show=False),
    ]

    def action_filter(self) -> None:
        """Open the filter."""
        self.panel(FilterBar).open(self.view_options.filter, self.config.filters)
        self._load_vocabulary()

    @work(group="vocabulary", exclusive=True)
    async def _load_vocabulary(self) -> None:
        """What there is to complete with: away from the loop, 30 ms at 100,000 connections."""
        facts = self.frame.snapshot
        known = await asyncio.to_thread(
            make_vocabulary, facts.row_context, facts.context_of(facts.ended_rows), self.config.filters
        )
        self.panel(FilterBar).set_vocabulary(known)

    @on(FilterBar.FilterChanged)
    def _filter_changed(self, event: FilterBar.FilterChanged) -> None:
        self.set_view_options(replace(self.view_options, filter=event.chosen))

    @on(FilterBar.Closed)
    def _filter_closed(self) -> None:
        self.focus_view()

    async def action_saved_filters(self) -> None:
        """Choose one, or save the present one under a name."""
        await self._show_saved(naming=False)

    @on(FilterBar.SaveRequested)
    async def _save_requested(self) -> None:
        await self._show_saved(naming=True)

    async def _show_saved(self, *, naming: bool) -> None:
        saved, present = dict(self.config.filters), self.view_options.filter.text
        await self.push_screen(SavedFiltersDialog(saved, present, naming=naming), self._saved_filter_picked)

    def _saved_filter_picked(self, answer: tuple[dict[str, str], str | None] | None) -> None:
        if answer is None:
            return
        filters, chosen = answer
        if filters != self.config.filters:
            self.save_config(msgspec.structs.replace(self.config, filters=filters))
        if chosen is not None:
            try:
                self.set_view_options(replace(self.view_options, filter=parse(chosen)))
            except UsageError as error:
                self.notify(str(error), severity="error", markup=False)

    @work(group="own", exclusive=True)
    async def action_hide_own(self) -> None:
        """Leave out the connection over which somebody looks at this; again: show it."""
        if self.view_options.hide_filter is not None:
            self.set_view_options(replace(self.view_options, hide_filter=None))
            return
        own = await asyncio.to_thread(own_connection_filter)
        if not own:
            self.notify("nothing to hide: this is not an SSH session", timeout=3)
            return
        self.set_view_options(replace(self.view_options, hide_filter=parse(own)))

    def action_pin(self) -> None:
        """Let the kernel apply what it can of the filter; again, or with no filter: no more."""
        base = self._feed.capture
        pinned = split_capture(MATCH_ALL if self.view_options.capture_note else self.view_options.filter, base)
        self._feed.set_capture(pinned.capture)
        self.notify(pinned.message or "the capture filter is removed: capturing as at the start", markup=False)
        self.set_view_options(replace(self.view_options, capture_note=pinned.message))
