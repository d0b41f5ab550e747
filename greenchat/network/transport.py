"""The socket as a connection sees it: a plain one, or TLS that acts like one."""

from __future__ import annotations

from typing import Any, Protocol

READABLE, WRITABLE = 1, 2
"""libev's io events."""


class Transport(Protocol):
    """The part of a non-blocking socket that a connection uses; TLS implements it too.

    Attributes:
        in_flight: bytes that ``send`` has not counted as sent, but that cannot be taken back any more: the
            next ``send`` MUST begin with them.  A socket has none.
    """

    __slots__ = ()

    @property
    def in_flight(self) -> int: ...
    def recv(self, size: int, /) -> bytes: ...
    def send(self, data: bytes | memoryview, /) -> int: ...
    def shutdown(self, how: int, /) -> None: ...
    def close(self) -> None: ...
    def getsockopt(self, level: int, option: int, size: int, /) -> Any: ...
    def fileno(self) -> int: ...
    def getsockname(self) -> Any: ...
