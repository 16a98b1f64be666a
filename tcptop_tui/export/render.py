"""Writes a frame as the bytes of a file, in any of the formats."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tcptop_tui.errors import UsageError
from tcptop_tui.export.document import DocumentInput, build_document
from tcptop_tui.export.writers import default_name, to_csv, to_json, to_text
from tcptop_tui.fields import RowContext
from tcptop_tui.model.connect_list import make_connects
from tcptop_tui.model.ended_order import has_peer
from tcptop_tui.model.frame import Frame
from tcptop_tui.model.sorting import SortOrder


@dataclass(frozen=True, slots=True)
class HostInfo:
    """The machine that a snapshot comes from."""

    host: str
    kernel: str


def default_path(host: str, utc_ns: int, kind: str) -> Path:
    """Where a snapshot is written if the user names no file: the folder that the program was started in."""
    name = Path(default_name(host, utc_ns, kind))
    with contextlib.suppress(FileNotFoundError):  # the folder may be gone; writing will fail and say so
        return name.absolute()
    return name


def _ended_rows(frame: Frame) -> RowContext:
    """The ended connections that the filter chooses."""
    ended = frame.snapshot.context_of(frame.snapshot.ended_rows)
    return ended.select(np.flatnonzero(has_peer(ended.rows) & frame.view_options.matches(ended)))


def _document_input(frame: Frame, origin: HostInfo) -> DocumentInput:
    snapshot, view_options = frame.snapshot, frame.view_options
    return DocumentInput(
        table=snapshot.row_context.select(frame.live_order),
        transitions=snapshot.context_of(snapshot.log[frame.log_order]),
        ended=_ended_rows(frame),
        hist=frame.rtt.hist,
        hist_sum_us=frame.rtt.sum_us,
        loss=snapshot.loss,
        utc_ns=snapshot.utc_ns,
        host=origin.host,
        kernel=origin.kernel,
        backend=snapshot.status.backend,
        backend_note=snapshot.status.note,
        filter_text=view_options.filter.text,
        hidden_text=view_options.hide_filter.text if view_options.hide_filter else "",
        alerts=snapshot.alerts,
        connections_total=len(snapshot.rows),
        connects=make_connects(snapshot, view_options.matches, SortOrder("time"), filtered=view_options.is_filtered),
        since_ns=snapshot.counted_ns,
        transitions_since_ns=snapshot.log_since_ns,
        sessions_since_ns=snapshot.ended_since_ns,
        behind_s=snapshot.behind_s,
    )


def render(frame: Frame, origin: HostInfo, kind: str, picture: str) -> bytes:
    """The file's content.

    Args:
        kind: ``json``, ``csv``, ``txt`` or ``svg``.
        picture: the screen as SVG, for ``svg``.

    Raises:
        UsageError: no such format.
    """
    if kind == "svg":
        return picture.encode()
    inputs = _document_input(frame, origin)
    if kind == "json":
        return to_json(build_document(inputs))
    if kind == "csv":
        return to_csv(build_document(inputs))
    if kind == "txt":
        return to_text(inputs).encode()
    raise UsageError(f"no format {kind!r}", hint="use json, csv, txt or svg")
