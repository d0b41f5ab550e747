"""The wire, sans I/O: bytes to frames (lines) and frames to messages (messages).

The corridor between server and client; it knows no sockets.  Normative: docs/protocol.md.
"""
