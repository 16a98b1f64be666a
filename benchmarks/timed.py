"""The dashboard, with the time that each table and each repaint takes written to a file.

``python benchmarks/timed.py FILE [OPTIONS]`` runs ``tcptop-tui OPTIONS``, and at its end writes a JSON object with
lists of moments and milliseconds by name: ``read`` is the source making a table, in its thread; ``apply`` the store
folding it in; ``repaint`` filters, sorts and paints.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tcptop_tui.cli.entry import main
from tcptop_tui.host.terminal import configure_textual

configure_textual()  # before the imports below bring it in

from tcptop_tui.bpf.source import BpfSource  # noqa: E402
from tcptop_tui.dashboard.live import Dashboard  # noqa: E402
from tcptop_tui.model.store import Store  # noqa: E402

took_ms: dict[str, list[tuple[float, float]]] = defaultdict(list)
"""Of each call when it began (CLOCK_MONOTONIC, s), and how long it took."""


def timed(name: str, call: Callable[..., Any]) -> Any:
    """``call``, which notes in ``took_ms`` how long it took."""

    @functools.wraps(call)
    def measured(*arguments: Any) -> Any:
        began_s = time.monotonic()
        answer = call(*arguments)
        took_ms[name].append((began_s, (time.monotonic() - began_s) * 1e3))
        return answer

    return measured


def timed_async(name: str, call: Callable[..., Awaitable[None]]) -> Any:
    """The same of a coroutine."""

    @functools.wraps(call)
    async def measured(*arguments: Any, **named: Any) -> None:
        began_s = time.monotonic()
        await call(*arguments, **named)
        took_ms[name].append((began_s, (time.monotonic() - began_s) * 1e3))

    return measured


def measure_calls() -> None:
    """Have the three steps of a refresh timed. Written out, so that mypy knows when one has another name."""
    BpfSource._offer_table = timed("read", BpfSource._offer_table)  # type: ignore[method-assign]  # noqa: SLF001
    Store._apply_table = timed("apply", Store._apply_table)  # type: ignore[method-assign]  # noqa: SLF001
    Dashboard._repaint = timed_async("repaint", Dashboard._repaint)  # type: ignore[method-assign]  # noqa: SLF001


if __name__ == "__main__":
    measure_calls()
    try:
        sys.exit(main(sys.argv[2:]))
    finally:
        Path(sys.argv[1]).write_text(json.dumps(took_ms))
