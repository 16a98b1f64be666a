"""Lines to standard output: text in columns, CSV, or a JSON object each."""

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


_LEAST_PIPE_BYTES = select.PIPE_BUF
"""A pipe takes so many at once or none of them (pipe(7)): what ends a write that waits ends it between two lines."""


class PipeClosed(Exception):
    """Nobody reads any more."""


class WriteAbandoned(Exception):
    """The reader takes nothing, and there is no time left to wait for it."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a stream's lines look."""

    form: Form
    columns: Sequence[Column]
    wide: bool = False


class Output:
    """Writes lines, each batch at once and flushed: a pipe's reader sees them as they happen.

    Args:
        layout: what to write.
        file: a binary stream without a buffer; stays the caller's.
        limit: lines at most; None: no limit.
    """

    def __init__(self, layout: Layout, file: IO[bytes], limit: int | None = None) -> None:
        self.written = 0
        """Lines, without titles and notes."""
        self.was_cut = 0
        """Lines of what was being written when it was given up."""
        self._layout = layout
        self._file = file
        self._limit = limit
        self._encoder = msgspec.json.Encoder()
        self._may_wait = self._given_up = False
        self._watched = select.poll()
        self._watched.register(file, 0)  # an error is reported unasked

    @property
    def is_full(self) -> bool:
        """As many lines as were wanted."""
        return self._limit is not None and self.written >= self._limit

    def closed(self) -> bool:
        """Whether the reader of the pipe has gone; a file or a terminal has none."""
        return any(event & select.POLLERR for _, event in self._watched.poll(0))

    def header(self) -> None:
        """The titles; JSON has none."""
        if self._layout.form == "csv":
            self.write_bytes(_csv([[column.title for column in self._layout.columns]]))
        elif self._layout.form == "text":
            self.write_bytes(self._aligned([[column.title for column in self._layout.columns]]))

    def write_comment(self, words: bytes) -> None:
        """Words for people, where people read."""
        if self._layout.form == "text":
            self.write_bytes(words)

    def lines(self, lines: LineRows) -> None:
        """Write a line for each row, as far as the limit allows."""
        room = len(lines.rows) if self._limit is None else self._limit - self.written
        if not len(lines.rows) or room <= 0:
            return
        columns = [column.values(lines)[:room] for column in self._layout.columns]
        self._write_lines(self._encoded(columns))

    def _encoded(self, columns: list[list[Any]]) -> bytes:
        if self._layout.form == "json":
            names = [column.name for column in self._layout.columns]
            return self._encoder.encode_lines(
                [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
            )
        shown = [
            self._text_column(column, values) for column, values in zip(self._layout.columns, columns, strict=True)
        ]
        rows = list(zip(*shown, strict=True))
        return _csv(rows) if self._layout.form == "csv" else self._aligned(rows)

    def _text_column(self, column: Column, values: list[Any]) -> list[str]:
        show = column.show
        if self._layout.form == "text":
            return [column.unknown if value is None else show(value) for value in values]
        if column.foreign:
            return ["" if value is None else csv_cell(show(value)) for value in values]
        return ["" if value is None else show(value) for value in values]

    def _aligned(self, rows: Sequence[Sequence[str]]) -> bytes:
        return _joined(rows, [column.cells(wide=self._layout.wide) for column in self._layout.columns])

    def table(self, columns: Sequence[Column], documents: Sequence[dict[str, Any]]) -> None:
        """Write ``documents`` with titles of their own; of columns only names, titles and widths count."""
        if self._layout.form == "json":
            self.objects(documents)
            return
        rows = [[column.title for column in columns]]
        rows += [
            ["" if document[column.name] is None else str(document[column.name]) for column in columns]
            for document in documents
        ]
        self._write_lines(
            _csv(rows) if self._layout.form == "csv" else _joined(rows, [column.width for column in columns]), titles=1
        )

    def objects(self, documents: Sequence[Any]) -> None:
        """Write each of ``documents`` as a line of JSON."""
        self._write_lines(self._encoder.encode_lines(documents))

    def write_bytes(self, data: bytes) -> None:
        """Write bytes as they are.

        Raises:
            PipeClosed: the reader has gone.
            WriteAbandoned: ``give_up`` was called; on a terminal or a socket the last line may not be whole.
        """
        for part in _whole_lines(data):
            self._write(part)

    def _write_lines(self, data: bytes, titles: int = 0) -> None:
        """As ``raw``, and count the lines that were written."""
        before, lines = self.written, data.count(b"\n") - titles
        self.written -= titles
        try:
            for part in _whole_lines(data):
                self._write(part)
                self.written += bytes(part).count(b"\n")
        except WriteAbandoned:
            self.was_cut += before + lines - self.written
            raise

    def _write(self, data: memoryview) -> None:
        try:
            self._may_wait = True
            if self._given_up:
                raise WriteAbandoned
            while data:
                written = self._file.write(data)
                if written is None:  # somebody has made it non-blocking
                    select.select([], [self._file], [])
                else:
                    data = data[written:]
        except BrokenPipeError:
            raise PipeClosed from None
        finally:
            self._may_wait = False

    def abandon(self) -> None:
        """From a signal handler in the thread that writes: wait for the reader no longer.

        Raises:
            WriteAbandoned: out of the write that waits, if one does.
        """
        self._given_up = True
        if self._may_wait:
            raise WriteAbandoned


def _whole_lines(data: bytes) -> Iterator[memoryview]:
    """``data`` in parts that end with a line, each as much as a pipe takes at once; a line that is longer is one."""
    start = 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + _LEAST_PIPE_BYTES) + 1 or data.find(b"\n", start) + 1 or len(data)
        yield memoryview(data)[start:end]
        start = end


def _joined(rows: Sequence[Sequence[str]], widths: list[int]) -> bytes:
    template = " ".join(f"%-{width}s" for width in widths)
    return "".join([(template % tuple(row)).rstrip() + "\n" for row in rows]).encode()


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    """Quoted where needed: a process name may hold a comma."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode()
