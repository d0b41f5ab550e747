"""The addresses of peers, as all of greenchat writes them: ``HOST:PORT``, IPv6 in brackets."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any

HOSTS = 1024
"""Hosts with a remembered network: each connection asks for it when it comes and when it goes."""


def display(address: tuple[Any, ...]) -> str:
    """Write a socket address as ``HOST:PORT``; IPv6 in brackets, IPv4 on a dual-stack socket plain."""
    host, port = address[0], address[1]
    if ":" in host:
        host = plain(host)
        if ":" in host:
            return f"[{host}]:{port}"
    return f"{host}:{port}"


def plain(host: str) -> str:
    """Return an address without the prefix that IPv4 has on a dual-stack socket."""
    return host.removeprefix("::ffff:") if "." in host else host


@lru_cache(HOSTS)
def host_of(address: str) -> str:
    """Return the host of ``HOST:PORT``."""
    return address.rpartition(":")[0].strip("[]")


@lru_cache(HOSTS)
def network_of(host: str) -> str:
    """Return the network of one household or server: an IPv4 address, or the hex of an IPv6 /64 (RFC 6177).

    All nodes of a cluster count by this text, also those of another version: it MUST stay as it is.

    Raises:
        ValueError: the host is no address.
    """
    parsed = ip_address(host)
    return parsed.packed[:8].hex() if isinstance(parsed, IPv6Address) else host
