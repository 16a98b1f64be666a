"""The rule above a view names all six: the open one in bold and with its counts, a click opens another one."""

from __future__ import annotations

from textual.content import Content
from textual.style import Style

VIEW_NAMES = ("Connections", "Connects", "Closed", "RTT", "Ping", "Stuck")
"""By number key, from 1; in the order of ``live.VIEWS``."""

_GAP = "  "


def tabs(opened: int, title: str, cells: int) -> Content:
    """One line of at most ``cells``: ``1 Connections 13  2 Connects  3 Closed ...``.

    Where there is no room for the names of the other views their numbers remain; before those are
    cut the title is.

    Args:
        opened: which view this is, from 0.
        title: what stands for its name: the same with counts.
        cells: of the rule.
    """
    room = cells - sum(len(f"{_GAP}{number + 1}") for number in range(len(VIEW_NAMES)) if number != opened)
    own = f"{opened + 1} {title}"
    if len(own) > room:
        own = f"{own[: max(1, room - 1)]}…"
    room -= len(own)
    named = sum(len(f" {name}") for number, name in enumerate(VIEW_NAMES) if number != opened) <= room
    parts: list[tuple[str, Style] | str] = []
    for number, name in enumerate(VIEW_NAMES):
        told = own if number == opened else f"{number + 1} {name}" if named else str(number + 1)
        pressed = Style.from_meta({"@click": f"app.view({number})"})
        parts += [_GAP, (told, Style(bold=True) if number == opened else pressed)]
    return Content.assemble(*parts[1:])
