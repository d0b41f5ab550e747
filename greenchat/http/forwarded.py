"""The client's address and scheme behind HTTP proxies, which name them in headers."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import NamedTuple

from greenchat.http.call import Headers
from greenchat.protocol.addresses import display, host_of, plain

Networks = Sequence[IPv4Network | IPv6Network]


class Client(NamedTuple):
    """The client of a request.

    Attributes:
        address: ``HOST:PORT``; the port is 0 where no proxy has told it.
        secure: it came by https.
    """

    address: str
    secure: bool


def client_of(peer: str, secure: bool, headers: Headers, proxies: Networks) -> Client:
    """Return the client of a request.

    Each proxy adds the address that it was called from to the right of the list.  So the list is read from
    the right, for as long as the address before was one of our proxies'.  The first one that is not, or that
    is no address, ends the search: everything to the left of it may be invented.

    Args:
        peer: ``HOST:PORT`` of the other end of the connection.
        secure: TLS protects the connection.
        headers: of the request; believed only from one of the proxies.
        proxies: their networks.

    Example: with the proxies 10.0.0.0/8, ``X-Forwarded-For: 1.1.1.1, 203.0.113.7, 10.0.0.2`` from 10.0.0.1
    is a request of 203.0.113.7, whatever that client wrote.
    """
    if not is_among(host_of(peer), proxies):
        return Client(peer, secure)
    found = peer
    for text in reversed(_hops(headers)):
        address = read_address(text)
        if address is None:
            break
        found = address
        if not is_among(host_of(address), proxies):
            break
    return Client(found, _scheme(headers) == "https" if _scheme(headers) else secure)


def is_among(host: str, networks: Networks) -> bool:
    """Return True if an address is in one of these networks."""
    address = ip_address(host)
    return any(address in network for network in networks)


def read_address(text: str) -> str | None:
    """Read an address with or without a port, IPv6 in brackets or plain; return ``HOST:PORT``.

    Returns:
        None if it is none (``unknown``, or an obfuscated name: RFC 7239, 6).
    """
    text = text.strip().strip('"')
    host, port = text, ""
    if text.startswith("["):
        host, end, port = text[1:].partition("]")
        if not end:
            return None
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        host, port = text.split(":")
    try:
        if "%" in host:  # a scope means nothing here
            return None
        parsed = plain(str(getattr(ip_address(host), "ipv4_mapped", None) or ip_address(host)))
    except ValueError:
        return None
    number = int(port) if port.isascii() and port.isdecimal() and len(port) <= 5 else 0
    return display((parsed, number if number <= 65_535 else 0))


def _hops(headers: Headers) -> list[str]:
    """Return the addresses that proxies have added, in order; X-Forwarded-For goes before Forwarded."""
    if "x-forwarded-for" in headers:
        return headers.items("x-forwarded-for")
    return [_pairs(hop).get("for", "") for hop in headers.items("forwarded")]


def _scheme(headers: Headers) -> str:
    """Return the scheme that the last proxy names; empty if it names none."""
    if "x-forwarded-proto" in headers:
        return next(reversed(headers.items("x-forwarded-proto")), "").lower()
    last = next(reversed(headers.items("forwarded")), "")
    return _pairs(last).get("proto", "").lower()


def _pairs(element: str) -> dict[str, str]:
    """Read an element of Forwarded (RFC 7239, 4): ``for=192.0.2.60;proto=http``."""
    pairs = (part.partition("=") for part in element.split(";"))
    return {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}
