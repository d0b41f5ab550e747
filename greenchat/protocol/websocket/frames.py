"""Frames of WebSocket (RFC 6455, 5.2) as the server writes them: whole and unmasked; and the close codes."""

from __future__ import annotations

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
"""Opcodes; from ``CLOSE`` on they are those of control frames."""

FINAL = 0x80
"""The bit of a message's last frame; every control frame has it."""

MASKED = 0x80
"""The bit, beside the length, of a masked payload: every frame of a client has it, none of a server."""

SHORT = 125
"""Bytes of a payload whose length stands in the second byte; the most that a control frame may have."""

NORMAL, PROTOCOL_ERROR, NOT_TAKEN, NOT_UTF8, POLICY, TOO_BIG = 1000, 1002, 1003, 1007, 1008, 1009
RESTART, TRY_LATER, REPLACED, EVICTED = 1012, 1013, 4001, 4002
"""Close codes that the server sends (RFC 6455, 7.4.1; 1012 and 1013 of IANA; from 4000 on ours)."""

CLOSE_CODES = {
    "shutdown": RESTART,
    "slow_consumer": TRY_LATER,
    "replaced": REPLACED,
    "evicted": EVICTED,
    "protocol": POLICY,
}
"""The close code for each reason of BYE (docs/protocol.md, Faces)."""

_SHORT_TEXT = [bytes((FINAL | TEXT, size)) for size in range(SHORT + 1)]
"""The headers of short texts, by their length."""


def text_frame(payload: bytes) -> bytes:
    """Return a text message in one frame."""
    size = len(payload)
    if size <= SHORT:
        return _SHORT_TEXT[size] + payload
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def payload_of(frame: bytes) -> bytes:
    """Return the payload of a frame that ``text_frame`` has made."""
    size = frame[1]
    return frame[2 if size <= SHORT else 4 if size == SHORT + 1 else 10 :]


def control_frame(opcode: int, payload: bytes = b"") -> bytes:
    """Return a control frame; its payload has at most ``SHORT`` bytes."""
    return bytes((FINAL | opcode, len(payload))) + payload


def close_frame(code: int | None, reason: str = "") -> bytes:
    """Return a close frame.

    Args:
        code: None for none: the answer to a close frame without one.
        reason: a short sentence for people; cut where it would be too long.
    """
    if code is None:
        return control_frame(CLOSE)
    words = reason.encode()[: SHORT - 2].decode(errors="ignore").encode()  # cut between two characters
    return control_frame(CLOSE, code.to_bytes(2, "big") + words)
