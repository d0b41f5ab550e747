"""TLS on a non-blocking socket, and the certificate that the server shows.

``TlsSocket`` behaves like the socket that it wraps, so a connection does not know that it is there.  It
keeps the bytes in memory (``ssl.SSLObject``), for two reasons: a monkey-patched process has no plain
``SSLSocket``, and gevent's has watchers of its own, which cost memory and wait by themselves.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from pathlib import Path
from typing import Any

from greenchat.errors import ConfigError
from greenchat.network.transport import READABLE, WRITABLE, Transport

RECORD = 16_384
"""The most bytes that a TLS record has (RFC 8446, 5.1)."""

PIECE = 4_096
"""Bytes handed to OpenSSL at a time.  Its buffers in memory grow to that and never shrink: with a
piece of a whole record an idle connection that was busy once would keep four times as much."""

BATCH = 65_536
"""Bytes that are encrypted before the socket is asked whether it takes them."""


class BrokenTls(ConnectionError):
    """Raised if the peer does not keep to TLS, or does not agree with us; it says so in few words."""


class TlsSocket(Transport):
    """Encrypt and decrypt the bytes of a non-blocking socket.

    Args:
        sock: connected and non-blocking.
        context: of a server.

    Attributes:
        in_flight: bytes that ``send`` was given and has encrypted, but not counted as sent, since the
            socket did not take all of them yet.  They cannot be taken back: the next ``send`` MUST begin
            with them.
    """

    __slots__ = ("_closing", "_early", "_ended", "_incoming", "_outgoing", "_sock", "_tls", "_waiting",
                 "in_flight")  # fmt: skip

    in_flight: int

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._waiting = b""  # encrypted, and not taken by the socket
        self._early = b""  # decrypted while hands were shaken
        self._ended = False  # the peer said that nothing more will come
        self._closing = False  # we did
        self.in_flight = 0

    def handshake(self) -> int:
        """Go on with the handshake.

        Returns:
            The io event that it waits for, then it wants to be called again; 0 when it is done.

        Raises:
            BrokenTls: it failed; the peer was told.
            EOFError: the peer ended the connection.
            OSError: the socket is broken.
        """
        while True:
            done = self._shake()
            if not self._flush():
                return WRITABLE
            if done:
                parts: list[bytes] = []
                self._read(parts)
                self._early = b"".join(parts)
                return 0
            try:
                data = self._sock.recv(PIECE)
            except BlockingIOError:
                return READABLE
            if not data:
                raise EOFError
            self._incoming.write(data)

    def recv(self, size: int) -> bytes:
        """Return the peer's bytes, all that can be decrypted now.

        So a socket that is not readable has nothing more to give, as without TLS.

        Args:
            size: bytes to read from the socket.  The result may be longer by the beginning of
                a record that was read before.

        Raises:
            BlockingIOError: there is nothing yet.
            BrokenTls, OSError: and there will be nothing more.
        """
        if self._early:
            early, self._early = self._early, b""
            return early
        if self._ended:
            return b""
        data = self._sock.recv(size)
        if not data or self._closing:  # in the end it is only thrown away
            return data
        decrypted = self._decrypt(data)
        if not decrypted:
            raise BlockingIOError
        return decrypted

    def send(self, data: bytes | memoryview) -> int:
        """Send as much as the socket takes; return how many bytes that were, ``in_flight`` left out.

        Raises:
            BlockingIOError: none.
            BrokenTls, OSError: and it never will.
        """
        view, sent = memoryview(data), 0
        if self._flush():
            sent, self.in_flight = self.in_flight, 0
            while sent < len(view):
                taken = self._encrypt(view[sent : sent + BATCH])
                if not self._flush():
                    self.in_flight = taken
                    break
                sent += taken
        if not sent:
            raise BlockingIOError
        return sent

    def shutdown(self, how: int) -> None:
        """Say that nothing more will come (close_notify), as far as that is possible, then end our half."""
        self._closing = True
        if not self._waiting:  # else a record is cut off: that is no end in good order
            with contextlib.suppress(ssl.SSLError):  # the peer has not said so yet
                self._tls.unwrap()
            self._flush()
        self._sock.shutdown(how)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def getsockopt(self, *option: int) -> Any:
        """Return an option of the socket, as it does."""
        return self._sock.getsockopt(*option)

    def getsockname(self) -> Any:
        """Return the address at this end, as the socket does."""
        return self._sock.getsockname()

    def fileno(self) -> int:
        """Return the file descriptor, for watchers."""
        return self._sock.fileno()

    def _shake(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise self._broken(error) from None
        return True

    def _decrypt(self, data: bytes) -> bytes:
        parts: list[bytes] = []
        for place in range(0, len(data), PIECE):
            self._incoming.write(data[place : place + PIECE])
            self._read(parts)
        return b"".join(parts)

    def _read(self, parts: list[bytes]) -> None:
        """Read all records that are complete."""
        try:
            while self._incoming.pending and not self._ended:
                parts.append(self._tls.read(RECORD))
                if not parts[-1]:
                    self._end()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            raise self._broken(error) from None

    def _end(self) -> None:
        """Note the peer's close_notify.  The socket stays readable from now on, so that it is seen."""
        self._ended = True
        with contextlib.suppress(OSError):  # the peer has gone altogether
            self._sock.shutdown(socket.SHUT_RD)

    def _encrypt(self, view: memoryview) -> int:
        """Encrypt bytes for the socket, and return how many."""
        taken, parts = 0, []
        try:
            while taken < len(view):
                taken += self._tls.write(view[taken : taken + PIECE])
                parts.append(self._outgoing.read())
        except ssl.SSLError as error:
            raise self._broken(error) from None
        self._waiting = b"".join(parts)
        return taken

    def _flush(self) -> bool:
        """Hand the encrypted bytes to the socket; return True if it took all of them."""
        waiting = self._waiting + self._outgoing.read() if self._outgoing.pending else self._waiting
        if not waiting:
            return True
        try:
            self._waiting = waiting[self._sock.send(waiting) :]
        except BlockingIOError:
            self._waiting = waiting
        return not self._waiting

    def _broken(self, error: ssl.SSLError) -> BrokenTls:
        """Send the peer OpenSSL's alert, if that is possible, and return the exception to raise."""
        with contextlib.suppress(OSError):
            self._flush()
        return BrokenTls((error.reason or "unexpected end").lower().replace("_", " "))


class Certificate:
    """The server's certificate and key; read again while the server runs, they apply to new connections.

    Args:
        cert: file with the certificate and those that lead to a known authority, in PEM.
        key: file with its key, in PEM and not encrypted.

    Raises:
        ConfigError: they cannot be used; the operator's fault.
    """

    def __init__(self, cert: str, key: str) -> None:
        self._files = cert, key
        self._context = _context(cert, key)

    def reload(self) -> None:
        """Read the files again.

        Raises:
            ConfigError: they cannot be used; those that were read before stay.
        """
        self._context = _context(*self._files)

    def wrap(self, sock: socket.socket) -> TlsSocket:
        """Return the socket with TLS; the handshake is to come."""
        return TlsSocket(sock, self._context)


def _context(cert: str, key: str) -> ssl.SSLContext:
    _look_for("certificate", "tls-cert", cert, b"-----BEGIN CERTIFICATE-----")
    _look_for("key", "tls-key", key, b"PRIVATE KEY-----")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # so that a write never has to wait for a read
    # A client that closes with tickets unread resets the connection, and its last bytes may be lost.
    # Nor would they be of use when all come back at once: the keys to them do not outlive the process.
    context.num_tickets = 0

    def no_password() -> str:
        raise ConfigError(
            f"tls-key: {key}: it is encrypted, and nobody is there to be asked for the password"
        )

    try:
        context.load_cert_chain(cert, key, no_password)
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).lower().replace("_", " ")
        raise ConfigError(f"tls-cert and tls-key: {cert} and {key}: {reason}") from None
    return context


def _look_for(kind: str, option: str, file: str, mark: bytes) -> None:
    """Look into a file first: OpenSSL does not say which of the two is the wrong one."""
    try:
        found = mark in Path(file).read_bytes()
    except OSError as error:
        raise ConfigError(f"{option}: {file}: {error.strerror}") from None
    if not found:
        raise ConfigError(f"{option}: {file}: there is no {kind} in PEM in it")
