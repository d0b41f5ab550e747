"""The cookie of a session: its name, and its flags."""

from __future__ import annotations

from greenchat.http.call import Call
from greenchat.http.origin import host_in, is_loopback

NAME = "greenchat"


class Cookies:
    """The session cookies of a server; the value of one is a token.

    ``__Host-`` has browsers keep a cookie to this host and to TLS.  They also take it from loopback without
    TLS, but send it to every port there, so servers of one machine would overwrite each other's: there the
    name has an id of the cluster besides.  Elsewhere without TLS they refuse the prefix.

    Args:
        server: an id of the cluster.
        seconds: how long a cookie lasts.
    """

    def __init__(self, server: str, seconds: float) -> None:
        self._server = server
        self._seconds = int(seconds)

    def name(self, call: Call) -> str:
        """Return the name of the cookie where a call comes from."""
        if is_loopback(host_in(call.host)):
            return f"__Host-{NAME}-{self._server}"
        return f"__Host-{NAME}" if call.secure else NAME

    def read(self, call: Call) -> str | None:
        """Return the token in a call's cookie; None without one."""
        wanted = self.name(call)
        for line in call.headers.all("cookie"):
            for pair in line.split(";"):
                name, _, value = pair.strip().partition("=")
                if name == wanted and value:
                    return value
        return None

    def set(self, call: Call, token: str) -> tuple[str, str]:
        """Return the header that gives the client a cookie."""
        return self._header(call, token, self._seconds)

    def clear(self, call: Call) -> tuple[str, str]:
        """Return the header that takes it away."""
        return self._header(call, "", 0)

    def _header(self, call: Call, value: str, seconds: int) -> tuple[str, str]:
        name = self.name(call)
        secure = "" if name == NAME else "; Secure"
        flags = f"; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
        return "set-cookie", f"{name}={value}{flags}"
