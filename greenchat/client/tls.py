"""Connecting, with TLS if it is wanted, for one thread that reads and another that writes."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading

from greenchat.client.plain import PlainSocket

READ_SIZE = 65_536


class TlsError(OSError):
    """Raised if the server and we do not agree on TLS; it says why as a sentence, without a full stop."""


class Untrusted(TlsError):
    """Raised if the server's certificate is no proof that it is who it should be."""


class TlsSocket:
    """Encrypt and decrypt what goes through a blocking socket.

    OpenSSL's objects are for one thread at a time, and an ``ssl.SSLSocket`` that waits for input would
    keep the writer out.  So the bytes are kept in memory, and only turning them is under a lock.

    Args:
        sock: connected, with a timeout; it is the caller's to close if this raises.
        context: says whom to trust.
        host: who the server should be.

    Raises:
        Untrusted: it is somebody else, or there is no telling.
        TlsError: there is no TLS with it for another reason.
        OSError: the connection broke.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._lock = threading.Lock()
        self._ended = False
        while not self._shake():
            self._say()
            data = sock.recv(READ_SIZE)
            if not data:
                raise TlsError("the server closed the connection instead of agreeing on TLS")
            self._incoming.write(data)
        self._say()

    def recv(self, size: int) -> bytes:
        """Wait for what the server sends; empty when there will be no more."""
        data = b""
        while True:
            with self._lock:
                self._incoming.write(data)
                decrypted = self._read()
            if decrypted or self._ended:
                return decrypted
            data = self._sock.recv(size)
            if not data:
                return b""

    def sendall(self, data: bytes) -> None:
        """Send everything; for one thread at a time."""
        view, taken, parts = memoryview(data), 0, []
        with self._lock:
            while taken < len(view):
                taken += self._tls.write(view[taken:])
                parts.append(self._outgoing.read())
        self._sock.sendall(b"".join(parts))

    def settimeout(self, seconds: float) -> None:
        """Set how long each call may wait, from the next one on."""
        self._sock.settimeout(seconds)

    def shutdown(self, how: int) -> None:
        """End our half in good order (close_notify), or both at once, without."""
        if how == socket.SHUT_WR:
            with self._lock:
                with contextlib.suppress(ssl.SSLError):  # the server has not ended its half yet
                    self._tls.unwrap()
                farewell = self._outgoing.read()
            self._sock.sendall(farewell)
        self._sock.shutdown(how)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def _shake(self) -> bool:
        """Go on with the handshake; say whether it is done."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            with contextlib.suppress(OSError):  # it may have gone
                self._say()
            raise _refusal(error) from None
        return True

    def _say(self) -> None:
        """Send what the handshake wants to be sent."""
        self._sock.sendall(self._outgoing.read())

    def _read(self) -> bytes:
        """Return what is complete."""
        parts = []
        try:
            while self._incoming.pending and not self._ended:
                parts.append(self._tls.read(READ_SIZE))
                self._ended = not parts[-1]
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # and we had ended ours before
            self._ended = True
        except ssl.SSLError as error:
            raise TlsError(f"TLS with the server broke: {_words(error)}") from None
        return b"".join(parts)


Socket = PlainSocket | TlsSocket


def connect(host: str, port: int, timeout: float, context: ssl.SSLContext | None) -> Socket:
    """Connect to a server.

    Args:
        host, port: where it is.
        timeout: seconds that connecting, and each step of a handshake, may take.
        context: for TLS; None: there is none.

    Raises:
        TlsError: it is there, but not as a TLS server that is trusted.
        NotSpoken: it is there, but not as a server of ours without TLS.
        OSError: it cannot be reached.
    """
    sock = PlainSocket(fileno=socket.create_connection((host, port), timeout).detach())
    try:
        sock.settimeout(timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context:
            return TlsSocket(sock, context, host)
        sock.greet()
        return sock
    except TimeoutError:
        sock.close()
        raise TlsError("the server does not answer as one with TLS does") from None
    except BaseException:
        sock.close()
        raise


def _refusal(error: ssl.SSLError) -> TlsError:
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message.removesuffix(".")
        return Untrusted(f"the server's certificate is not trusted: {reason}")
    return TlsError(f"there is no TLS with this server: {_words(error)}")


def _words(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")
