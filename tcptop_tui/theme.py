"""Colours of the TCP states, as theme variables that every Textual theme then has."""

from __future__ import annotations

from typing import Final

STATE_COLORS: Final = {
    "state-established": "ansi_green",
    "state-syn_sent": "ansi_bright_yellow",
    "state-syn_recv": "ansi_yellow",
    "state-fin_wait1": "ansi_cyan",
    "state-fin_wait2": "ansi_bright_cyan",
    "state-time_wait": "ansi_bright_black",
    "state-close": "ansi_bright_black",
    "state-close_wait": "ansi_bright_red",
    "state-last_ack": "ansi_bright_magenta",
    "state-listen": "ansi_bright_blue",
    "state-closing": "ansi_magenta",
    "state-new_syn_recv": "ansi_yellow",
    "state-bound_inactive": "ansi_bright_black",
}
"""Waiting for the peer is yellow or cyan, waiting for us (CLOSE_WAIT) is red, what is over is grey."""
