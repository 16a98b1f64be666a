"""The dashboard, with the time that each table and each repaint takes written to a file.

``python benchmarks/timed.py FILE [OPTIONS]``: a JSON object with lists of moments and milliseconds by name
when it ends. ``read`` is the source's, in its thread; ``apply`` folds a table in; ``repaint`` filters, sorts, paints.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tcptop_tui.cli.entry import entry
from tcptop_tui.host.terminal import configure_textual

configure_textual()  # before the imports below bring it in

from tcptop_tui.bpf.source import BpfSource  # noqa: E402
from tcptop_tui.dashboard.live import Dashboard  # noqa: E402
from tcptop_tui.model.store import Store  # noqa: E402

took_ms: dict[str, list[tuple[float, float]]] = defaultdict(list)
"""When it began (CLOCK_MONOTONIC, s), and for how long."""


def timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """``call``, and how long it took."""

    @functools.wraps(call)
    def noted(*arguments: Any) -> Any:
        began_s = time.monotonic()
        answer = call(*arguments)
        took_ms[name].append((began_s, (time.monotonic() - began_s) * 1e3))
        return answer

    return noted


def timed_async(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """The same of a coroutine."""

    @functools.wraps(call)
    async def noted(*arguments: Any, **named: Any) -> Any:
        began_s = time.monotonic()
        await call(*arguments, **named)
        took_ms[name].append((began_s, (time.monotonic() - began_s) * 1e3))

    return noted


if __name__ == "__main__":
    for name, wrap, owner, method in (
        ("read", timed, BpfSource, "_offer_table"), ("apply", timed, Store, "_take_table"),
        ("repaint", timed_async, Dashboard, "_repaint"),
    ):  # fmt: skip
        setattr(owner, method, wrap(name, getattr(owner, method)))
    try:
        entry.main(sys.argv[2:])
    finally:
        Path(sys.argv[1]).write_text(json.dumps(took_ms))
