"""The filter language against rows whose content is known."""

from __future__ import annotations

import ipaddress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import NOW, SECOND, UNKNOWN, connections, sessions, transitions, words

from tcptop_tui.errors import UsageError
from tcptop_tui.filters import FIELDS, FilterError, Subject, parse, parse_ports
from tcptop_tui.records import Flag, State

ROWS = connections(
    {"lport": 443, "rport": 1500, "comm": b"nginx", "pid": 812, "srtt_us": 20_000, "uid": 33, "retrans": 2},
    {"lport": 22, "rport": 50_000, "comm": b"sshd", "pid": 1, "raddr": "192.168.1.5", "state": State.CLOSE_WAIT},
    {"lport": 8443, "rport": 443, "comm": b"My Prog", "laddr": "::1", "raddr": "::1", "born_ns": NOW - 10 * SECOND},
    {"lport": 80, "rport": 0, "state": State.LISTEN, "tx_bytes": 5000, "rx_bytes": 3_000_000, "comm": b"\xffbad"},
    UNKNOWN,
)
RATES = np.array([0.0, 2e6, 100.0, np.nan, np.nan])


def chosen(text: str) -> list[int]:
    """Numbers of the rows that match."""
    return np.flatnonzero(parse(text).matches(Subject(ROWS, NOW, RATES, RATES))).tolist()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("443", [0, 2]),
        ("port:443,8443", [0, 2]),
        ("lport:22", [1]),
        ("sport:22", [1]),
        ("rport:1000-2000", [0]),
        ("1000-2000", [0]),
        ("443,22", [0, 1, 2]),
        ("lport>1024", [2]),
        ("pid:812", [0]),
        ("comm:nginx", [0]),
        ("NGINX", [0]),
        ("nginx,sshd", [0, 1]),
        ("/^s.hd$/", [1]),
        ("comm:/^(nginx|sshd)$/", [0, 1]),
        ('"my prog"', [2]),
        ('comm:"My Prog",sshd', [1, 2]),
        ("state:estab,close_wait", [0, 1, 2, 4]),
        ("state:CLOSE-WAIT", [1]),
        ("state:closewait", [1]),
        ("ip:192.168.0.0/16", [1]),
        ("192.168.0.0/16", [1]),
        ("::1", [2]),
        ("raddr:::1", [2]),
        ("ip:6", [2]),
        ("ip:::ffff:192.168.1.5", [1]),
        ("rtt>10ms", [0]),
        ("rtt>20ms", []),
        ("rtt>=20", [0]),
        ("rtt<1s", [0]),
        ("age>30s", [0, 1, 3]),
        ("age<=10s", [2]),
        ("instate>1s", [0, 1, 2, 3]),
        ("retrans>0", [0]),
        ("rx>1MB/s", [1]),
        ("rx>1MB", [3]),
        ("tx>=4k", [3]),
        ("user:www-data", [0]),
        ("user:33", [0]),
        ("443 !comm:nginx", [2]),
        ("!443 !22", [3, 4]),
        ("!!22", [1]),
        ("!rtt>10ms", [1, 2, 3, 4]),
    ],
)
def test_each_kind_of_term(text: str, rows: list[int]) -> None:
    assert chosen(text) == rows


@pytest.mark.parametrize("state", list(State))
def test_state_spellings(state: State) -> None:
    for spelling in (state.name, state.name.lower(), state.name.replace("_", "-"), state.name.replace("_", "")):
        assert parse(f"state:{spelling}").matches(Subject(connections({"state": state}), NOW, None, None)).all()


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("foo:1", 0, "no field 'foo'"),
        ("443 statte:listen", 4, "did you mean state?"),
        ("port:99999", 5, "65535"),
        ("port:2000-1000", 5, "wrong way round"),
        ("state:flying", 6, "no TCP state 'flying'"),
        ("rtt>fast", 4, "not a number"),
        ("rtt>10parsec", 4, "unknown unit"),
        ("!", 0, "nothing after"),
        ("port:", 5, "a value is missing"),
        ("port:1,,2", 9, "a value is missing"),
        ("comm:/(/", 5, "regular expression"),
        ("ip:10.0.0.300", 3, "not an address"),
        ("user:nobody-of-that-name", 5, "no user"),
        ('comm:"open', 0, "quotation mark"),
        ("comm>x", 5, "has no order"),
        ("x" * 1001, 1000, "longer than"),
    ],
)
def test_what_is_wrong_is_said_where_it_is(text: str, column: int, says: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    if '"open' not in text:
        assert caught.value.column == column
    assert caught.value.exit_code == 2


@given(st.text(max_size=60))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        made = parse(text)
    except FilterError as error:
        assert 0 <= error.column <= len(text)
    else:
        made.matches(Subject(ROWS, NOW, RATES, None))


def examples() -> list[str]:
    """Every example of the help."""
    return [example for field in FIELDS for example in field.example.split() if not example.startswith("user")]


@pytest.mark.parametrize("example", examples())
def test_examples_of_the_help_parse(example: str) -> None:
    assert parse(example).text == example


@given(st.lists(st.sampled_from(examples()), min_size=1, max_size=4))
def test_and_and_not(terms: list[str]) -> None:
    subject = Subject(ROWS, NOW, RATES, RATES)
    each = [parse(term).matches(subject) for term in terms]
    assert (parse(" ".join(terms)).matches(subject) == np.logical_and.reduce(each)).all()
    assert (parse(f"!{terms[0]}").matches(subject) == ~each[0]).all()


@given(st.ip_addresses(), st.integers(0, 128))
def test_networks_are_those_of_ipaddress(address: ipaddress.IPv4Address | ipaddress.IPv6Address, length: int) -> None:
    prefix = min(length, address.max_prefixlen)
    network = ipaddress.ip_network((address, prefix), strict=False)
    others = [address, network.network_address, network.broadcast_address]
    flipped = int(address) ^ (1 << max(0, address.max_prefixlen - prefix))
    if flipped < 2**address.max_prefixlen and prefix:
        others.append(type(address)(flipped))
    rows = connections(*({"laddr": str(other)} for other in others))
    # an IPv4-mapped IPv6 address is IPv4 here
    if address.version == 6 and any(other.ipv4_mapped for other in others):  # type: ignore[union-attr]
        return
    expected = [other in network for other in others]
    assert parse(f"laddr:{network}").matches(Subject(rows, NOW, None, None)).tolist() == expected


def test_transitions_and_sessions() -> None:
    log = transitions({"oldstate": State.ESTABLISHED, "newstate": State.CLOSE_WAIT}, {"spent_ns": 10})
    subject = Subject(log, NOW, None, None)
    assert parse("state:close_wait").matches(subject).tolist() == [True, False]
    assert parse("state:established").matches(subject).tolist() == [True, True]
    assert parse("instate>1s").matches(subject).tolist() == [True, False]
    assert not parse("rx>0/s").matches(subject).any()
    ended = sessions({"born_ns": NOW - SECOND}, {"flags": Flag.GAUGES, "rx_bytes": 10})
    subject = Subject(ended, NOW + 100 * SECOND, None, None)
    assert parse("age<2s").matches(subject).tolist() == [True, False]
    assert parse("rx>5").matches(subject).tolist() == [False, True]


def test_no_rows() -> None:
    for example in examples():
        assert parse(example).matches(Subject(connections(), NOW, None, None)).shape == (0,)


def test_port_lists() -> None:
    assert parse_ports("22,80,8000-8002") == {22, 80, 8000, 8001, 8002}
    assert parse_ports("") == frozenset()
    for bad in ("x", "0", "70000", "5-1", "1-"):
        with pytest.raises(UsageError):
            parse_ports(bad)


def test_words_of_the_test_itself() -> None:
    assert words("10.0.0.1") == (0, 0xFFFF_0A00_0001)
