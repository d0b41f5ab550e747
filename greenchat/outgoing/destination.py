"""The destinations of deliveries: URLs that users chose, kept away from the server's own network.

A URL is checked twice.  ``parse`` refuses one that can never be used, when it is given.  ``resolve`` asks for
its addresses before each delivery, and refuses it if one of them is not of the open internet.  The connection
goes to the addresses that were checked, and the name is not resolved again: so a name that leads elsewhere by
then (DNS rebinding) does not help.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

import gevent
from gevent import socket

from greenchat.errors import GreenchatError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MOST = 2_000
"""Characters of a URL at most: as many as the database holds."""

LOOKUP = 10.0
"""Seconds that the look-up of a name may take."""

PORTS = {"https": 443, "http": 80}

_UNICAST = IPv6Network("2000::/3")
"""The only part of IPv6 that is given out to the internet."""

_DOCUMENTATION = IPv6Network("3fff::/20")
"""RFC 9637; Python 3.11 does not know it yet."""

_NAT64 = IPv6Network("64:ff9b::/96")
"""IPv4 addresses for hosts that have IPv6 alone (RFC 6052)."""


class NoDestination(GreenchatError):
    """Raised if a URL may not be used, or leads nowhere; the sentence says why, and holds no secret."""


class Destination(NamedTuple):
    """A URL, taken apart.

    Attributes:
        is_tls: it is https.
        host: the name, in ASCII and small letters, or an address without brackets.
        port: of the host.
        target: path and query.
    """

    is_tls: bool
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS["https" if self.is_tls else "http"] else f"{host}:{self.port}"


def parse(url: str, allow_http: bool) -> Destination:
    """Take a URL apart.

    Args:
        url: as a user gave it.
        allow_http: http will do, too.

    Raises:
        NoDestination: it cannot be used.
    """
    if len(url) > MOST:
        raise NoDestination(f"the URL has {len(url):,} characters, {MOST:,} are the most")
    if not url.isprintable() or " " in url or "\\" in url:
        raise NoDestination("the URL has blanks, backslashes or control characters in it")
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
        name = host if ":" in host else host.encode("idna").decode("ascii")
    except (ValueError, UnicodeError):
        raise NoDestination("the URL cannot be read") from None
    if parts.scheme not in (PORTS if allow_http else ("https",)):
        raise NoDestination("the URL must begin with https://")
    if not name or port == 0:
        raise NoDestination("the URL names no host" if not name else "the URL names no port")
    if parts.username is not None or parts.password is not None:
        raise NoDestination("the URL has a user or password before the host: receivers check the signature")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not target.isascii():
        raise NoDestination("the path of the URL is to be written with %XX")
    return Destination(parts.scheme == "https", name.rstrip("."), port or PORTS[parts.scheme], target)


def resolve(destination: Destination, allowed: Iterable[Network]) -> list[str]:
    """Return the addresses of a destination, all of which may be used.  Switches.

    Args:
        destination: where to.
        allowed: networks that may be used though they are not of the open internet.

    Raises:
        NoDestination: the host has no address, or one that may not be used.
    """
    host, port = destination.host, destination.port
    try:
        with gevent.Timeout(LOOKUP):
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NoDestination(f"{host} has no address") from None
    except gevent.Timeout:
        raise NoDestination(f"{host}: no answer from the name server within {LOOKUP:.0f} s") from None
    addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
    for address in addresses:
        if not is_usable(address, allowed):
            raise NoDestination(f"{host} is at {address}, which is not on the open internet")
    return addresses


def is_usable(text: str, allowed: Iterable[Network]) -> bool:
    """Return True if deliveries may go to an address: it is on the open internet, or in a network allowed."""
    try:
        address = ip_address(text)
    except ValueError:  # fe80::1%eth0
        return False
    real = _real(address)
    return any(address in network or real in network for network in allowed) or _is_open(real)


def _real(address: Address) -> Address:
    """Return the IPv4 address to which an IPv6 one leads, if it does."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return IPv4Address(address.packed[12:])
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _is_open(address: Address) -> bool:
    if isinstance(address, IPv6Address) and (address not in _UNICAST or address in _DOCUMENTATION):
        return False
    return address.is_global and not address.is_multicast
