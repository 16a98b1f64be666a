"""Parses addresses and networks into the form of records: IPv6, with IPv4 as ``::ffff:a.b.c.d``."""

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
_IPV4_PREFIX = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){0,2}\.|[0-9]{1,3}(?:\.[0-9]{1,3}){1,2}")
_IPV6_PREFIX = re.compile(r"(?:[0-9A-Fa-f]{1,4}:){1,6}(?:[0-9A-Fa-f]{1,4}|:)?")
_WITH_PORT = re.compile(r"(\[[^]]+\]|[0-9.]+)(%[^:]+)?:([0-9]+)")


@dataclass(frozen=True, slots=True)
class Network:
    """All addresses whose bits under ``mask_words`` are ``words``; both are two words, high and low."""

    words: tuple[int, int]
    mask_words: tuple[int, int]
    without_ipv4: bool
    """It is an IPv6 network so large that the IPv4-mapped addresses are inside; they are not matched."""


def looks_like_address(text: str) -> bool:
    """Whether a text can only be meant as an address or network, be it a valid one or not."""
    return _IPV4_LIKE.fullmatch(text) is not None or is_ipv6_like(text)


def split_port(text: str) -> tuple[str, str] | None:
    """Address and port of ``10.0.0.1%eth0:443`` or ``[::1]:443``, as ss prints them; None for any other text."""
    match = _WITH_PORT.fullmatch(text)
    return (match[1].strip("[]") + (match[2] or ""), match[3]) if match else None


def network_from_prefix(text: str) -> str:
    """The network of all addresses that begin with a text: 192.168.0.0/16 for ``192.168.``; empty if there is none."""
    if _IPV4_PREFIX.fullmatch(text):
        octets = text.rstrip(".").split(".")
        network = ".".join([*octets, *["0"] * (4 - len(octets))]) + f"/{8 * len(octets)}"
    elif _IPV6_PREFIX.fullmatch(text):
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
        FilterError: the value is neither an address nor a network.
    """
    text = value.text
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise _no_address(value) from None
    bits, prefix = int(network.network_address), network.prefixlen
    if network.version == 4:
        bits, prefix = bits | IPV4_MAPPED, prefix + _MAPPED_BITS
    mask = (1 << 128) - (1 << (128 - prefix))
    without_ipv4 = prefix < _MAPPED_BITS and IPV4_MAPPED & mask == bits
    return Network((bits >> 64, bits & _WORD), (mask >> 64, mask & _WORD), without_ipv4)


def _no_address(value: Value) -> FilterError:
    endpoint = split_port(value.text)
    hint = f"write ip:{endpoint[0]} port:{endpoint[1]}" if endpoint else "as in 10.0.0.1, 10.0.0.0/8, ::1"
    return value.error(f"{quoted_for_message(value.text)} is not an address or network", hint)
