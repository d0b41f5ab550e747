"""Checks of the Host header and of the Origin of pages."""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from greenchat.http.call import Call, HttpError

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::([0-9]{1,5}))?")

DEFAULT_PORTS = {"http": "80", "https": "443"}


class Origins:
    """Checks of Host and Origin.

    Without the first, a page of another site could reach a server on loopback or in a private network by a
    name of its own that it points there (DNS rebinding).  Without the second, it could act with a cookie.

    Args:
        hosts: further names and addresses of this server, without a port.
        origins: origins of other pages that may act with a cookie: ``https://chat.example``.
        listening: the host that the server listens on.
    """

    def __init__(self, hosts: Collection[str], origins: Collection[str], listening: str) -> None:
        self._hosts = {host.lower().strip("[]") for host in (*hosts, listening)}
        self._origins = {origin.lower().rstrip("/") for origin in origins}

    def check_host(self, authority: str, own: str) -> None:
        """Check that a request is for this server.

        Args:
            authority: of the request, in lower case; empty for a client of HTTP/1.0 that sends none,
                which is no browser.
            own: the address at this end of the connection.

        Raises:
            HttpError: 400 if it is no authority, 421 if it is another server's.
        """
        if not authority:
            return
        parts = _AUTHORITY.fullmatch(authority)
        if parts is None:
            raise HttpError(400, "the Host header is not valid", close=True)
        host = parts[1].strip("[]")
        if host == own or host in self._hosts or is_loopback(host):
            return
        raise HttpError(421, "this server has another name (web_hosts lists those it answers to)")

    def check_change(self, call: Call) -> None:
        """Check that a call with a cookie, which changes something, comes from a page of this server.

        Raises:
            HttpError: 403: it does not, or does not say so.
        """
        origin = call.headers.get("origin")
        if origin:
            allowed = self._is_ours(origin, call)
        else:
            allowed = call.headers.get("sec-fetch-site") == "same-origin"
        if not allowed:
            raise HttpError(403, "a page of another site may not do this (web_origins lists those that may)")

    def check_upgrade(self, call: Call, with_cookie: bool) -> None:
        """Check that a WebSocket is opened by a page of this server, or by a program without a cookie.

        Raises:
            HttpError: 403
        """
        origin = call.headers.get("origin")
        if not origin and not with_cookie:
            return
        if not self._is_ours(origin, call):
            raise HttpError(403, "a page of another site may not do this (web_origins lists those that may)")

    def _is_ours(self, origin: str, call: Call) -> bool:
        """Return True for an origin that is the one asked for, or listed; ``null`` is neither."""
        origin = origin.lower()
        if origin in self._origins:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        if parts.scheme not in DEFAULT_PORTS or (call.secure and parts.scheme != "https"):
            return False
        port = DEFAULT_PORTS[parts.scheme]
        return bool(call.host) and parts.netloc.removesuffix(f":{port}") == call.host.removesuffix(f":{port}")


def host_in(authority: str) -> str:
    """Return the host of an authority, without its port; empty if there is none."""
    parts = _AUTHORITY.fullmatch(authority)
    return "" if parts is None else parts[1].strip("[]")


def is_loopback(host: str) -> bool:
    """Return True for a name or address of this machine that only this machine has."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
