"""A connection with TLS, for one thread that reads and another that writes."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading

from greenchat.client.core.connections import READ_SIZE

CLOSED_IN_HANDSHAKE = "the server closed the connection during the TLS handshake"

NO_TLS_ANSWER = "the server does not answer as one with TLS does"


class TlsError(OSError):
    """Raised if there is no TLS with the server; the text is a sentence for people, without a full stop."""


class UntrustedCertificate(TlsError):
    """Raised if the server's certificate does not prove its name."""


class TlsClientSocket:
    """Encrypt and decrypt the bytes of a blocking socket.

    Args:
        sock: connected, with a timeout; if this raises the caller closes it.
        context: the trusted authorities.
        host: name that the certificate must prove.

    Raises:
        UntrustedCertificate: it does not.
        TlsError: the handshake failed for another reason.
        OSError: the connection broke.
    """

    # OpenSSL's objects serve one thread at a time, and an ssl.SSLSocket that waits for input would keep the
    # writer out.  So TLS works on buffers in memory, under a lock, and no thread waits while it holds that.

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._lock = threading.Lock()
        self._is_ended = False
        while not self._do_handshake():
            self._flush()
            data = sock.recv(READ_SIZE)
            if not data:
                raise TlsError(CLOSED_IN_HANDSHAKE)
            self._incoming.write(data)
        self._flush()

    def recv(self, size: int) -> bytes:
        """Wait for bytes of the server; return none at the end."""
        data = b""
        while True:
            with self._lock:
                self._incoming.write(data)
                decrypted = self._decrypt()
            if decrypted or self._is_ended:
                return decrypted
            data = self._sock.recv(size)
            if not data:
                return b""

    def sendall(self, data: bytes) -> None:
        """Send all bytes; for one thread at a time."""
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
        """End this half with close_notify (SHUT_WR), or both at once and without (SHUT_RDWR)."""
        if how == socket.SHUT_WR:
            with self._lock:
                with contextlib.suppress(ssl.SSLError):  # the server has not ended its half yet
                    self._tls.unwrap()
                close_notify = self._outgoing.read()
            self._sock.sendall(close_notify)
        self._sock.shutdown(how)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def _do_handshake(self) -> bool:
        """Continue the handshake; return True once it is done."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            with contextlib.suppress(OSError):  # the alert; the server may have gone
                self._flush()
            raise tls_error(error) from None
        return True

    def _flush(self) -> None:
        """Send the handshake's bytes."""
        self._sock.sendall(self._outgoing.read())

    def _decrypt(self) -> bytes:
        """Return the bytes of all complete records."""
        parts = []
        try:
            while self._incoming.pending and not self._is_ended:
                parts.append(self._tls.read(READ_SIZE))
                self._is_ended = not parts[-1]
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # close_notify, after this side has sent its own
            self._is_ended = True
        except ssl.SSLError as error:
            raise tls_broke(error) from None
        return b"".join(parts)


def tls_broke(error: ssl.SSLError) -> TlsError:
    """Return the error of a connection on which TLS failed."""
    return TlsError(f"TLS with the server broke: {_reason(error)}")


def tls_error(error: ssl.SSLError) -> TlsError:
    """Return the error of a handshake that failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message.removesuffix(".")
        return UntrustedCertificate(f"the server's certificate is not trusted: {reason}")
    return TlsError(f"there is no TLS with this server: {_reason(error)}")


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")
