"""What the kernel here does not say: hand-made messages, against a slow parser and through a fake kernel."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcptop_tui.diag import netlink
from tcptop_tui.diag.decode_rows import decode_rows
from tcptop_tui.diag.messages import decode, message_runs
from tcptop_tui.diag.netlink import SockDiag
from tcptop_tui.errors import BackendUnavailable
from tcptop_tui.records import Flag, Rows, State


def text(address: np.ndarray) -> str:
    return str(ipaddress.IPv6Address(int(address[0]) << 64 | int(address[1])))


def message(kind: int, body: bytes, flags: int = 2) -> bytes:
    padding = bytes(-len(body) % 4)
    return struct.pack("<IHHII", 16 + len(body), kind, flags, 1, 0) + body + padding


def attribute(kind: int, body: bytes) -> bytes:
    return struct.pack("<HH", 4 + len(body), kind) + body + bytes(-len(body) % 4)


def described(cookie: int, attributes: bytes = b"", state: int = State.ESTABLISHED, expires_ms: int = 0) -> bytes:
    addresses = socket.inet_aton("10.1.2.3") + bytes(12) + socket.inet_aton("10.3.2.1") + bytes(12)
    ports = struct.pack(">HH", 443, 50000)
    tail = struct.pack("<IQIIIII", 0, cookie, expires_ms, 0, 0, 7, 99)
    timer = 3 if state == State.TIME_WAIT else 0
    return bytes([socket.AF_INET, state, timer, 0]) + ports + addresses + tail + attributes


def tcp_info(rtt_us: int, sent: int, repeated: int, received: int, size: int = 248) -> bytes:
    info = bytearray(248)
    struct.pack_into("<I", info, 68, rtt_us)
    struct.pack_into("<QQ", info, 120, max(0, sent - repeated), received)
    struct.pack_into("<QQ", info, 200, sent, repeated)
    return bytes(info[:size])


def places(data: np.ndarray) -> np.ndarray:
    return np.array(
        [
            o + i * size
            for o, size, count, kind in message_runs(data)
            for i in range(count)
            if kind == 20 and size >= 88
        ],
        np.intp,
    )


def slow_infos(data: bytes) -> list[tuple[int, bytes, int]]:
    """(cookie, tcp_info, cgroup) of each message, one after the other and byte by byte."""
    result, offset = [], 0
    while offset + 16 <= len(data):
        length, kind = struct.unpack_from("<IH", data, offset)
        end = offset + length
        if length < 16 or offset + (length + 3) // 4 * 4 > len(data):
            break
        if kind == 20 and (length + 3) // 4 * 4 >= 88:
            info, cgroup, at = b"", 0, offset + 88
            while at + 4 <= end:
                size, what = struct.unpack_from("<HH", data, at)
                if size < 4 or at + size > end:
                    break
                if what == 2:
                    info = data[at + 4 : at + size]
                    break
                if what == 21:
                    cgroup = struct.unpack_from("<Q", data, at + 4)[0] if size == 12 else 0
                at += (size + 3) // 4 * 4
            result.append((struct.unpack_from("<Q", data, offset + 16 + 44)[0], info, cgroup))
        offset += (length + 3) // 4 * 4
    return result


ATTRIBUTES = st.lists(
    st.tuples(st.sampled_from([1, 2, 2, 5, 8, 15, 21]), st.binary(max_size=260) | st.binary(min_size=8, max_size=8)),
    max_size=4,
)
MESSAGES = st.lists(st.tuples(st.integers(0, 2**64 - 1), ATTRIBUTES, st.sampled_from([20, 20, 20, 4])), max_size=12)


def same_as_slow(data: bytes) -> None:
    array = np.frombuffer(data, "u1")
    sockets = decode(array, places(array))
    expected = slow_infos(data)
    assert sockets.messages["cookie"].view("<u8").tolist() == [cookie for cookie, *_ in expected]
    assert sockets.info_bytes.tolist() == [len(info) for _, info, _ in expected]
    assert sockets.cgroups.tolist() == [cgroup for *_, cgroup in expected]
    for name, start, width in [("unacked", 24, 4), ("rtt_us", 68, 4), ("total_retrans", 100, 4),
                               ("bytes_acked", 120, 8), ("bytes_received", 128, 8), ("notsent_bytes", 144, 4),
                               ("bytes_sent", 200, 8), ("bytes_retrans", 208, 8)]:  # fmt: skip
        whole = [info[start : start + width] if len(info) >= start + width else b"" for _, info, _ in expected]
        assert sockets.infos[name].tolist() == [int.from_bytes(value, "little") for value in whole]


@pytest.mark.parametrize("size", [0, 71, 72, 103, 104, 135, 136, 207, 208, 215, 216, 217])
def test_a_tcp_info_cut_anywhere_is_read_as_far_as_it_goes(size: int) -> None:
    same_as_slow(message(20, described(1, attribute(2, bytes([255]) * size) + attribute(9, bytes([255]) * 300))))


@given(MESSAGES)
def test_mixed_messages_are_read_as_a_slow_parser_reads_them(messages: list[Any]) -> None:
    same_as_slow(
        b"".join(
            message(kind, described(cookie, b"".join(attribute(what, body) for what, body in attributes)))
            for cookie, attributes, kind in messages
        )
    )


@given(MESSAGES, st.data())
def test_damaged_messages_are_read_alike(messages: list[Any], data: st.DataObject) -> None:
    whole = bytearray(
        b"".join(message(kind, described(cookie, attribute(2, b"".join(body for _, body in attributes))))
                 for cookie, attributes, kind in messages)
    )  # fmt: skip
    for _ in range(4 if whole else 0):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    same_as_slow(bytes(whole[:cut]))


@given(st.binary(max_size=400))
def test_any_bytes_are_survived(data: bytes) -> None:
    array = np.frombuffer(data, "u1")
    rows = decode_rows(decode(array, places(array)), 10**9, 1)
    assert len(rows) <= len(data) // 88


def rows_of(*bodies: bytes, now_ns: int = 10**12) -> Rows:
    array = np.frombuffer(b"".join(message(20, body) for body in bodies), "u1")
    return decode_rows(decode(array, places(array)), now_ns, 1)


def test_an_older_kernels_tcp_info_gives_what_it_has() -> None:
    full = described(1, attribute(2, tcp_info(250, 1000, 100, 5)))
    older = described(2, attribute(2, tcp_info(250, 1000, 100, 5, size=192)))
    oldest = described(3, attribute(2, tcp_info(250, 1000, 100, 5, size=60)))
    rows = rows_of(full, older, oldest)
    assert rows["flags"].tolist() == [Flag.GAUGES, 0, 0]
    assert rows["tx_bytes"].tolist() == [900, 0, 0]
    assert rows["rx_bytes"].tolist() == [5, 0, 0]
    assert rows["srtt_us"].tolist() == [250, 250, 0]
    assert text(rows["laddr"][0]) == str(ipaddress.IPv6Address("::ffff:10.1.2.3"))


@pytest.mark.parametrize("state", [State.CLOSE_WAIT, State.LAST_ACK, State.CLOSING])
def test_the_fin_is_taken_off_after_it_came(state: State) -> None:
    row = rows_of(described(1, attribute(2, tcp_info(9, 4, 6, 21)), state))[0]
    assert (row["rx_bytes"], row["tx_bytes"]) == (20, 0)  # more repeated than sent never goes below 0


@pytest.mark.parametrize(
    ("now_s", "left_ms", "since_s"), [(1000, 60_000, 1000), (1000, 45_000, 985), (20, 10_000, 0), (1000, 90_000, 1000)]
)
def test_time_wait_began_60_s_before_its_end(now_s: int, left_ms: int, since_s: int) -> None:
    row = rows_of(described(1, state=State.TIME_WAIT, expires_ms=left_ms), now_ns=now_s * 10**9)[0]
    assert row["state_ns"] == since_s * 10**9


DONE = message(3, struct.pack("<i", 0))
Fake = Callable[..., SockDiag]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """Makes a SockDiag whose kernel is the test: each answer is one read."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def make(*answers: bytes) -> SockDiag:
        for answer in answers:
            theirs.send(answer)
        with monkeypatch.context() as patched:
            patched.setattr(netlink.socket, "socket", lambda *_: ours)
            return SockDiag(netns=5)

    yield make
    ours.close()
    theirs.close()


def test_of_two_readings_of_one_socket_the_later_counts(fake: Fake) -> None:
    early = message(20, described(8, state=State.BOUND_INACTIVE))
    late = message(20, described(8, attribute(2, tcp_info(1, 2, 0, 3))))
    rows = fake(DONE, DONE, early, message(20, described(9)) + late, DONE, DONE).dump().rows
    assert rows["cookie"].tolist() == [9, 8]
    assert rows["state"].tolist() == [State.ESTABLISHED, State.ESTABLISHED]
    assert rows["netns"].tolist() == [5, 5]


def test_sockets_without_a_cookie_are_all_kept(fake: Fake) -> None:
    assert len(fake(DONE, DONE, message(20, described(0)) * 3 + DONE, DONE).dump().rows) == 3


@pytest.mark.parametrize("marked", [message(3, bytes(4), flags=0x12), message(20, described(1), flags=0x12) + DONE])
def test_an_interrupted_dump_is_asked_for_again(fake: Fake, marked: bytes) -> None:
    good = message(20, described(2)) + DONE
    assert fake(DONE, DONE, marked, good, DONE).dump().rows["cookie"].tolist() == [2]


def test_but_not_for_ever(fake: Fake) -> None:
    marked = message(20, described(1), flags=0x12) + DONE
    assert fake(DONE, DONE, *[marked] * 3, DONE).dump().rows["cookie"].tolist() == [1]


def test_a_kernel_without_ipv6_has_ipv4(fake: Fake) -> None:
    lacking = message(2, struct.pack("<i", -errno.ENOENT))
    assert fake(DONE, lacking, message(20, described(4)) + DONE).dump().rows["cookie"].tolist() == [4]


@pytest.mark.parametrize("kind", [2, 3])
def test_a_refusal_later_says_why(fake: Fake, kind: int) -> None:
    diag = fake(DONE, DONE, message(kind, struct.pack("<i", -errno.EPERM)))
    with pytest.raises(BackendUnavailable, match="Operation not permitted"):
        diag.dump()


def test_a_kernel_without_tcp_diag_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink.socket, "IPPROTO_TCP", 253)  # for experiments (RFC 3692): nobody answers for it
    with pytest.raises(BackendUnavailable, match="modprobe tcp_diag"):
        SockDiag()
