"""The header on screens of every width: what matters stays, and nothing is cut without a sign."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from tcptop_tui.filters import parse
from tcptop_tui.model.per_second import EventKind
from tcptop_tui.records import State
from tcptop_tui.stream.batches import Loss, Status, Table
from tcptop_tui.widgets.fitting import Item, fitted_line
from tcptop_tui.widgets.panels.header import HeaderLines
from tests.support.dashboard import Dashboard, dashboard
from tests.support.samples import NOW, SECOND, UTC, connections

pytestmark = pytest.mark.usefixtures("utc")

STATES = {
    State.ESTABLISHED: 1034, State.SYN_SENT: 5, State.CLOSE_WAIT: 214, State.FIN_WAIT1: 2, State.FIN_WAIT2: 17,
    State.LAST_ACK: 3, State.TIME_WAIT: 1012, State.LISTEN: 41,
}  # fmt: skip
SIZES = [(80, 24), (160, 50), (100, 30), (40, 10), (30, 8)]

words = st.text("abcdef", min_size=1, max_size=12)
items = st.lists(
    st.tuples(st.integers(0, 9), st.lists(words, min_size=1, max_size=3), st.sampled_from([0, 0, 4])), min_size=1
)


@given(items, st.integers(16, 120))
def test_a_line_has_whole_items_the_important_ones_first(made: list[tuple[int, list[str], int]], cells: int) -> None:
    parts = [
        Item(rank, tuple(Text(f"{number}{form}") for form in sorted(forms, key=len, reverse=True)), cut)
        for number, (rank, forms, cut) in enumerate(made)
    ]
    line = fitted_line(parts, cells)
    assert line.cell_len <= cells
    shown = [int(found) for found in re.findall(r"(?:^|  )(\d+)(?=[a-f…])", line.plain)]
    assert shown == sorted(shown)
    if len(shown) < len(parts):
        assert line.plain.endswith("…")
        hidden = [part.rank for number, part in enumerate(parts) if number not in shown]
        assert all(parts[number].rank <= min(hidden) for number in shown)
    for word in line.plain.removesuffix(" …").split("  ") if shown else ():
        number = int(re.match(r"\d+", word).group())  # type: ignore[union-attr]
        whole = [form.plain for form in parts[number].forms]
        assert word in whole or (word.endswith("…") and parts[number].cut and len(word) >= parts[number].cut)


async def on_call(board: Dashboard) -> None:
    """A host in trouble: eight states, failures, retransmits, losses."""
    rows = connections(*({"state": state, "rport": 1} for state, count in STATES.items() for _ in range(count)))
    await board.deliver(Table(rows, NOW + SECOND, UTC + SECOND), Loss(skipped=12, missed=3), Status("bpf"))
    facts = board.app.frame.snapshot
    pulse = np.tile(np.arange(8.0), (len(EventKind), 1)) + np.arange(len(EventKind))[:, None]
    board.app.frame = replace(board.app.frame, snapshot=replace(facts, per_second=pulse))
    board.app.panel(HeaderLines).show(board.app.frame)
    await board.press()


@pytest.mark.parametrize("size", SIZES)
async def test_every_number_of_the_header_is_whole(size: tuple[int, int]) -> None:
    async with dashboard(size) as board:
        await on_call(board)
        lines = board.header.splitlines()
        assert all(len(line) <= size[0] for line in lines)
        counted = {state.name: f"{count:,}" for state, count in STATES.items()} | {"ESTAB": "1,034"}
        told = re.findall(r"([A-Z_12]{4,}|other) ([\d,…]+)", lines[1])
        known = {name: number for name, number in told if name != "other"}
        assert all(counted[name] == number for name, number in known.items())
        assert {"ESTAB", "ESTABLISHED"} & set(known)
        assert sum(int(number.replace(",", "")) for _, number in told) == sum(STATES.values())
        assert "lost 12" in board.header
        assert "missed 3" in board.header
        for beat, name in (
            (EventKind.FAILED, "failed"), (EventKind.RETRANS, "retrans"), (EventKind.OPENED, "opened"),
            (EventKind.CLOSED, "closed"),
            (EventKind.TRANSITIONS, "transitions"),
        ):  # fmt: skip
            there = re.search(rf"{name}/s [▁-█ ]*{7 + beat}(?!\d)", board.header)
            assert there or (name not in board.header and "…" in board.header)
            assert there or size[0] < 80 or beat not in {EventKind.FAILED, EventKind.RETRANS}


async def test_a_narrow_header_leaves_out_host_and_kernel_not_that_it_is_paused() -> None:
    async with dashboard((40, 10)) as board:
        await board.press("p")
        first = board.header.splitlines()[0]
        assert "PAUSED +0" in first
        assert "  bpf  " in first
        assert "Linux" not in first
        assert first.endswith("…")


async def test_a_long_filter_is_cut_with_a_sign_and_hides_no_loss() -> None:
    long = " ".join(f"!rport:{port}" for port in range(100, 130))
    async with dashboard((80, 24), chosen=parse(long)) as board:
        await board.deliver(Loss(skipped=12, mended=7))
        line = next(line for line in board.header.splitlines() if "match" in line)
        assert line.startswith("lost 12  missed 0  mended 7  100 of 100 match !rport:100 ") or "mended 7" in line
        assert re.search(r"match !rport:100 .*…", line)


async def test_why_it_stopped_is_read_to_its_end() -> None:
    why = "stopped: the kernel refused the program because its BTF does not match: start it again with --backend diag"
    async with dashboard((80, 24)) as board:
        await board.deliver(Status("bpf", why, ended=True))
        assert why in " ".join(board.header.splitlines())
