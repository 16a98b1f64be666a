"""From sock_diag's messages to ``stream.socket_details``."""

from __future__ import annotations

import numpy as np

from tcptop_tui.diag.decode_rows import NOT_CONNECTED
from tcptop_tui.diag.messages import TCP_INFO, SocketColumns
from tcptop_tui.records import Rows
from tcptop_tui.stream.socket_details import INFO_FIELDS, SOCKET_DETAIL, unknown

_INFO = np.dtype({
    "names": [field.name for field in INFO_FIELDS], "formats": [field.format for field in INFO_FIELDS],
    "offsets": [field.offset for field in INFO_FIELDS], "itemsize": TCP_INFO.itemsize,
})  # fmt: skip


def as_details(sockets: SocketColumns, now_ns: int) -> Rows:
    """Dtype SOCKET_DETAIL, shape (n,), without ids.

    A listener's tcp_info has the sizes of its queues in other fields' places, and TIME_WAIT has none: of what does not
    connect two ends nothing is known.
    """
    made = np.zeros(len(sockets.messages), SOCKET_DETAIL)
    made["read_ns"] = now_ns
    infos, messages = sockets.infos.view(_INFO), sockets.messages
    connected = ~np.isin(messages["state"], NOT_CONNECTED) & (sockets.info_bytes > 0)
    for field in INFO_FIELDS:
        values = infos[field.name]
        known = connected & (sockets.info_bytes >= field.offset + values.dtype.itemsize)
        known &= values != unknown(field.format) if field.nothing is None else values != field.nothing
        made[field.name] = np.where(known, values, unknown(field.format))
    for name, queue in (("rx_queue", "rqueue"), ("tx_queue", "wqueue")):
        made[name] = np.where(connected, messages[queue], unknown("<u4"))
    made["congestion"] = np.where(connected, sockets.congestion, b"")
    return made
