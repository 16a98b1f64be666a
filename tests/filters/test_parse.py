"""What the filter language accepts, and what it says about the rest."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tcptop_tui.errors import UsageError
from tcptop_tui.filters import FIELDS, MATCH_ALL, FilterError, RowContext, parse, parse_ports
from tcptop_tui.records import ROW
from tcptop_tui.settings import MAX_FILTER_CHARS

ISSUE_EXAMPLES = [
    "443",
    "port:443,8443",
    "lport:22",
    "rport:1000-2000",
    "pid:812",
    "comm:nginx",
    "nginx",
    "state:estab,close_wait",
    "ip:10.0.0.0/8",
    "raddr:::1",
    "rtt>10ms",
    "age>1m",
    "retrans>0",
    "rx>1MB/s",
    "user:root",
]

SNIPPETS = [
    *(name for field in FIELDS for name in field.names),
    *'!,:<>=/"\\-.*([]{}%|&46',
    *(">=", "<=", "==", "!=", "&&", "443", "65536", "10.0.0.0/8", "::1", "[::1]", "1.5", "ms", "GB", "/s"),
    *("estab", "time-wait", "root", "nginx", "é", "\x1b[31m", "\u202e", "\t", "\ud800", " ", "  "),
]
TEXTS = st.one_of(st.text(max_size=40), st.lists(st.sampled_from(SNIPPETS), max_size=12).map("".join))


@pytest.mark.parametrize("text", [*ISSUE_EXAMPLES, *(field.example for field in FIELDS)])
def test_documented_examples_parse(text: str) -> None:
    assert parse(text).text == " ".join(text.split())


@given(TEXTS)
@example("comm:/a{99999999999}/")
@example("comm:/" + "(" * 900 + ")" * 90 + "/")
@example("/[[a]/")
@example("rtt>" + "9" * 900)
@example("age>" + "1d" * 400)
@example("!" * 1000)
@example("user:\x00")
@example("x" * 1001)
def test_any_text_parses_or_has_one_line_about_a_place(text: str) -> None:
    try:
        chosen = parse(text)
    except FilterError as error:
        complaint = error
    else:
        assert chosen.matches(RowContext(np.zeros(3, ROW), 1, None, None)).shape == (3,)
        return
    assert 0 <= complaint.column <= len(text)
    assert f"column {complaint.column + 1}:" in str(complaint)
    assert str(complaint).isprintable()
    assert len(str(complaint)) < 300


@given(TEXTS)
def test_normalised_text_means_the_same_and_stays(text: str) -> None:
    try:
        chosen = parse(text)
    except FilterError:
        return
    assert parse(chosen.text).text == chosen.text


@pytest.mark.parametrize(
    ("typed", "normalised"),
    [
        ("", ""),
        (" \t\n ", ""),
        ("  443\t nginx\n", "443 nginx"),
        ("rtt > 10ms", "rtt>10ms"),
        ("pid == 7", "pid=7"),
        ("443, 8443", "443,8443"),
        ("!!22", "22"),
        ("! !! port:22", "!port:22"),
        ('comm:"a  b",c', 'comm:"a  b",c'),
        ("/a b, c/ 1", "/a b, c/ 1"),
    ],
)
def test_blanks_that_mean_nothing_are_dropped(typed: str, normalised: str) -> None:
    assert parse(typed).text == normalised


def test_filters_are_equal_when_their_texts_are() -> None:
    assert parse(" 443 ") == parse("443")
    assert parse("443") != parse("444")
    assert parse("  ") == MATCH_ALL
    assert hash(parse("443")) == hash(parse("443 "))


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("prot:443", 0, "did you mean port"),
        ("nginx stat:estab", 6, "did you mean state"),
        ("qqq:1", 0, "use port, pid, comm"),
        ("10.0.0.1:443", 0, "ip:10.0.0.1 port:443"),
        ("ip:10.0.0.1:443", 3, "ip:10.0.0.1 port:443"),
        ("[fe80::1]:443", 0, "ip:fe80::1 port:443"),
        ("10.0.0", 0, "not an address"),
        ("ip:10.0.0.0/33", 3, "not an address"),
        ("fe80::/200", 0, "not an address"),
        ("raddr:fe80::1%", 6, "as in fe80::1%eth0"),
        ("10.0.0.1%eth0:443", 0, "ip:10.0.0.1%eth0 port:443"),
        ("fe80:::1%eth0", 0, "not an address"),
        ("dev:/eth/", 4, "only comm"),
        ("dev>eth0", 4, "not a whole number"),
        ("laddr:4", 6, "not an address"),
        ("port:443,99999", 9, "65535"),
        ("port:" + "1" * 900, 5, "65535"),
        ("70000", 0, "65535"),
        ("0", 0, "0 is not a port"),
        ("2000-1000", 0, "write 1000-2000"),
        ("rport:1000-", 11, "not a port number"),
        ("port:٣", 5, "not a port number"),
        ("pid:1.5", 4, "not a whole number"),
        ("retrans>-1", 8, "not a whole number"),
        ("pid:18446744073709551616", 4, "too large"),
        ("rtt>10parsec", 4, "unknown unit 'parsec'"),
        ("age>1h30", 4, "without a unit"),
        ("rtt>fast", 4, "not a number"),
        ("rx>1MB/h", 3, "not a number"),
        ("rx:1MB/s-2MB", 3, "not a rate"),
        ("state:estb", 6, "did you mean estab"),
        ("state>estab", 6, "use ':'"),
        ("comm>a", 5, "no order"),
        ("user:no-such-user!", 5, "no user 'no-such-user!'"),
        ("rtt>10ms,20ms", 9, "one value"),
        ("rport!=443", 5, "write !rport:443"),
        ("state:!estab", 6, "before a whole term"),
        ("port:80 or port:443", 8, "comma"),
        ("comm:", 5, "missing"),
        ("rtt>", 4, "missing"),
        ("443,", 4, "missing"),
        ("443,,80", 4, "missing"),
        (",443", 0, "missing"),
        ("!", 0, "nothing after"),
        (">5", 0, "no field"),
        (":443", 0, "no field"),
        ('comm:"a b', 5, "without its partner"),
        ("comm:/a", 5, "without its partner"),
        ('comm:a"b"', 6, "quote the whole value"),
        ('comm:"a"b', 8, "follows"),
        ('""', 0, "missing"),
        ("comm:/(/", 5, "regular expression is wrong"),
        ("comm:/^(?!ng)/", 5, "no look-around"),
        (r"comm:/(a)\1/", 5, "no back-references"),
        (r"comm:/(\pL{1000}){1000}/", 5, "regular expression is wrong"),
        (r"comm:/\pL{1000}/", 5, "too large"),
        ("port:/80/", 5, "only comm"),
        ("comm:sixteen-letters-", 5, "15 bytes"),
        ("comm:\x1b[2J", 5, "control character"),
        ("1" * (MAX_FILTER_CHARS + 1), MAX_FILTER_CHARS, "1000 characters"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_complaints_name_the_place_and_the_remedy(text: str, column: int, said: str) -> None:
    with pytest.raises(FilterError, match=said) as caught:
        parse(text)
    assert caught.value.column == column
    assert isinstance(caught.value, UsageError)


def test_other_operators_can_still_be_process_names() -> None:
    for word in ("and", "or", "not", "&&", "||"):
        with pytest.raises(FilterError):
            parse(word)
        assert parse(f'"{word}"').text == f'"{word}"'


def test_no_field_can_be_taken_for_an_address() -> None:
    names = [name for field in FIELDS for name in field.names]
    assert len(names) == len(set(names))
    assert not [name for name in names if re.fullmatch("[0-9a-f]{1,4}", name)]


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("", set()),
        ("  ", set()),
        ("22", {22}),
        ("22,80,8000-8003", {22, 80, 8000, 8001, 8002, 8003}),
        (" 22 , 80-80 ", {22, 80}),
        ("1,65535", {1, 65535}),
    ],
)
def test_port_lists(text: str, ports: set[int]) -> None:
    assert parse_ports(text) == ports


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("x", 0), ("22,,80", 3), ("22,", 3), ("22, 65536", 4), ("22,0", 3), ("0-5", 0), ("9-8", 0), ("-5", 0),
        ("5-", 2), ("80;81", 0), ("9" * 5000, 0), ("22,\x1b", 3),
    ],
    ids=lambda value: ascii(value)[:40],
)  # fmt: skip
def test_wrong_port_lists(text: str, column: int) -> None:
    with pytest.raises(FilterError, match=f"^ports, column {column + 1}: ") as caught:
        parse_ports(text)
    assert caught.value.column == column
    assert str(caught.value).isprintable()
