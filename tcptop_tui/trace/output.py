"""Writes rows as lines to standard output: text in columns, CSV, or a JSON object each.

A reader may be slow or go away. Bytes are written in whole lines that a pipe takes at once, so that a write which is
given up leaves no part of a line behind.
"""

from __future__ import annotations

import csv
import io
import select
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Literal, TypeAlias

import msgspec

from tcptop_tui.export.writers import csv_cell
from tcptop_tui.trace.columns import Column, LineRows

Form: TypeAlias = Literal["text", "csv", "json"]


_ATOMIC_BYTES = select.PIPE_BUF
"""A pipe takes a write of this size whole or not at all (pipe(7)): a write that is interrupted ends between lines."""


class PipeClosed(Exception):
    """The reader of the pipe has gone."""


class WriteAbandoned(Exception):
    """The reader takes nothing, and there is no time left to wait for it: see ``Output.abandon``."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Form and columns of a stream's lines."""

    form: Form
    columns: Sequence[Column]
    wide: bool = False


class Output:
    """Writes lines, each batch at once and flushed: a pipe's reader sees them as they happen.

    Args:
        layout: form and columns of the lines.
        file: a binary stream without a buffer; the caller closes it.
        limit: of lines; None: no limit.
    """

    def __init__(self, layout: Layout, file: IO[bytes], limit: int | None = None) -> None:
        self.written = 0
        """Lines that were written, without titles and comments."""
        self.abandoned_lines = 0
        """Lines that were to be written when writing was abandoned."""
        self._layout = layout
        self._file = file
        self._limit = limit
        self._encoder = msgspec.json.Encoder()
        self._is_writing = self._is_abandoned = False
        self._poll = select.poll()
        self._poll.register(file, 0)  # poll(2) reports errors in any case

    @property
    def is_full(self) -> bool:
        """Whether as many lines are written as ``--count`` says."""
        return self._limit is not None and self.written >= self._limit

    def closed(self) -> bool:
        """Whether the reader of the pipe has gone; False for a file or a terminal."""
        return any(event & select.POLLERR for _, event in self._poll.poll(0))

    def header(self) -> None:
        """Write the columns' titles; JSON has none."""
        if self._layout.form == "csv":
            self.write_bytes(_csv([[column.title for column in self._layout.columns]]))
        elif self._layout.form == "text":
            self.write_bytes(self._aligned([[column.title for column in self._layout.columns]]))

    def write_comment(self, text: bytes) -> None:
        """Write ``text`` if the form is text, which people read; nothing in CSV and JSON."""
        if self._layout.form == "text":
            self.write_bytes(text)

    def lines(self, lines: LineRows) -> None:
        """Write a line for each row, as far as the limit allows."""
        line_count = len(lines.rows) if self._limit is None else self._limit - self.written
        if not len(lines.rows) or line_count <= 0:
            return
        columns = [column.values(lines)[:line_count] for column in self._layout.columns]
        self._write_lines(self._encoded(columns))

    def _encoded(self, columns: list[list[Any]]) -> bytes:
        if self._layout.form == "json":
            names = [column.name for column in self._layout.columns]
            return self._encoder.encode_lines(
                [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
            )
        cells = [self._texts(column, values) for column, values in zip(self._layout.columns, columns, strict=True)]
        rows = list(zip(*cells, strict=True))
        return _csv(rows) if self._layout.form == "csv" else self._aligned(rows)

    def _texts(self, column: Column, values: list[Any]) -> list[str]:
        """What text or CSV shows of a column's values."""
        show = column.show
        if self._layout.form == "text":
            return [column.unknown if value is None else show(value) for value in values]
        if column.foreign:
            return ["" if value is None else csv_cell(show(value)) for value in values]
        return ["" if value is None else show(value) for value in values]

    def _aligned(self, rows: Sequence[Sequence[str]]) -> bytes:
        return _joined(rows, [column.cells(wide=self._layout.wide) for column in self._layout.columns])

    def table(self, columns: Sequence[Column], documents: Sequence[dict[str, Any]]) -> None:
        """Write ``documents``, below titles of their own; of ``columns`` only names, titles and widths count."""
        if self._layout.form == "json":
            self.objects(documents)
            return
        rows = [[column.title for column in columns]]
        rows += [
            ["" if document[column.name] is None else str(document[column.name]) for column in columns]
            for document in documents
        ]
        self._write_lines(
            _csv(rows) if self._layout.form == "csv" else _joined(rows, [column.width for column in columns]),
            title_lines=1,
        )

    def objects(self, documents: Sequence[Any]) -> None:
        """Write each of ``documents`` as a line of JSON."""
        self._write_lines(self._encoder.encode_lines(documents))

    def write_bytes(self, data: bytes) -> None:
        """Write bytes as they are.

        Raises:
            PipeClosed: the reader has gone.
            WriteAbandoned: ``abandon`` was called; on a terminal or a socket the last line may not be whole.
        """
        for part in _whole_lines(data):
            self._write(part)

    def _write_lines(self, data: bytes, title_lines: int = 0) -> None:
        """As ``write_bytes``, and count the lines in ``written``, except the first ``title_lines``."""
        previously_written, line_count = self.written, data.count(b"\n") - title_lines
        self.written -= title_lines
        try:
            for part in _whole_lines(data):
                self._write(part)
                self.written += bytes(part).count(b"\n")
        except WriteAbandoned:
            self.abandoned_lines += previously_written + line_count - self.written
            raise

    def _write(self, data: memoryview) -> None:
        try:
            self._is_writing = True
            if self._is_abandoned:
                raise WriteAbandoned
            while data:
                written = self._file.write(data)
                if written is None:  # somebody has made the descriptor non-blocking
                    select.select([], [self._file], [])
                else:
                    data = data[written:]
        except BrokenPipeError:
            raise PipeClosed from None
        finally:
            self._is_writing = False

    def abandon(self) -> None:
        """Give up writing, now and from now on. For a signal handler in the thread that writes.

        Raises:
            WriteAbandoned: a write was waiting for the reader; it ends with this.
        """
        self._is_abandoned = True
        if self._is_writing:
            raise WriteAbandoned


def _whole_lines(data: bytes) -> Iterator[memoryview]:
    """``data`` in parts of whole lines, each as much as a pipe takes at once; a longer line is a part of its own."""
    start = 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + _ATOMIC_BYTES) + 1 or data.find(b"\n", start) + 1 or len(data)
        yield memoryview(data)[start:end]
        start = end


def _joined(rows: Sequence[Sequence[str]], widths: list[int]) -> bytes:
    """Lines of text in columns of these widths."""
    template = " ".join(f"%-{width}s" for width in widths)
    return "".join([(template % tuple(row)).rstrip() + "\n" for row in rows]).encode()


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    """Lines of CSV. Values are quoted where that is needed: the name of a process may have a comma in it."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode()
