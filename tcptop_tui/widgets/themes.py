"""Themes, and the colour that each TCP state has in each of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from textual.theme import BUILTIN_THEMES, Theme

DEFAULT: Final = "tcptop-dark"
SIXTEEN: Final = "tcptop-16"

# Red says one thing: do not trust the numbers (lost, missed, mended, behind, ended). Trouble of the host (alerts,
# failures, CLOSE_WAIT) is amber. Waiting for the peer is yellow or cyan, what is over is grey.
# Values of the 256-colour cube: they are the same on terminals that have no more than that.
_DARK: Final = {
    "established": "#5fd75f", "syn_sent": "#ffd75f", "syn_recv": "#d7af5f", "fin_wait1": "#5fd7d7",
    "fin_wait2": "#87d7ff", "time_wait": "#8a8a8a", "close": "#949494", "close_wait": "#ffaf00",
    "last_ack": "#ff87d7", "listen": "#87afff", "closing": "#d787d7", "new_syn_recv": "#afaf5f",
    "bound_inactive": "#9e9e9e",
}  # fmt: skip
_LIGHT: Final = {
    "established": "#005f00", "syn_sent": "#af5f00", "syn_recv": "#5f5f00", "fin_wait1": "#005f5f",
    "fin_wait2": "#005f87", "time_wait": "#626262", "close": "#585858", "close_wait": "#875f00",
    "last_ack": "#870087", "listen": "#0000af", "closing": "#5f00af", "new_syn_recv": "#5f5f5f",
    "bound_inactive": "#4e4e4e",
}  # fmt: skip
# Blue, orange and yellow, as Okabe and Ito have them (Color Universal Design, 2008); the values were searched for
# the largest distance between any two of the states that matter, as they look to the colour-blind (tests).
_COLORBLIND: Final = _DARK | {
    "established": "#5fd7ff", "syn_sent": "#d7af5f", "syn_recv": "#d7d787", "fin_wait1": "#5fd7af",
    "fin_wait2": "#87ffd7", "close_wait": "#ffff5f", "last_ack": "#af5fff", "listen": "#ffffd7",
    "closing": "#d787ff", "new_syn_recv": "#d7d7af",
}  # fmt: skip
_SIXTEEN: Final = {
    "established": "ansi_green", "syn_sent": "ansi_yellow", "syn_recv": "ansi_bright_green",
    "fin_wait1": "ansi_cyan", "fin_wait2": "ansi_bright_cyan", "time_wait": "ansi_bright_black",
    "close": "ansi_bright_black", "close_wait": "ansi_bright_yellow", "last_ack": "ansi_bright_magenta",
    "listen": "ansi_bright_blue", "closing": "ansi_magenta", "new_syn_recv": "ansi_bright_green",
    "bound_inactive": "ansi_bright_black",
}  # fmt: skip


def _variables(colors: dict[str, str], distrust: str, cursor: tuple[str, str]) -> dict[str, str]:
    """Of the stylesheet: ``trouble`` is the colour of CLOSE_WAIT, ``cursor`` the chosen row's text and background."""
    states = {f"state-{state}": color for state, color in colors.items()}
    text, background = cursor
    return states | {
        "distrust": distrust, "trouble": colors["close_wait"], "cursor-text": text, "cursor-background": background,
        "block-cursor-foreground": text, "block-cursor-background": background,
    }  # fmt: skip


_ON_DARK: Final = ("#ffffff", "#005f87")
_ON_LIGHT: Final = ("#ffffff", "#005faf")
_SIXTEEN_VARIABLES: Final = _variables(_SIXTEEN, "ansi_bright_red", ("ansi_black", "ansi_cyan"))

DEFAULT_VARIABLES: Final = {name: value for name, value in _SIXTEEN_VARIABLES.items() if not name.startswith("block")}
"""For themes that are not ours."""

THEMES: Final = (
    Theme(
        "tcptop-dark", primary="#0087d7", secondary="#005f87", warning="#ffaf00", error="#ffaf00", success="#5fd75f",
        accent="#ffaf00", foreground="#e4e4e4", background="#121212", surface="#1c1c1c", panel="#262626", dark=True,
        variables=_variables(_DARK, "#ff5f5f", _ON_DARK),
    ),
    Theme(
        "tcptop-light", primary="#005faf", secondary="#5f87af", warning="#875f00", error="#875f00", success="#005f00",
        accent="#875f00", foreground="#1c1c1c", background="#ffffff", surface="#eeeeee", panel="#e4e4e4", dark=False,
        variables=_variables(_LIGHT, "#af0000", _ON_LIGHT),
    ),
    Theme(
        "tcptop-colorblind", primary="#0087d7", secondary="#005f87", warning="#ffff5f", error="#ffff5f",
        success="#5fafd7", accent="#ffff5f", foreground="#e4e4e4", background="#121212", surface="#1c1c1c",
        panel="#262626", dark=True, variables=_variables(_COLORBLIND, "#ff8700", _ON_DARK),
    ),
    replace(
        BUILTIN_THEMES["ansi-dark"], name=SIXTEEN, error="ansi_bright_yellow",
        variables={**BUILTIN_THEMES["ansi-dark"].variables, **_SIXTEEN_VARIABLES},
    ),
)  # fmt: skip


def select_theme(asked: str, color_system: str | None, known: set[str]) -> tuple[str, str]:
    """Which theme to use, and what to tell about it.

    Args:
        asked: name of a theme; the default one gives way to 16 colours where there are no more.
        color_system: what the terminal has, in rich's words.
        known: names of all themes.
    """
    if asked not in known:
        return DEFAULT, f"there is no theme {asked}: {', '.join(theme.name for theme in THEMES)}, or one of Textual's"
    if asked == DEFAULT and color_system in {None, "standard", "windows"}:
        return SIXTEEN, ""
    return asked, ""
