"""One colour for each TCP state, everywhere; the names are in the text as well."""

from __future__ import annotations

from rich.style import Style
from textual.widget import Widget

from tcptop_tui.records import State

STATE_CLASSES = frozenset(f"state--{state.name.lower()}" for state in State)


def state_style(widget: Widget, number: int) -> Style:
    """The colour of a state as the stylesheet gives it to ``widget``."""
    try:
        name = State(number).name.lower()
    except ValueError:  # a state of a newer kernel
        return widget.rich_style
    return widget.get_component_rich_style(f"state--{name}", partial=True)
