"""What every consumer of a field says of one made-up table with every kind of unknown."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from syrupy.assertion import SnapshotAssertion

from tcptop_tui import fields
from tcptop_tui.config.schema import ColumnChoice
from tcptop_tui.export.document import DocumentInput, build_document
from tcptop_tui.export.writers import to_csv, to_json, to_text
from tcptop_tui.fields.manual import manual
from tcptop_tui.filters import FIELDS, RowContext, parse
from tcptop_tui.filters.completion import make_vocabulary
from tcptop_tui.model.connect_list import make_connects
from tcptop_tui.model.ended_order import ended_order
from tcptop_tui.model.frame import ViewOptions, make_frame
from tcptop_tui.model.record_parts import FrozenParts
from tcptop_tui.model.snapshot import Snapshot
from tcptop_tui.model.sorting import SortOrder
from tcptop_tui.model.wall_clock import WallClock
from tcptop_tui.records import ENDED, HOLDING, RTT_SLOTS, Flag, HolderLookup, Rows, State, SynSent
from tcptop_tui.stream.batches import Loss, Names
from tcptop_tui.stream.socket_details import SOCKET_DETAIL, unknown
from tcptop_tui.trace import columns as c
from tcptop_tui.trace import connect, life, states
from tcptop_tui.trace.output import Form, Layout, Output
from tcptop_tui.widgets.details.text import facts_table
from tcptop_tui.widgets.views.connections import ConnectionTable
from tcptop_tui.widgets.views.connects import ConnectsTable
from tcptop_tui.widgets.views.ended import EndedTable
from tests.support.dashboard import dashboard, numbered_table
from tests.support.samples import NOW, SECOND, UNKNOWN, UTC, connections, sessions, transitions

NAMES = Names(netns={1: "blue"}, cgroups={5: "/sys.slice/a.service"}, devices={1: {3: "eth0"}, 2: {3: "wg0"}})
WALL = WallClock().with_reading(NOW, UTC)
KNOWN: dict[str, Any] = {
    "pid": 812, "comm": b"nginx", "uid": 0, "netns": 1, "cgroup": 5, "dev": 3, "laddr": "fe80::1", "raddr": "fe80::2",
    "lport": 443, "rport": 50_000, "tx_bytes": 1536, "rx_bytes": 7, "retrans": 2, "srtt_us": 1240,
    "flags": Flag.GAUGES | Flag.ACTIVE, "holder_lookup": HolderLookup.DONE, "holders": 1, "syn_sent": SynSent.OUT,
}  # fmt: skip
NOTHING = {**UNKNOWN, "netns": 0, "skaddr": 0, "laddr": "::", "raddr": "::"}
GIVEN = (
    KNOWN,
    *({**KNOWN, name: NOTHING.get(name, 0)} for name in ("pid", "comm", "uid", "netns", "cgroup", "dev", "flags",
                                                        "srtt_us", "lport", "rport", "born_ns", "state_ns")),
    {**KNOWN, "uid": 3_999_999_999, "cgroup": 9, "dev": 4, "netns": 2, "comm": b"x\x1b[31m", "laddr": "10.0.0.1"},
    {**KNOWN, "state": State.LISTEN, "rport": 0, "raddr": "::", "flags": Flag.LISTENER,
     "holder_lookup": HolderLookup.NO_INODE},
    {"state": State.SYN_SENT, "syn_sent": SynSent.OUT, "flags": 0, "holders": 2, "id": 16, "raddr": "10.0.0.3",
     "dev": 3},
    {"state": State.SYN_SENT, "syn_sent": SynSent.NONE, "state_ns": 0},
    {"born_ns": NOW + SECOND, "state_ns": NOW + SECOND, "tx_bytes": 2**40, "retrans_in": [0, 3, *[0] * 9, 1]},
    NOTHING,
)  # fmt: skip
"""Each field unknown by itself, then all of them."""
HOLDERS = np.array([(16, 100, 0, b"nginx"), (16, 813, 0, b"=w\x1b")], HOLDING)
TABLE = connections(*GIVEN)
DETAILS = np.zeros(3, SOCKET_DETAIL)
DETAILS["id"], DETAILS["read_ns"] = (1, 2, 4), NOW - SECOND
for _name in SOCKET_DETAIL.names or ():
    if _name not in {"id", "read_ns"}:  # the first all known, the second all unknown, the third half
        _nothing = unknown(SOCKET_DETAIL[_name])
        DETAILS[_name] = (b"bbr" if _name == "congestion" else 12_345, _nothing, _nothing if "r" in _name else 0)
RATES = np.array([0.0, 2048.5, *[np.nan] * (len(TABLE) - 3), 3e9])
ENDS: tuple[dict[str, Any], ...] = (
    {"state": State.CLOSE, "close_flags": 3, "established_ns": NOW - 59 * SECOND}, {"err": 111, "state": State.CLOSE},
    {"state": State.CLOSE, "close_flags": 8, "reset_in": State.ESTABLISHED}, {"state": State.CLOSE, "err": 5},
)  # fmt: skip
CLOSED = sessions(*({**one, **ENDS[place % 4]} for place, one in enumerate(GIVEN)), NOTHING)
CLOSED["end_ns"] += np.arange(len(CLOSED), dtype=np.uint64)
CLOSED["rtt_hist"][::2, 10], CLOSED["rtt_sum_us"][::2] = 2, 2481
_STEPS = (
    {"oldstate": State.SYN_SENT, "newstate": State.ESTABLISHED}, {"oldstate": State.SYN_SENT, "newstate": State.CLOSE,
    "err": 111}, {"oldstate": State.ESTABLISHED, "newstate": State.CLOSE, "close_flags": 16,
    "reset_in": State.FIN_WAIT1},
    {"oldstate": State.SYN_SENT, "newstate": State.CLOSE, "syn_sent": SynSent.NONE,
     "time_in_state_ns": NOTHING["time_in_state_ns"]},
)  # fmt: skip
MOVES = transitions(
    *({**one, **_STEPS[place % 4]} for place, one in enumerate(GIVEN)), NOTHING,
    {**KNOWN, "flags": Flag.DELAYED}, {**KNOWN, "flags": Flag.POLLED, "newstate": State.CLOSE},
)  # fmt: skip
MOVES["ts_ns"] += np.arange(len(MOVES), dtype=np.uint64)
DIALS = MOVES[MOVES["oldstate"] == State.SYN_SENT]
FACTS = Snapshot(
    now_ns=NOW, utc_ns=UTC, rows=TABLE, tx_rate=RATES, rx_rate=RATES[::-1].copy(), names=NAMES, wall_clock=WALL,
    log=MOVES, ended=FrozenParts(ENDED, (CLOSED,)), holders=HOLDERS, details=DETAILS,
)  # fmt: skip


def told(value: object) -> str:
    return json.dumps(value, indent=0, ensure_ascii=False)


def same(snapshot: SnapshotAssertion, **parts: object) -> None:
    for name, value in parts.items():
        assert value == snapshot(name=name)


def cells(listed: Any, page: RowContext) -> list[str]:
    """The columns of some lists, a line each."""
    return [" | ".join(cells) for cells in zip(*(field.texts(page) for field in listed), strict=True)]


@pytest.mark.usefixtures("utc")
def test_screen(snapshot: SnapshotAssertion) -> None:
    made = make_connects(FACTS, lambda subject: np.ones(len(subject.rows), np.bool_), SortOrder("time"))
    lists = ConnectionTable.COLUMNS, EndedTable.COLUMNS, ConnectsTable.COLUMNS
    same(
        snapshot,
        table=cells(lists[0], FACTS.row_context),
        table_ms=cells(lists[0], replace(FACTS.row_context.select(np.array([0])), rtt_unit="ms")),
        sessions=cells(lists[1], FACTS.context_of(CLOSED)),
        connects=cells(lists[2], FACTS.context_of(made.rows)),
        columns=[
            (one.key, one.title, one.width, one.rank, one.right, one.stretch, one.optional, one.has_group_sum,
             one.cut_in_middle, one.changes_with_time) for listed in lists for one in listed
        ],
    )  # fmt: skip


@pytest.mark.usefixtures("utc")
def test_page_of_a_connection(snapshot: SnapshotAssertion) -> None:
    lines = []
    for place in (0, -2, -1):
        out = io.StringIO()
        subject = replace(FACTS.row_context, rows=TABLE[place:][:1], tx_rate=np.array([1.0]), rx_rate=np.array([2.0]))
        Console(file=out, width=200).print(facts_table(subject, HOLDERS[:0], 60, alive=True))
        lines.append(out.getvalue().splitlines())
    same(snapshot, page=lines)


def test_the_page_of_the_docs_is_made_from_the_registry() -> None:
    assert (Path(__file__).parents[2] / "docs/fields.md").read_text() == manual()
    for field in fields.FIELDS:
        assert field.json or field.names, field.key
        assert field.meaning or field.filter_help, field.key
        assert bool(field.names) == bool(field.filter_help) == bool(field.example), field.key


def test_sorting(snapshot: SnapshotAssertion) -> None:
    everything = np.ones(len(CLOSED), np.bool_)

    def dialled(key: str, *, descending: bool) -> list[int]:
        made = make_connects(FACTS, lambda one: np.ones(len(one.rows), np.bool_), SortOrder(key, descending))
        return made.order.tolist()

    orders = {}
    for way in (False, True):
        for column in ConnectionTable.COLUMNS:
            frame = make_frame(FACTS, ViewOptions().with_order(SortOrder(column.key, way)))
            orders[f"table {column.key} {way}"] = told(frame.row_order.tolist())
        for column in EndedTable.COLUMNS:
            order = ended_order(FACTS, everything, SortOrder(column.key, way))
            orders[f"sessions {column.key} {way}"] = told(order.tolist())
        for column in ConnectsTable.COLUMNS:
            orders[f"connects {column.key} {way}"] = told(dialled(column.key, descending=way))
    same(snapshot, orders=orders)


FILTERS = [
    "port:443", "lport:443", "rport>1000", "rport<60000", "10.0.0.0/8", "ip:6", "ip:4", "laddr:fe80::1%eth0",
    "laddr:fe80::1%3", "raddr:fe80::2", "dev:eth0", "dev>0", "dev:3", "comm:ngi", "comm=nginx", "/^ng/", "pid:812",
    "pid<900", "user:root", "uid>=1000", "uid:0", "netns:1", "netns>0", "cgroup:5", "state:estab", "state:listen",
    "why:refused", "why:fin,reset", "why:error", "rtt>1ms", "rtt<1.24ms", "rtt:1240us", "rtt<=1240us", "age>1s",
    "age<1d", "instate>2s", "instate<1h", "instate:0-2s", "retrans>0", "retrans:0", "tx>1K", "tx:0", "rx<8", "tx>1K/s",
    "rx:0/s", "rx<=2048.5/s", "cwnd>5", "congestion:bbr,cubic", "min_rtt>1ms", "tx_queue>1K", "delivery_rate>1KB/s",
    "pacing_rate<1MB", "unacked:0", "lost<9", "reordering>3", "rcv_rtt<1s", "!cwnd>5",
]  # fmt: skip


def test_filters(snapshot: SnapshotAssertion) -> None:
    found = {}
    for wanted in FILTERS:
        for name, subject in (
            ("table", FACTS.row_context),
            ("sessions", FACTS.context_of(CLOSED)),
            ("log", FACTS.context_of(MOVES)),
        ):
            matches = parse(wanted).matches(subject)
            found[f"{wanted} {name}"] = told(np.flatnonzero(matches).tolist())
    same(
        snapshot,
        found=found,
        fields=[(one.names[0], one.names[1:], one.example, one.filter_help) for one in FIELDS],
        words={
            name: told(list(words))
            for name, words in make_vocabulary(FACTS.row_context, FACTS.context_of(CLOSED)).values_by_field.items()
            if name != "netns"
        },  # this host's, too
    )


DOCUMENTED = DocumentInput(
    table=FACTS.row_context, transitions=FACTS.context_of(MOVES), ended=FACTS.context_of(CLOSED),
    hist=np.zeros(RTT_SLOTS, np.uint64), hist_sum_us=0, loss=Loss(), utc_ns=UTC, host="host", kernel="6.1",
    backend="bpf", backend_note="", filter_text="", hidden_text="", alerts=(), connections_total=9,
)  # fmt: skip


def test_snapshots(snapshot: SnapshotAssertion) -> None:
    made = json.loads(to_json(build_document(DOCUMENTED)))
    same(
        snapshot,
        connections=[told(one) for one in made["connections"]],
        transitions=[told(one) for one in made["transitions"]],
        sessions=[told(one) for one in made["sessions"]],
        csv=[line for line in to_csv(build_document(DOCUMENTED)).decode().splitlines() if line[:1] != "#"],
        text=to_text(DOCUMENTED).partition("Connections")[2].splitlines(),
    )


class Written(io.BytesIO):
    def fileno(self) -> int:
        return 1


def streamed(rows: Rows, columns: Any, form: Form) -> list[str]:
    file = Written()
    output = Output(Layout(form, columns), file)
    output.header()
    output.lines(c.LineRows(rows, NOW, names=NAMES, utc_ns=WALL.utc_ns, first_ns=NOW))
    return file.getvalue().decode().splitlines()


@pytest.mark.usefixtures("utc")
@pytest.mark.parametrize("form", ["text", "csv", "json"])
@pytest.mark.parametrize("wide", [False, True])
def test_streams(form: Form, wide: bool, snapshot: SnapshotAssertion) -> None:
    clock = (c.TIME, c.SECONDS)
    dials = connect.columns(form, wide=wide, clock=clock, lport=wide, uid=wide, dns=wide)
    same(
        snapshot,
        states=streamed(MOVES, states.columns(form, wide=wide, context=wide, clock=clock), form),
        life=streamed(CLOSED, life.columns(form, wide=wide, clock=clock), form),
        connect=streamed(DIALS, dials, form),
    )


async def test_details_are_wanted_while_a_column_an_order_a_filter_or_an_export_needs_them() -> None:
    details = np.zeros(1, SOCKET_DETAIL)
    details["id"], details["cwnd"], details["read_ns"] = 1, 77, NOW
    async with dashboard((160, 50)) as board:
        app, feed, given = board.app, board.script, numbered_table()
        await board.deliver(replace(given, now_ns=given.now_ns + SECOND))
        assert not feed.details
        app.sort_by("cwnd")
        await board.deliver(replace(given, now_ns=given.now_ns + 2 * SECOND))
        assert feed.details
        app.sort_by("pid")
        app.set_view_options(replace(app.view_options, filter=parse("unacked>3")))
        await board.deliver(replace(given, now_ns=given.now_ns + 3 * SECOND))
        assert feed.details
        app.set_view_options(replace(app.view_options, filter=parse("")))
        app.panel(ConnectionTable).choose_columns([ColumnChoice("comm"), ColumnChoice("cwnd")])
        await board.deliver(replace(given, now_ns=given.now_ns + 4 * SECOND, details=details))
        assert feed.details
        assert any(" 77 " in f"{line} " for line in board.lines(ConnectionTable))
        app.panel(ConnectionTable).choose_columns([])
        await board.deliver(replace(given, now_ns=given.now_ns + 5 * SECOND))
        assert not feed.details
        await board.press("e")
        assert feed.details
