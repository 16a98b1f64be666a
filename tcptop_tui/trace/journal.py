"""Sends transitions to the systemd journal, with the fields that bcc's tcpstates gives them.

The journal's native protocol is a datagram of KEY=value lines (systemd.io/JOURNAL_NATIVE_PROTOCOL). It is written
here because its Python bindings are a C extension, which a virtual environment cannot take from the system.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

from tcptop_tui import formats
from tcptop_tui.errors import UsageError
from tcptop_tui.fields import BY_KEY, RowContext
from tcptop_tui.fields.formatters import by_value

SOCKET = Path("/run/systemd/journal/socket")
_NOTICE = 5
"""Priority of the entries (syslog(3))."""
_FIELD_KEYS = ("pid", "comm", "ip", "dev", "laddr", "lport", "raddr", "rport", "oldstate", "newstate")
_MAX_WAIT_S = 1.0
"""For a journal that takes nothing; only the first time, since the ring behind this thread fills meanwhile."""


class Journal:
    """A socket to the journal.

    Raises:
        UsageError: this host has no systemd journal.
    """

    def __init__(self, path: Path = SOCKET) -> None:
        self.refused = 0
        """Entries that the journal did not take."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise UsageError(
                f"no systemd journal at {path}: {error.strerror}", hint="leave -Y out, or start systemd-journald"
            ) from None

    def send(self, transitions: RowContext) -> None:
        """Send an entry for each row, dtype TRANSITION."""
        for fields in entries(transitions):
            data = "".join(f"{name}={value}\n" for name, value in fields.items()).encode()
            self._socket.settimeout(0 if self.refused else _MAX_WAIT_S)
            try:
                self._socket.send(data)
            except OSError:
                self.refused += 1

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def entries(transitions: RowContext) -> Iterator[dict[str, str]]:
    """The fields of each transition. No value has a line break in it, so nobody can slip in a field."""
    spans = by_value(lambda span_ns: span_ns // 1000)(transitions, BY_KEY["ms"].read(transitions))
    columns = [BY_KEY[key].values(transitions) for key in _FIELD_KEYS]
    for span_us, (pid, comm, version, dev, laddr, lport, raddr, rport, old, new) in zip(
        spans, zip(*columns, strict=True), strict=True
    ):
        local = f"{laddr}%{dev}" if dev else laddr
        fields = {
            "SYSLOG_IDENTIFIER": "tcpstates",
            "PRIORITY": _NOTICE,
            "MESSAGE": f"{comm or formats.UNKNOWN} {local}:{lport or 0} - {raddr}:{rport or 0} {old} -> {new}",
            "OBJECT_PID": pid,
            "OBJECT_COMM": comm,
            "OBJECT_INTERFACE": dev,
            f"OBJECT_IPV{version}_SOURCE_ADDRESS": laddr,
            "OBJECT_TCP_SOURCE_PORT": lport,
            f"OBJECT_IPV{version}_DESTINATION_ADDRESS": raddr,
            "OBJECT_TCP_DESTINATION_PORT": rport,
            "OBJECT_TCP_OLD_STATE": old,
            "OBJECT_TCP_NEW_STATE": new,
            "OBJECT_TCP_SPAN_TIME": span_us,
        }
        yield {name: str(value) for name, value in fields.items() if value is not None}
