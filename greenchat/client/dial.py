"""Connecting to a server, with TLS or without."""

from __future__ import annotations

import socket
import ssl

from greenchat.client.plain import PlainClientSocket
from greenchat.client.tls import NO_TLS_ANSWER, TlsClientSocket, TlsError

Socket = PlainClientSocket | TlsClientSocket


def connect(host: str, port: int, timeout: float, context: ssl.SSLContext | None) -> Socket:
    """Connect to a server, and make sure that it is one.

    Args:
        host, port: its address.
        timeout: seconds that connecting, and each step of the handshake, may take; of ``recv`` afterwards.
        context: for TLS; None: without.

    Raises:
        TlsError: the server has no TLS that is trusted.
        WrongProtocol: without TLS the server does not answer as greenchat does.
        OSError: the server cannot be reached.
    """
    sock = PlainClientSocket(fileno=socket.create_connection((host, port), timeout).detach())
    try:
        sock.settimeout(timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context:
            return TlsClientSocket(sock, context, host)
        sock.do_handshake()
        return sock
    except TimeoutError:
        sock.close()
        raise TlsError(NO_TLS_ANSWER) from None
    except BaseException:
        sock.close()
        raise
