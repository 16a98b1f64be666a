"""A frame as the bytes of a file, in any of the formats."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tcptop_tui.errors import UsageError
from tcptop_tui.export.document import SnapshotInput, build
from tcptop_tui.export.writers import default_name, to_csv, to_json, to_text
from tcptop_tui.fields import Subject
from tcptop_tui.model.connect_list import connects
from tcptop_tui.model.ended_order import is_connection
from tcptop_tui.model.frame import Frame


@dataclass(frozen=True, slots=True)
class Origin:
    """The machine that a snapshot comes from."""

    host: str
    kernel: str


def default_path(host: str, utc_ns: int, kind: str) -> Path:
    """Where a snapshot goes unless told otherwise: the folder that the program was started in."""
    name = Path(default_name(host, utc_ns, kind))
    with contextlib.suppress(FileNotFoundError):  # that folder may be gone; writing will say so
        return name.absolute()
    return name


def _sessions(frame: Frame) -> Subject:
    """The ended connections that the filter shows."""
    sessions = frame.facts.about(frame.facts.sessions)
    return sessions.take(np.flatnonzero(is_connection(sessions.rows) & frame.look.wants(sessions)))


def _input(frame: Frame, origin: Origin) -> SnapshotInput:
    facts, look = frame.facts, frame.look
    return SnapshotInput(
        table=facts.subject.take(frame.present),
        transitions=facts.about(facts.log[frame.log]),
        sessions=_sessions(frame),
        hist=frame.rtt.hist,
        hist_sum_us=frame.rtt.sum_us,
        loss=facts.loss,
        utc_ns=facts.utc_ns,
        host=origin.host,
        kernel=origin.kernel,
        backend=facts.status.backend,
        backend_note=facts.status.note,
        filter_text=frame.look.filter.text,
        hidden_text=frame.look.hidden.text if frame.look.hidden else "",
        alerts=facts.alerts,
        connections_total=len(facts.rows),
        connects=connects(facts, look.wants, "time", descending=True, filtered=look.filtered),
        since_ns=facts.counted_ns,
        transitions_since_ns=facts.log_since_ns,
        sessions_since_ns=facts.sessions_since_ns,
        behind_s=facts.behind_s,
    )


def render(frame: Frame, origin: Origin, kind: str, picture: str) -> bytes:
    """The file's content.

    Args:
        kind: ``json``, ``csv``, ``txt`` or ``svg``.
        picture: the screen as SVG, for ``svg``.

    Raises:
        UsageError: no such format.
    """
    if kind == "svg":
        return picture.encode()
    given = _input(frame, origin)
    if kind == "json":
        return to_json(build(given))
    if kind == "csv":
        return to_csv(build(given))
    if kind == "txt":
        return to_text(given).encode()
    raise UsageError(f"no format {kind!r}", mend="use json, csv, txt or svg")
