"""Tells which name was likely looked up for an address, from the DNS answers that came in.

Not seen: answers over TCP, TLS or HTTPS, those of more than 512 bytes, and names in /etc/hosts.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype

from tcptop_tui import safe_text
from tcptop_tui.records import IPV4_MAPPED

Words: TypeAlias = tuple[int, int]
"""The halves of an address in its IPv6 form."""

MOST_NAMES = 10_240
MAX_AGE_S = 86_400.0
"""As many and as long as bcc's tcpconnect keeps them."""


def _alias_names(message: dns.message.Message) -> set[dns.name.Name]:
    """The name that was asked for and what its aliases lead to, in whatever order they stand."""
    names = {message.question[0].name}
    aliases = [(records.name, data.target) for records in message.answer
               if records.rdtype == dns.rdatatype.CNAME for data in records]  # fmt: skip
    for _ in aliases:  # a chain is no longer than this; circles end here
        more = {target for owner, target in aliases if owner in names} - names
        if not more:
            break
        names |= more
    return names


def addresses_in_answer(payload: bytes) -> Iterator[tuple[Words, str]]:
    """Each address of an answer, with the name that was asked for, also if the answer follows aliases.

    A payload that is not an answer has no addresses: anybody can send anything from port 53.
    """
    try:
        message = dns.message.from_wire(payload, ignore_trailing=True)
        if not message.flags & dns.flags.QR or not message.question:
            return
        name = safe_text.clean(message.question[0].name.to_text(omit_final_dot=True))
        names = _alias_names(message)
        found = [
            ipaddress.ip_address(data.address)
            for records in message.answer
            if records.rdtype in {dns.rdatatype.A, dns.rdatatype.AAAA}
            and records.rdclass == dns.rdataclass.IN
            and records.name in names  # others were not asked for: anybody may add them
            for data in records
        ]
    except (dns.exception.DNSException, ValueError, AttributeError):
        return
    for address in found:
        number = int(address) if address.version == 6 else IPV4_MAPPED | int(address)
        yield (number >> 64, number & (2**64 - 1)), name


class DnsNameCache:
    """The latest name of each address."""

    def __init__(self) -> None:
        self._names: OrderedDict[Words, tuple[str, int]] = OrderedDict()

    def add_answers(self, payloads: Iterable[tuple[int, bytes]]) -> None:
        """Take in answers: CLOCK_MONOTONIC in ns, and payload. The oldest names make room."""
        for ts_ns, payload in payloads:
            for words, name in addresses_in_answer(payload):
                self._names[words] = (name, ts_ns)
                self._names.move_to_end(words)
        while len(self._names) > MOST_NAMES:
            self._names.popitem(last=False)

    def name_of(self, words: Words, ts_ns: int) -> tuple[str, float] | None:
        """Name of an address at ``ts_ns`` and the answer's age in s; None when none was seen, or long ago."""
        known = self._names.get(words)
        if known is None:
            return None
        age_s = max(0, ts_ns - known[1]) / 1e9
        return (known[0], age_s) if age_s <= MAX_AGE_S else None
