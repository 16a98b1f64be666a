"""The dashboard on its terminal, from the moment that it is taken until it has been given back."""

from __future__ import annotations

import sys
from typing import Any

from tcptop_tui.dashboard.live import Dashboard
from tcptop_tui.drawing.borrowed_terminal import BorrowedTerminal
from tcptop_tui.host.signals import DEADLY, ShutdownTimer, handle_signals
from tcptop_tui.host.terminal import mouse_possible

_PATIENCE_S = 3.0
"""After q: for a terminal that takes nothing, and threads."""


def run_on_terminal(app: Dashboard) -> int:
    """Run ``app`` on the terminal that ``sys.__stderr__`` is; returns the exit code.

    Signals are seen to before the terminal is touched. Until the dashboard has begun they end it at once, and so they
    do when it is continued in the background: there it could only stop once more.
    """
    screen: Any = sys.__stderr__

    def told(number: int) -> None:
        if terminal.is_elsewhere() or not app.end_by_signal(number):
            ending.force()

    with BorrowedTerminal(screen.fileno()) as terminal:
        ending = ShutdownTimer(told, terminal.restore, lambda number: 128 + number if number else app.return_code or 0)
        app.borrowed_terminal = terminal
        app.on_exit = lambda: ending.arm(_PATIENCE_S)
        with handle_signals(ending.handle, *DEADLY):
            app.run(mouse=mouse_possible())
    return app.return_code or 0
