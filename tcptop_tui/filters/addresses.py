"""Addresses and networks, in the records' form: IPv6, with IPv4 as ``::ffff:a.b.c.d``."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from tcptop_tui.filters.errors import FilterError, quoted_for_message
from tcptop_tui.filters.lexer import Value, is_ipv6_like
from tcptop_tui.records import IPV4_MAPPED

_MAPPED_BITS = 96
_WORD = 2**64 - 1
_IPV4_LIKE = re.compile(r"[0-9]+(?:\.[0-9.]*(?:[/%].*)?|/.*)")
_BEGUN_IPV4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){0,2}\.|[0-9]{1,3}(?:\.[0-9]{1,3}){1,2}")
_BEGUN_IPV6 = re.compile(r"(?:[0-9A-Fa-f]{1,4}:){1,6}(?:[0-9A-Fa-f]{1,4}|:)?")
_WITH_PORT = re.compile(r"(\[[^]]+\]|[0-9.]+)(%[^:]+)?:([0-9]+)")


@dataclass(frozen=True, slots=True)
class Network:
    """All addresses that have the bits ``words`` under ``mask_words`` (high, low)."""

    words: tuple[int, int]
    mask_words: tuple[int, int]
    without_ipv4: bool
    """An IPv6 network so large that the IPv4-mapped addresses lie inside: they do not belong to it."""


def looks_like_address(text: str) -> bool:
    """Whether it can only be meant as an address or network, right or wrong."""
    return _IPV4_LIKE.fullmatch(text) is not None or is_ipv6_like(text)


def split_port(text: str) -> tuple[str, str] | None:
    """Address and port of ``10.0.0.1%eth0:443`` or ``[::1]:443``, as ss prints them; None when it is not so."""
    found = _WITH_PORT.fullmatch(text)
    return (found[1].strip("[]") + (found[2] or ""), found[3]) if found else None


def network_from_prefix(text: str) -> str:
    """The network of all addresses that begin so: ``192.168.`` is 192.168.0.0/16; empty: it is no beginning of one."""
    if _BEGUN_IPV4.fullmatch(text):
        octets = text.rstrip(".").split(".")
        network = ".".join([*octets, *["0"] * (4 - len(octets))]) + f"/{8 * len(octets)}"
    elif _BEGUN_IPV6.fullmatch(text):
        groups = text.removesuffix("::").rstrip(":").split(":")
        network = ":".join([*groups, *["0"] * (8 - len(groups))]) + f"/{16 * len(groups)}"
    else:
        return ""
    try:
        return str(ipaddress.ip_network(network))
    except ValueError:
        return ""


def read_network(value: Value) -> Network:
    """``10.0.0.1``, ``10.0.0.0/8``, ``::1``, ``[::1]``, ``fe80::/10``; host bits are dropped.

    Raises:
        FilterError: neither an address nor a network.
    """
    text = value.text
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise _no_address(value) from None
    bits, prefix = int(found.network_address), found.prefixlen
    if found.version == 4:
        bits, prefix = bits | IPV4_MAPPED, prefix + _MAPPED_BITS
    mask = (1 << 128) - (1 << (128 - prefix))
    without_ipv4 = prefix < _MAPPED_BITS and IPV4_MAPPED & mask == bits
    return Network((bits >> 64, bits & _WORD), (mask >> 64, mask & _WORD), without_ipv4)


def _no_address(value: Value) -> FilterError:
    parted = split_port(value.text)
    hint = f"write ip:{parted[0]} port:{parted[1]}" if parted else "as in 10.0.0.1, 10.0.0.0/8, ::1"
    return value.error(f"{quoted_for_message(value.text)} is not an address or network", hint)
