"""How far a connection has come."""

from __future__ import annotations

import numpy as np

from tcptop_tui.records import State

STATE_DEPTH = np.zeros(256, np.int64)
"""By state: how many transitions it takes at least to come there; as STATE_DEPTH in c/transitions.c."""
STATE_DEPTH[[State.SYN_SENT, State.SYN_RECV, State.LISTEN]] = 1
STATE_DEPTH[State.ESTABLISHED] = 2
STATE_DEPTH[[State.FIN_WAIT1, State.CLOSE_WAIT]] = 3
STATE_DEPTH[[State.FIN_WAIT2, State.CLOSING, State.LAST_ACK]] = 4
