"""Documents keep to their structures, whatever is in the rows; summaries are what the samples say."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC as TIME_ZONE
from datetime import datetime
from fractions import Fraction

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tcptop_tui import formats
from tcptop_tui.export.document import DocumentInput, build_document
from tcptop_tui.export.schema import Document
from tcptop_tui.export.writers import default_name, to_csv, to_json, to_text
from tcptop_tui.fields import FIELDS, RowContext
from tcptop_tui.model.histogram import average, bucket_bounds, percentile, summarize
from tcptop_tui.model.wall_clock import WallClock
from tcptop_tui.records import ROW, RTT_SLOTS, TRANSITION, Flag, HolderLookup, Rows
from tcptop_tui.stream.batches import Loss
from tests.support.samples import NOW, SECOND, UNKNOWN, UTC, connections, sessions, transitions


def histogram(*counts: int) -> NDArray[np.uint64]:
    return np.array([*counts, *[0] * (RTT_SLOTS - len(counts))], np.uint64)


def inputs(
    rows: Rows, moves: Rows | None = None, hist: NDArray[np.uint64] | None = None, rate: float = 0.0
) -> DocumentInput:
    utc_ns = WallClock().with_reading(NOW, UTC).utc_ns
    return DocumentInput(
        table=RowContext(rows, NOW, np.full(len(rows), rate), np.full(len(rows), np.nan), utc_ns=utc_ns),
        transitions=RowContext(transitions() if moves is None else moves, NOW, utc_ns=utc_ns),
        ended=RowContext(sessions({}), NOW, utc_ns=utc_ns),
        hist=histogram() if hist is None else hist, hist_sum_us=0, loss=Loss(1, 2, 3, 4, 5, 6, 7), utc_ns=UTC,
        host="host", kernel="6.1",
        backend="bpf", backend_note="", filter_text="", hidden_text="", alerts=(), connections_total=len(rows),
    )  # fmt: skip


def snapshot(rows: Rows, moves: Rows | None = None) -> Document:
    return build_document(inputs(rows, moves))


def anything(dtype: np.dtype[np.void]) -> st.SearchStrategy[Rows]:
    """Rows of any bytes at all, as a stranger's recording may have them."""
    size = dtype.itemsize
    return st.binary(min_size=size, max_size=size).map(lambda raw: np.frombuffer(raw, dtype))


@given(anything(ROW), anything(TRANSITION))
@example(np.frombuffer(b"\xff" * ROW.itemsize, ROW), np.frombuffer(b"\xff" * TRANSITION.itemsize, TRANSITION))
def test_any_bytes_make_a_document_that_reads_back(rows: Rows, moves: Rows) -> None:
    document = snapshot(rows, moves)
    data = to_json(document)
    assert msgspec.json.decode(data, type=Document) == document
    assert json.loads(data)["connections"][0]["laddr"] == document.connections[0].laddr
    assert len(list(csv.reader(line for line in to_csv(document).decode().split("\n") if line[:1] != "#"))) == 3
    assert to_text(inputs(rows, moves)).replace("\n", "").isprintable()


DETAILS = {field.json for field in FIELDS if field.detail}


def test_every_unknown_is_null_on_its_own() -> None:
    keys = {
        "pid": ["pid"], "uid": ["uid", "user"], "comm": ["comm"], "born_ns": ["age_s"], "state_ns": ["state_age_s"],
        "srtt_us": ["srtt_us"], "lport": ["lport"], "rport": ["rport"],
        "flags": ["tx_bytes", "rx_bytes", "retrans", "opened"], "cgroup": ["cgroup"],
        "dev": ["dev", "ifindex"], "holder_lookup": ["holders"],
    }  # fmt: skip
    known = {
        "srtt_us": 5,
        "tx_bytes": 0,
        "rx_bytes": 0,
        "retrans": 0,
        "cgroup": 7,
        "dev": 3,
        "holder_lookup": HolderLookup.NO_INODE,
        "flags": Flag.GAUGES | Flag.ACTIVE,
    }
    for field, names in keys.items():
        (row,) = snapshot(connections({**known, field: UNKNOWN.get(field, 0)})).connections
        nulls = {name for name, value in msgspec.to_builtins(row).items() if value is None}
        assert nulls == {*names, "rx_bytes_per_s", "netns_name", *DETAILS}


def test_a_uid_that_nobody_has_is_a_number_without_a_name() -> None:
    (row,) = snapshot(connections({"uid": 3_999_999_999})).connections
    assert (row.uid, row.user) == (3_999_999_999, None)


def test_login_names_are_cleaned_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "login_name", lambda _uid: "r\x1boot")
    assert snapshot(connections({})).connections[0].user == "r·oot"


def test_ages_never_run_backwards() -> None:
    (row,) = snapshot(connections({"born_ns": NOW + SECOND, "state_ns": NOW - 1_500_000})).connections
    assert (row.age_s, row.state_age_s) == (0.0, 0.0015)


def test_transitions_of_either_kind() -> None:
    first, second = snapshot(
        connections(),
        transitions(
            {"skaddr": 0, "flags": Flag.POLLED, "ts_ns": NOW}, {"skaddr": 0xFFFF_8880_0000_0001, "ts_ns": NOW - 1}
        ),
    ).transitions
    assert (first.skaddr, first.polled, first.delayed, first.tx_bytes) == (None, True, False, None)
    assert (second.skaddr, second.polled, second.tx_bytes) == ("ffff888000000001", False, 0)
    assert datetime.fromisoformat(first.time) == datetime.fromtimestamp(UTC // SECOND, TIME_ZONE)
    assert second.time.endswith(".999999Z")


@given(st.integers(0, 4 * 10**18))
def test_times_are_exact_to_the_microsecond(utc_ns: int) -> None:
    told = datetime.fromisoformat(formats.iso_time(utc_ns))
    whole = datetime.fromtimestamp(utc_ns // SECOND, TIME_ZONE)
    assert told.replace(microsecond=0) == whole
    assert told.microsecond == utc_ns % SECOND // 1000


def test_every_loss_is_told_in_every_format() -> None:
    document = snapshot(connections())
    expected = {
        "ring_full": 1, "sessions_ring_full": 2, "map_full": 3, "skipped": 4, "caught": 5, "missed": 6, "mended": 7,
        "lost": 7,
    }  # fmt: skip
    assert json.loads(to_json(document))["loss"] == expected
    for name, value in expected.items():
        assert f"# {name}: {value}" in to_csv(document).decode().splitlines()
        assert f"{name}: {value}" in to_text(inputs(connections())).splitlines()


@pytest.mark.parametrize("comm", [b"=1+1", b"+1", b"-1", b"@SUM(A1)"])
def test_no_cell_is_a_formula(comm: bytes) -> None:
    table = to_csv(snapshot(connections({"comm": comm}))).decode()
    (row,) = csv.DictReader(io.StringIO("\n".join(line for line in table.split("\n") if line[:1] != "#")))
    assert row["comm"] == "'" + comm.decode()


def test_a_name_is_no_comment_and_no_second_cell() -> None:
    comm = b'a#b,"c\n#d'
    table = to_csv(snapshot(connections({"comm": comm}, {"comm": b"#", "pid": 0}))).decode()
    lines = [line for line in table.splitlines() if not line.startswith("#")]
    assert [row["comm"] for row in csv.DictReader(lines)] == ['a#b,"c·#d', "#"]
    # readers that know comments look for # outside quotes
    assert not any("#" in outside for line in lines for outside in line.split('"')[::2])


def test_text_has_the_screen_s_numbers_in_columns() -> None:
    rows = connections(
        {"tx_bytes": 1536, "srtt_us": 1240, "raddr": "2001:db8::1", "comm": "日本".encode(), "uid": 3_999_999_999},
        {"born_ns": 0, "comm": b"x\x1b[31m", "tx_bytes": 7},
    )
    lines = to_text(inputs(rows, rate=2048.0)).splitlines()
    at = lines.index("Connections") + 1
    titles, first, second = lines[at : at + 3]
    assert first.split() == [
        "100", "日本", "10.0.0.1", "443", "2001:db8::1", "50000", "ESTABLISHED", "5s", "1m00s",
        "1.5K", "0", "2.0K", "–", "1.24ms", "0", "3999999999", "1",
    ]  # fmt: skip
    assert second.split()[1] == "x·[31m"
    assert second.split()[8] == "–"
    assert titles.index("STATE") == second.index("ESTABLISHED")
    assert titles.index("TX") + 2 == second.index(" 7 ") + len(" 7")
    assert len(first) == len(second) - 2  # two wide characters take four cells


# printed by bcc 0.26.0: _print_log2_hist([0, 0, 3, 0, 10, 1, 7], "usecs", False)
BCC = """\
     usecs               : count     distribution
         0 -> 1          : 0        |                                        |
         2 -> 3          : 3        |************                            |
         4 -> 7          : 0        |                                        |
         8 -> 15         : 10       |****************************************|
        16 -> 31         : 1        |****                                    |
        32 -> 63         : 7        |****************************            |
"""


def test_histogram_is_bcc_s() -> None:
    assert to_text(inputs(connections(), hist=histogram(0, 3, 0, 10, 1, 7))).endswith(BCC)


def test_the_last_bucket_is_open() -> None:
    hist = histogram()
    hist[-1] = 1
    assert to_text(inputs(connections(), hist=hist)).splitlines()[-1].startswith("  67108864 -> ...        : 1 ")


def test_file_names_have_no_way_out() -> None:
    assert default_name("../../etc/x\n\x1b", UTC, "csv") == "tcptop-.._.._etc_x__-20261118T110640Z.csv"
    assert default_name("", UTC, "csv") == "tcptop-host-20261118T110640Z.csv"
    assert len(default_name("h" * 500, UTC, "json")) < 255


_PARTS = 64


def spread(counts: list[int]) -> list[Fraction]:
    """Every sample cut in 64, spread evenly over its bucket: the upper end of each piece, in order."""
    ends = []
    for slot, count in enumerate(counts):
        low = 0 if slot == 0 else 2**slot
        width = Fraction(2 ** (slot + 1) - low, count * _PARTS) if count else Fraction(0)
        ends += [low + width * piece for piece in range(1, count * _PARTS + 1)]
    return ends


@given(st.lists(st.integers(0, 12), min_size=1, max_size=RTT_SLOTS - 1).filter(any), st.integers(1, _PARTS))
def test_percentiles_are_those_of_the_samples_spread_out(counts: list[int], part: int) -> None:
    expected = spread(counts)[sum(counts) * part - 1]
    assert percentile(histogram(*counts), part / _PARTS) == pytest.approx(float(expected))


def test_the_ends_of_a_histogram() -> None:
    hist = histogram(0, 0, 5, 0, 5)
    assert percentile(hist, 0) == 4.0
    assert percentile(hist, 1) == 32.0
    assert percentile(histogram(), 0.5) is None
    assert [bucket_bounds(slot) for slot in (0, 1, 2, RTT_SLOTS - 1)] == [(0, 1), (2, 3), (4, 7), (2**26, None)]


@given(st.lists(st.integers(0, 2**40), min_size=RTT_SLOTS, max_size=RTT_SLOTS), st.integers(0, 2**62))
def test_summaries_are_ordered(counts: list[int], sum_us: int) -> None:
    summary = summarize(histogram(*counts), sum_us)
    assert summary.count == sum(counts)
    if summary.count == 0:
        assert (summary.avg_us, summary.p50_us, summary.p90_us, summary.p99_us) == (None,) * 4
        assert average(histogram(*counts), sum_us) is None
        return
    assert summary.avg_us == sum_us / summary.count
    assert summary.p50_us is not None
    assert summary.p90_us is not None
    assert summary.p99_us is not None
    assert 0 <= summary.p50_us <= summary.p90_us <= summary.p99_us <= 2.0**26
