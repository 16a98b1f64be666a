"""Transitions to the systemd journal, with the fields that tcpstates gives them.

The journal's native protocol is a datagram of KEY=value lines (systemd.io/JOURNAL_NATIVE_PROTOCOL);
the bindings of it are C extensions that a virtual environment cannot have from the system.
"""

from __future__ import annotations

import socket
from pathlib import Path

from tcptop_tui import formats, text
from tcptop_tui.errors import UsageError
from tcptop_tui.records import UNKNOWN_NS, Rows, is_ipv4
from tcptop_tui.stream.batches import Names

SOCKET = Path("/run/systemd/journal/socket")
_NOTICE = 5
_PATIENCE_S = 1.0


class Journal:
    """An open way into the journal.

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
                f"no systemd journal at {path}: {error.strerror}", mend="leave -Y out, or start systemd-journald"
            ) from None

    def send(self, rows: Rows, names: Names) -> None:
        """An entry for each of ``rows``, dtype TRANSITION; ``names`` are of devices."""
        for fields in (entry(row, names) for row in rows):
            data = "".join(f"{name}={value}\n" for name, value in fields.items()).encode()
            # one that stands still is waited for once: the ring behind us fills meanwhile
            self._socket.settimeout(0 if self.refused else _PATIENCE_S)
            try:
                self._socket.send(data)
            except OSError:
                self.refused += 1

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def entry(row: Rows, names: Names) -> dict[str, str]:
    """The fields of one transition; values have no line breaks, so that no field can be slipped in."""
    four = bool(is_ipv4(row["laddr"][None])[0] and is_ipv4(row["raddr"][None])[0])
    laddr, raddr = (formats.address((int(row[name][0]), int(row[name][1]))) for name in ("laddr", "raddr"))
    old, new = (formats.state_name(int(row[name])) for name in ("oldstate", "newstate"))
    device = text.clean(names.device(int(row["netns"]), int(row["dev"])))
    local = f"{laddr}%{device}" if device else laddr
    name, version = text.clean(bytes(row["comm"])), "IPV4" if four else "IPV6"
    fields = {
        "SYSLOG_IDENTIFIER": "tcpstates",
        "PRIORITY": str(_NOTICE),
        "MESSAGE": f"{name or formats.UNKNOWN} {local}:{row['lport']} - {raddr}:{row['rport']} {old} -> {new}",
        "OBJECT_PID": str(row["pid"]) if row["pid"] else "",
        "OBJECT_COMM": name,
        "OBJECT_INTERFACE": device,
        f"OBJECT_{version}_SOURCE_ADDRESS": laddr,
        "OBJECT_TCP_SOURCE_PORT": str(row["lport"]) if row["lport"] else "",
        f"OBJECT_{version}_DESTINATION_ADDRESS": raddr,
        "OBJECT_TCP_DESTINATION_PORT": str(row["rport"]) if row["rport"] else "",
        "OBJECT_TCP_OLD_STATE": old,
        "OBJECT_TCP_NEW_STATE": new,
        "OBJECT_TCP_SPAN_TIME": "" if row["spent_ns"] == UNKNOWN_NS else str(int(row["spent_ns"]) // 1000),
    }
    return {name: value for name, value in fields.items() if value}
