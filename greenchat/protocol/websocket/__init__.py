"""WebSocket (RFC 6455), the server's side: handshake, frames, and the native wire over them.  No sockets."""
