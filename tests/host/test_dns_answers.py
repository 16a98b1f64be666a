"""Names from DNS answers: whatever a stranger sends, and what a resolver really says."""

from __future__ import annotations

import csv
import socket
import struct
import threading
from collections.abc import Iterator

import dns.message
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcptop_tui.bpf.packets import DnsProbe
from tcptop_tui.host.dns_answers import MAX_AGE_S, MOST_NAMES, DnsNameCache, addresses_in_answer
from tests.support.samples import words
from tests.support.sockets import listening, port
from tests.support.trace_process import streaming

pytestmark = pytest.mark.host

SERVER = ("127.0.0.99", 53)
SECOND = 10**9


def reply(name: str, *records: str, query: bytes | None = None) -> bytes:
    """An answer with ``records`` (owner, type, data)."""
    question = dns.message.from_wire(query) if query else dns.message.make_query(name, "A")
    message = dns.message.make_response(question)
    for record in records:
        owner, kind, data = record.split()
        message.answer.append(dns.rrset.from_text(owner, 60, "IN", kind, data))
    return message.to_wire()


def test_aliases_lead_back_to_what_was_asked() -> None:
    payload = reply("www.example.org", "www.example.org. CNAME cdn.example.net.", "cdn.example.net. A 192.0.2.1",
                    "cdn.example.net. AAAA 2001:db8::1")  # fmt: skip
    assert dict(addresses_in_answer(payload)) == {
        words("192.0.2.1"): "www.example.org",
        words("2001:db8::1"): "www.example.org",
    }


def test_what_was_not_asked_for_is_not_learnt() -> None:
    payload = reply("evil.test", "evil.test. A 192.0.2.1", "bank.test. A 192.0.2.9", "x.test. CNAME evil.test.")
    assert dict(addresses_in_answer(payload)) == {words("192.0.2.1"): "evil.test"}


def test_a_circle_of_aliases_ends() -> None:
    assert not list(addresses_in_answer(reply("a.test", "a.test. CNAME b.test.", "b.test. CNAME a.test.")))


def test_a_query_is_no_answer() -> None:
    assert not list(addresses_in_answer(dns.message.make_query("example.org", "A").to_wire()))


@given(st.binary(max_size=512))
def test_any_bytes(payload: bytes) -> None:
    for _, name in addresses_in_answer(payload):
        assert name.isprintable()


@given(st.integers(0, 60), st.binary(min_size=1, max_size=4))
def test_damaged_answers(place: int, noise: bytes) -> None:
    payload = bytearray(reply("a.example", "a.example. A 192.0.2.1"))
    payload[place : place + len(noise)] = noise
    for _, name in addresses_in_answer(bytes(payload)):
        assert name.isprintable()


def test_the_newest_name_counts_and_old_ones_go() -> None:
    cache = DnsNameCache()
    cache.add_answers([(SECOND, reply("old", "old. A 192.0.2.1")), (2 * SECOND, reply("new", "new. A 192.0.2.1"))])
    assert cache.name_of(words("192.0.2.1"), 5 * SECOND) == ("new", 3.0)
    assert cache.name_of(words("192.0.2.1"), 3 * SECOND + int(MAX_AGE_S) * SECOND) is None
    assert cache.name_of(words("192.0.2.2"), 0) is None
    cache.add_answers(
        (SECOND, reply("x", f"x. A 10.{number >> 16}.{number >> 8 & 255}.{number & 255}"))
        for number in range(MOST_NAMES)
    )
    assert cache.name_of(words("192.0.2.1"), SECOND) is None


@pytest.mark.usefixtures("bpf_possible")
def test_memory_behind_a_packet_is_not_read() -> None:
    """Its length claims 400 bytes more than came; the whole one behind it shows that the probe looks."""
    probe = DnsProbe()
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
        for claimed in (405, 5):
            raw.sendto(struct.pack("!HHHH", 53, 40000, 8 + claimed, 0) + b"probe", ("127.0.0.1", 0))
    payloads = [payload for _, payload in probe.drain()]
    probe.close()
    assert [payload for payload in payloads if payload.startswith(b"probe")] == [b"probe"]


@pytest.fixture
def resolver() -> Iterator[None]:
    """A name server for one query, on a loopback address of its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(SERVER)

        def serve() -> None:
            query, client = server.recvfrom(512)
            server.sendto(reply("", "probe.test. A 127.0.0.78", query=query), client)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


@pytest.mark.usefixtures("bpf_possible", "resolver")
def test_trace_connect_shows_the_name_that_was_looked_up() -> None:
    with listening() as server, streaming("connect", "-s", "-d", "-P", str(port(server))) as stream:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(SERVER)
            client.send(dns.message.make_query("probe.test", "A").to_wire())
            assert client.recv(512)
        with socket.socket() as any_address:
            any_address.bind(("127.0.0.78", 0))
            any_address.listen()
        for host in ("127.0.0.78", "127.0.0.1"):
            with socket.socket() as caller:
                caller.connect_ex((host, port(server)))
        stream.end()
    rows = {row[4]: row[6] for row in csv.reader(stream.lines)}
    assert rows == {"127.0.0.78": "probe.test", "127.0.0.1": ""}
