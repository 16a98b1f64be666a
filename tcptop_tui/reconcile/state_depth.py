"""How many transitions a connection must have had to be in a state; it says how many were unseen, at least."""

from __future__ import annotations

import numpy as np

from tcptop_tui.records import State

STATE_DEPTH = np.zeros(256, np.int64)
"""By state: the least number of transitions that lead to it, as STATE_DEPTH in c/transitions.c; 0 for other states."""
STATE_DEPTH[[State.SYN_SENT, State.SYN_RECV, State.LISTEN]] = 1
STATE_DEPTH[State.ESTABLISHED] = 2
STATE_DEPTH[[State.FIN_WAIT1, State.CLOSE_WAIT]] = 3
STATE_DEPTH[[State.FIN_WAIT2, State.CLOSING, State.LAST_ACK]] = 4
