"""Which rows a filter chooses, against naive answers for one row at a time."""

from __future__ import annotations

import ipaddress
import pwd
import random
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcptop_tui.filters import RowContext, parse
from tcptop_tui.records import ENDED, ROW, TRANSITION, UNKNOWN_NS, UNKNOWN_UID, Flag, Rows, State

NOW_NS = 10**15
SECOND_NS = 10**9


def table(dtype: np.dtype[Any] = ROW, **columns: Any) -> Rows:
    """Rows with these columns, everything else unknown or 0."""
    rows = np.zeros(max(len(column) for column in columns.values()), dtype)
    for name, column in columns.items():
        rows[name] = column
    return rows


def words(text: str) -> tuple[int, int]:
    """An address in the records' form."""
    address = ipaddress.ip_address(text)
    number = int(address) | (0xFFFF << 32 if address.version == 4 else 0)
    return number >> 64, number & (2**64 - 1)


def chosen(text: str, rows: Rows, **rates: Any) -> list[int]:
    """Indices of the rows that match."""
    subject = RowContext(rows, NOW_NS, rates.get("tx_rate"), rates.get("rx_rate"))
    return [int(index) for index in np.flatnonzero(parse(text).matches(subject))]


def random_rows(dtype: np.dtype[Any], count: int, seed: int) -> Rows:
    """Rows of arbitrary bytes, every other one with values that the filters below ask for."""
    source = random.Random(seed)
    rows = np.frombuffer(source.randbytes(count * dtype.itemsize), dtype).copy()
    for row in rows[::2]:
        row["lport"] = source.choice([0, 22, 443, 8443, 1024])
        row["comm"] = source.choice([b"", b"nginx", b"NGINX", b"\xff\xfe", b"a b"])
        row["srtt_us"] = source.choice([0, 9_999, 10_000, 10_001])
        row["laddr"] = source.choice([words("10.1.2.3"), words("::1"), words("11.0.0.0")])
    return rows


TERMS = [
    "443", "port:443,8000-9000", "lport>1024", "rport<=1024", "nginx", "comm=nginx", "/^n.*x$/", "10.0.0.0/8", "::/0",
    "ip:4", "ip:6", "raddr:::1", "pid:1-99", "uid>=1000", "user:0", "netns:1", "state:estab,tw", "rtt>10ms", "rtt<=10",
    "age>1m", "instate<1d", "retrans>0", "tx>1MB", "rx:0", "tx>1kB/s", "rx<=1kB/s", "22,comm:nginx,rtt>1s",
]  # fmt: skip


@pytest.mark.parametrize("dtype", [ROW, ENDED, TRANSITION])
@pytest.mark.parametrize("count", [0, 1, 300])
@pytest.mark.parametrize("term", TERMS)
def test_negation_is_the_complement_for_any_bytes(dtype: np.dtype[Any], count: int, term: str) -> None:
    rows = random_rows(dtype, count, seed=5)
    rates = np.linspace(0, 5000, count) if dtype == ROW else None
    subject = RowContext(rows, NOW_NS, rates, rates)
    mask = parse(term).matches(subject)
    assert mask.dtype == np.bool_
    assert mask.shape == (count,)
    assert np.array_equal(parse("!" + term).matches(subject), ~mask)


@given(st.lists(st.sampled_from(TERMS), min_size=1, max_size=4))
def test_spaces_join_with_and_and_commas_with_or(terms: list[str]) -> None:
    rows = random_rows(ROW, 200, seed=6)
    each = [set(chosen(term, rows)) for term in terms]
    assert set(chosen(" ".join(terms), rows)) == set.intersection(*each)
    fields = [term for term in terms if re.match(r"[a-z]+[:=<>]", term)]
    if fields:
        expected = set.union(*(set(chosen(term, rows)) for term in fields))
        assert set(chosen(",".join(fields), rows)) == expected
        assert set(chosen("!" + ",".join(fields), rows)) == set(range(200)) - expected


def test_empty_filter_matches_all() -> None:
    assert chosen("  ", table(pid=[0, 1])) == [0, 1]


PORT = st.integers(1, 65535)


@given(
    st.lists(st.tuples(PORT, PORT).map(sorted), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 65535), st.integers(0, 65535)), min_size=1, max_size=20),
)
def test_port_lists_agree_with_a_naive_answer(ranges: list[list[int]], pairs: list[tuple[int, int]]) -> None:
    pairs += [(low, high) for low, high in ranges]  # so that ends are hit
    text = ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)
    rows = table(lport=[pair[0] for pair in pairs], rport=[pair[1] for pair in pairs])

    def inside(port: int) -> bool:
        return any(low <= port <= high for low, high in ranges)

    either = [i for i, pair in enumerate(pairs) if inside(pair[0]) or inside(pair[1])]
    assert chosen(text, rows) == chosen("port:" + text, rows) == either
    assert chosen("lport:" + text, rows) == chosen("sport:" + text, rows) == _where(inside(p[0]) for p in pairs)
    assert chosen("rport:" + text, rows) == chosen("dport:" + text, rows) == _where(inside(p[1]) for p in pairs)


def _where(answers: Any) -> list[int]:
    return [index for index, answer in enumerate(answers) if answer]


COMPARE = {
    ">": lambda a, b: a > b, ">=": lambda a, b: a >= b, "<": lambda a, b: a < b, "<=": lambda a, b: a <= b,
    "=": lambda a, b: a == b, ":": lambda a, b: a == b,
}  # fmt: skip


@given(st.sampled_from(sorted(COMPARE)), st.integers(0, 2**32 - 1), st.integers(-1, 1))
def test_comparisons_of_whole_numbers(operator: str, bound: int, off: int) -> None:
    values = [value for value in (bound + off, bound, 1, 2**32 - 2) if 0 < value < UNKNOWN_UID]
    flags = [Flag.GAUGES] * len(values)
    rows = table(pid=values, uid=values, netns=values, retrans=values, flags=flags)
    expected = _where(COMPARE[operator](value, bound) for value in values)
    for field in ("pid", "uid", "netns", "retrans"):
        assert chosen(f"{field}{operator}{bound}", rows) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtt>10ms", [3]),
        ("rtt>=10ms", [2, 3]),
        ("rtt<10ms", [1]),
        ("rtt<=10", [1, 2]),
        ("rtt=10ms", [2]),
        ("rtt:9ms-10ms", [1, 2]),
        ("srtt>9999.5us", [2, 3]),
        ("rtt>9999µs", [2, 3]),
        ("rtt>9999μs", [2, 3]),
        ("rtt>0.01s", [3]),
        ("rtt>.01S", [3]),
        ("rtt<0", []),
        ("rtt>=0", [1, 2, 3]),
        ("!rtt>10ms", [0, 1, 2]),
    ],
)
def test_round_trip_times(text: str, expected: list[int]) -> None:
    assert chosen(text, table(srtt_us=[0, 9_999, 10_000, 10_001])) == expected


def test_age_counts_until_now_the_end_or_the_transition() -> None:
    born = [0, NOW_NS - 61 * SECOND_NS, NOW_NS - 60 * SECOND_NS, NOW_NS + 5]
    rows = table(born_ns=born)
    assert chosen("age>1m", rows) == [1]
    assert chosen("age>=60", rows) == [1, 2]
    assert chosen("age<1s", rows) == [3], "stamped after now was read: no time passed"
    until = [NOW_NS - 30 * SECOND_NS] * 4
    for dtype, column in ((ENDED, "end_ns"), (TRANSITION, "ts_ns")):
        assert chosen("age>30.5s", table(dtype, born_ns=born, **{column: until})) == [1]
        assert chosen("age>=30s", table(dtype, born_ns=born, **{column: until})) == [1, 2]


def test_time_in_the_state() -> None:
    minutes = [0, 89, 90, 91]
    rows = table(state_ns=[NOW_NS - 60 * SECOND_NS * m if m else 0 for m in minutes])
    assert chosen("instate>1h30m", rows) == chosen("since>1.5h", rows) == chosen("instate>5400", rows) == [3]
    assert chosen("instate<=1h30m", rows) == [1, 2]
    moved = table(TRANSITION, time_in_state_ns=[UNKNOWN_NS, 0, 60 * SECOND_NS])
    assert chosen("instate<1d", moved) == [1, 2]
    assert chosen("instate>=60s", moved) == [2]
    ended = table(ENDED, state_ns=[1, 2], end_ns=[5, 6])
    assert chosen("instate>=0", ended) == []


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ("1000", 1000), ("1K", 1024), ("1k", 1024), ("1KiB", 1024), ("1kB", 1000), ("1KB", 1000), ("1.5KB", 1500),
        ("1M", 2**20), ("1MB", 10**6), ("1mb", 10**6), ("2GiB", 2**31), ("3GB", 3 * 10**9), ("1TB", 10**12),
        ("8kbit", 1000), ("1Gbit", 125 * 10**6), ("7B", 7),
    ],
)  # fmt: skip
def test_units_of_size(size: str, count: int) -> None:
    rows = table(tx_bytes=[count - 1, count, count + 1, count], flags=[Flag.GAUGES] * 3 + [0])
    assert chosen(f"tx:{size}", rows) == [1]
    assert chosen(f"tx>{size}", rows) == [2]
    assert chosen(f"tx<{size}", rows) == [0]
    rates = np.array([count - 0.5, count, count + 0.5, np.nan])
    assert chosen(f"tx={size}/s", rows, tx_rate=rates) == [1]
    assert chosen(f"tx>{size}/s", rows, tx_rate=rates) == [2]
    assert chosen(f"tx>={size}/s", rows, tx_rate=rates) == [1, 2]
    assert chosen(f"tx<{size}/s", rows, tx_rate=rates) == [0]
    assert chosen(f"tx<={size}/s", rows, tx_rate=rates) == [0, 1]
    assert chosen(f"!tx>{size}/s", rows, tx_rate=rates) == [0, 1, 3]
    assert chosen(f"rx<={size}/s", rows, tx_rate=rates) == [], "the other direction has no rates"


def test_large_counters_are_compared_exactly() -> None:
    rows = table(rx_bytes=[2**53, 2**53 + 1, 2**64 - 1], flags=[Flag.GAUGES] * 3)
    assert chosen(f"rx>{2**53}", rows) == [1, 2]
    assert chosen(f"rx:{2**53 + 1}", rows) == [1]
    assert chosen(f"rx>={2**64 - 1}", rows) == [2]


def test_the_unknown_matches_no_comparison() -> None:
    rows = table(uid=[UNKNOWN_UID], rport=[0])  # everything else is 0: unknown
    for field in ("port", "lport", "rport", "pid", "uid", "netns", "rtt", "age", "instate", "retrans", "tx", "rx"):
        assert chosen(f"{field}>=0", rows) == [], field
        assert chosen(f"!{field}>=0", rows) == [0], field
        assert chosen(f"{field}<=65535", rows) == [], field
    assert chosen(f"uid:{UNKNOWN_UID}", rows) == chosen(f"user:{UNKNOWN_UID}", rows) == []
    assert chosen("/.*/", rows) == chosen("comm=/()/", rows) == []


ADDRESS = st.one_of(
    st.ip_addresses(v=4),
    # ::ffff:a.b.c.d is a.b.c.d in the records; the next test has it
    st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address).filter(lambda address: address.ipv4_mapped is None),
    st.integers(0, 255).map(lambda low: ipaddress.IPv4Address(0x0A000000 + low)),
    st.integers(0, 255).map(lambda low: ipaddress.IPv6Address(low << 28)),
)


@given(st.lists(ADDRESS, min_size=1, max_size=12), st.data())
def test_networks_agree_with_the_ipaddress_module(addresses: list[Any], data: st.DataObject) -> None:
    centre = data.draw(st.sampled_from(addresses))
    prefix = data.draw(st.integers(0, centre.max_prefixlen))
    network = ipaddress.ip_network((centre, prefix), strict=False)
    typed = f"{centre}/{prefix}"  # with host bits
    other = addresses[::-1]
    rows = table(laddr=[words(str(a)) for a in addresses], raddr=[words(str(a)) for a in other])
    local, remote = (_where(address in network for address in side) for side in (addresses, other))
    assert chosen(f"laddr:{typed}", rows) == chosen(f"src:{typed}", rows) == local
    assert chosen(f"raddr:{typed}", rows) == chosen(f"dst:{typed}", rows) == remote
    assert chosen(typed, rows) == chosen(f"ip:{typed}", rows) == sorted({*local, *remote})


def test_mapped_addresses_are_ipv4_and_versions() -> None:
    rows = table(
        laddr=[words("10.0.0.1"), words("2001:db8::1"), words("127.0.0.1"), words("::")],
        raddr=[words("10.0.0.2"), words("2001:db8::2"), words("127.0.0.1"), words("::")],
    )
    assert chosen("::ffff:10.0.0.1", rows) == chosen("10.0.0.1", rows) == [0]
    assert chosen("ip:::ffff:10.0.0.0/104", rows) == chosen("ip:10.0.0.0/8", rows) == [0]
    assert chosen("::ffff:0:0/96", rows) == chosen("0.0.0.0/0", rows) == chosen("ip:4", rows) == [0, 2]
    assert chosen("::/0", rows) == chosen("ip:6", rows) == [1, 3]
    assert chosen("[2001:db8::1]", rows) == chosen("addr:2001:DB8:0::1,::2", rows) == [1]
    assert chosen("ip:10.0.0.2,2001:db8::/32", rows) == [0, 1]


NAMES = [b"nginx", b"NGINX-worker", b"", b"my prog", b"a,b", b"443", b"\xff\xfe", "Straße".encode(), b"ssh", b"sshd"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nginx", [0, 1]), ("NGI", [0, 1]), ("comm:nginx,prog", [0, 1, 3]), ("process=nginx", [0]),
        ("proc:worker", [1]),
        ('comm:"my prog"', [3]), ('"y p"', [3]), ('"a,b"', [4]), ('"443"', [5]), ("comm:443", [5]), ("strasse", [7]),
        ("/^ng/", [0, 1]), ("comm:/^nginx$/", [0]), ("comm=/ng.*r/", [1]), ("comm=/ng/", []), ("/y p|a,b/", [3, 4]),
        ("/(?-i:NG)/", [1]), (r"/\/|^ssh$/", [8]), ("comm:ssh !comm=ssh", [9]), ("\ufffd", [6]),
        ("/./", [0, 1, 3, 4, 5, 6, 7, 8, 9]),
    ],
)  # fmt: skip
def test_process_names(text: str, expected: list[int]) -> None:
    assert chosen(text, table(comm=NAMES)) == expected


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "expression",
    ["((a*)*)*b", "(a|aa)+$b", "(.*)*(.*)*(.*)*x", "(a?){15}(a?){15}b", "(" * 250 + "a" + ")*" * 250],
    ids=lambda value: value[:20],
)
def test_no_expression_takes_long_on_any_name(expression: str) -> None:
    """Python's own re takes minutes for the first of these, and cannot be interrupted."""
    names = [b"a" * 15, *(b"a" * 14 + bytes([65 + number]) for number in range(26))]
    assert chosen(f"comm:/{expression}/ comm:/^b/", table(comm=names)) == []


@given(st.lists(st.binary(max_size=16), min_size=1, max_size=60), st.text(min_size=1, max_size=2))
def test_names_agree_with_a_naive_answer(names: list[bytes], part: str) -> None:
    if not part.isprintable() or part.isspace() or set(part) & {'"', "\\"}:
        part = "a"
    names += [part.encode(), b"x" + part.encode()]
    expected = _where(part.casefold() in name.split(b"\0")[0].decode("utf-8", "replace").casefold() for name in names)
    assert chosen(f'comm:"{part}"', table(comm=names)) == expected


@pytest.mark.parametrize("form", [b"%07x", b"8 bytes-%07x", b"%07x 8 bytes"])
def test_many_names_are_told_apart(form: bytes) -> None:
    """More names than there are hash buckets, so that they must share."""
    count = 100_000
    rows = table(comm=[form % (index * 2654435761 % 2**28) for index in range(count)])
    expected = _where(b"aa" in name for name in rows["comm"].tolist())
    assert len(expected) > 100
    assert chosen("aa", rows) == expected


STATE_SPELLINGS = {
    # the kernel's names (include/net/tcp_states.h), ss(8)'s, netstat(8)'s, RFC 9293's
    State.ESTABLISHED: ["ESTABLISHED", "ESTAB", "estab", "tcp_established", "est"],
    State.SYN_SENT: ["SYN_SENT", "syn-sent", "SYNSENT"],
    State.FIN_WAIT1: ["FIN_WAIT1", "fin-wait-1", "FIN-WAIT-1", "finwait1", "fin_wait_1", "fin1"],
    State.FIN_WAIT2: ["FIN_WAIT2", "fin-wait-2", "FIN2"],
    State.TIME_WAIT: ["TIME_WAIT", "time-wait", "timewait", "tw"],
    State.CLOSE: ["CLOSE", "closed", "UNCONN"],
    State.CLOSE_WAIT: ["CLOSE_WAIT", "close-wait", "closewait"],
    State.LAST_ACK: ["LAST_ACK", "last-ack"],
    State.LISTEN: ["LISTEN", "listening"],
    State.CLOSING: ["CLOSING"],
    State.NEW_SYN_RECV: ["NEW_SYN_RECV", "new-syn-recv"],
    State.BOUND_INACTIVE: ["BOUND_INACTIVE", "bound-inactive"],
}
STATES = list(State)


@pytest.mark.parametrize(("state", "name"), [(s, name) for s, names in STATE_SPELLINGS.items() for name in names])
def test_state_spellings(state: State, name: str) -> None:
    assert chosen(f"state:{name}", table(state=STATES)) == [STATES.index(state)]


@pytest.mark.parametrize(
    ("text", "states"),
    [
        ("state:estab,close_wait", {State.ESTABLISHED, State.CLOSE_WAIT}),
        ("state=syn-recv", {State.SYN_RECV, State.NEW_SYN_RECV}),
        ("state:SYN_RCVD,SYN-RECEIVED", {State.SYN_RECV, State.NEW_SYN_RECV}),
        ("!state:connected", {State.LISTEN, State.CLOSE, State.BOUND_INACTIVE}),
        ("state:connected !state:synchronized", {State.SYN_SENT}),
        ("state:bucket", {State.TIME_WAIT, State.SYN_RECV, State.NEW_SYN_RECV}),
        ("!state:big", {State.TIME_WAIT, State.SYN_RECV, State.NEW_SYN_RECV}),
        ("state:all", set(State)),
    ],
)
def test_lists_and_groups_of_states(text: str, states: set[State]) -> None:
    assert {STATES[index] for index in chosen(text, table(state=STATES))} == states


def test_a_transition_has_two_states() -> None:
    rows = table(
        TRANSITION,
        oldstate=[State.SYN_SENT, State.ESTABLISHED, State.LISTEN, 200],
        newstate=[State.ESTABLISHED, State.CLOSE_WAIT, State.CLOSE, 255],
    )
    assert chosen("state:estab", rows) == [0, 1]
    assert chosen("!state:estab", rows) == [2, 3]
    assert chosen("state:close", rows) == [2]


def test_users_by_name_and_number() -> None:
    users = sorted({(entry.pw_name, entry.pw_uid) for entry in pwd.getpwall()})
    rows = table(uid=[*(uid for _, uid in users), UNKNOWN_UID])
    assert any("-" in name for name, _ in users), "such as www-data: a dash is no range here"
    for name, uid in users:
        expected = _where(other == uid for _, other in users)
        assert chosen(f"user:{name}", rows) == chosen(f"user:{uid}", rows) == chosen(f"uid:{uid}", rows) == expected
