"""The PROXY protocol: a header in which a proxy names the client of a connection, before all else.

Version 1 (a line of text) and version 2 (binary), after HAProxy's proxy-protocol.txt, sections 2.1
and 2.2.  Only the source of a TCP connection counts here; TLVs are skipped.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from greenchat.errors import GreenchatError

LINE = b"PROXY "
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

MAX_LINE = 107
"""Bytes of a header of version 1, its CRLF included (section 2.1)."""

MAX_HEADER = 4_096
"""Bytes of a header.  Addresses need 232 at most, the rest is for TLVs; nginx has the same bound."""

FIXED = 16
"""Bytes of version 2 up to the addresses."""

LOCAL, PROXY = 0x20, 0x21

UNIX = 3
DATAGRAM = 2

_ADDRESS: dict[bytes | int, type[IPv4Address | IPv6Address]] = {
    b"TCP4": IPv4Address,
    b"TCP6": IPv6Address,
    0x11: IPv4Address,
    0x21: IPv6Address,
}
_PORT = re.compile(rb"0|[1-9]\d{0,4}")


class BadProxyHeader(GreenchatError):
    """Raised if the first bytes are no PROXY header; the fault of the proxy, or of a client without one."""


class ProxyHeader(NamedTuple):
    """A header.

    Attributes:
        source: address and port of the client; None where they are those of the connection itself (a
            health check, or a client that the proxy cannot tell of).
        size: bytes of the header; the client's bytes follow.
    """

    source: tuple[str, int] | None
    size: int


def read_header(data: bytes) -> ProxyHeader | None:
    """Read the header that a stream begins with.

    Args:
        data: the bytes so far; bytes of the client may stand behind the header.

    Returns:
        None if more is needed: then all of it belongs to the header, and it is shorter than ``MAX_HEADER``.

    Raises:
        BadProxyHeader: the stream does not begin with one, or it is too long.
    """
    if data.startswith(LINE):
        return _read_line(data)
    if data.startswith(SIGNATURE):
        return _read_binary(data)
    if LINE.startswith(data) or SIGNATURE.startswith(data):
        return None
    raise BadProxyHeader("there is none")


def _read_line(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\n", 0, MAX_LINE)
    if end < 0:
        if len(data) >= MAX_LINE:
            raise BadProxyHeader("the line is too long")
        return None
    if data[end - 1] != ord("\r"):
        raise BadProxyHeader("the line does not end with CRLF")
    return ProxyHeader(_source_of_line(data[: end - 1].split(b" ")), end + 1)


def _source_of_line(fields: list[bytes]) -> tuple[str, int] | None:
    if fields[1] == b"UNKNOWN":
        return None
    if len(fields) != 6 or fields[1] not in _ADDRESS:
        raise BadProxyHeader("the line is neither TCP4, TCP6 nor UNKNOWN")
    kind = _ADDRESS[fields[1]]
    source, _ = (_address(kind, field) for field in fields[2:4])
    port, _ = (_port(field) for field in fields[4:])
    return source, port


def _address(kind: type[IPv4Address | IPv6Address], field: bytes) -> str:
    try:
        if b"%" in field:  # IPv6Address would take a scope
            raise ValueError
        return _plain(kind(field.decode("ascii")))
    except ValueError:
        raise BadProxyHeader("an address of the line is not valid") from None


def _port(field: bytes) -> int:
    if not _PORT.fullmatch(field) or int(field) > 65_535:
        raise BadProxyHeader("a port of the line is not valid")
    return int(field)


def _read_binary(data: bytes) -> ProxyHeader | None:
    if len(data) < FIXED:
        return None
    command, family = data[12], data[13]
    size = FIXED + int.from_bytes(data[14:16])
    if command not in (LOCAL, PROXY):
        raise BadProxyHeader("the version or command is not known")
    if size > MAX_HEADER:
        raise BadProxyHeader("it is too long")
    if command == PROXY and (family >> 4 > UNIX or family & 15 > DATAGRAM):
        raise BadProxyHeader("the address family or transport is not known")
    if len(data) < size:
        return None
    return ProxyHeader(_source_of_block(family, data[FIXED:size]) if command == PROXY else None, size)


def _source_of_block(family: int, block: bytes) -> tuple[str, int] | None:
    """Return the source; None for a protocol other than TCP (section 2.2: as if unspecified)."""
    kind = _ADDRESS.get(family)
    if kind is None:
        return None
    size = kind(0).max_prefixlen // 8
    if len(block) < 2 * size + 4:
        raise BadProxyHeader("it is too short for its addresses")
    return _plain(kind(block[:size])), int.from_bytes(block[2 * size : 2 * size + 2])


def _plain(address: IPv4Address | IPv6Address) -> str:
    """Write an address; an IPv4 one that a dual-stack proxy saw as IPv6 is written as IPv4."""
    return str(getattr(address, "ipv4_mapped", None) or address)
