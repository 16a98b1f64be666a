"""What keys are called, in the help, the palette and README alike."""

from __future__ import annotations

from typing import Final

from textual.keys import format_key

_NAMES: Final = {
    "enter": "Enter", "escape": "Esc", "space": "Space", "tab": "Tab", "delete": "Del", "backspace": "Backspace",
    "pageup": "PgUp", "pagedown": "PgDn", "home": "Home", "end": "End",
    "up": "↑", "down": "↓", "left": "←", "right": "→",
}  # fmt: skip
_MODIFIERS: Final = {"ctrl": "Ctrl", "shift": "Shift", "alt": "Alt"}
_ALIASES: Final = frozenset({"f15"})
"""What terminals send for another key: Shift+F3."""


def key_name(key: str) -> str:
    """``F1``, ``?``, ``Ctrl+P``, ``PgUp`` for Textual's ``f1``, ``question_mark``, ``ctrl+p``, ``pageup``."""
    *modifiers, last = key.split("+")
    named = _NAMES.get(last) or (last.upper() if last[0] == "f" and last[1:].isdigit() else format_key(last))
    if modifiers and len(named) == 1:
        named = named.upper()
    return "+".join([*(_MODIFIERS.get(modifier, modifier) for modifier in modifiers), named])


def key_names(keys: list[str]) -> str:
    """All keys of one action, each once."""
    return " ".join(dict.fromkeys(key_name(key) for key in keys if key not in _ALIASES))
