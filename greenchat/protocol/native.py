"""The native wire: a message is one JSON object, encoded and decoded in one step.

Normative: docs/protocol.md.  A frame that cannot be decoded is looked at once more, off the fast path, for
a sentence that tells its sender what is wrong.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from greenchat.errors import BadRequest, MalformedFrame, NotLoggedIn, RequestError, TooLarge, UnknownMsgid
from greenchat.protocol.messages import (
    ANY_REQUEST,
    MAX_SEQ,
    REQUESTS,
    Ack,
    ErrorReply,
    HistoryAck,
    LoginAck,
    MsgId,
    RegAck,
    Reply,
    Request,
)

TOLD_OF_UNANSWERED = frozenset({BadRequest.errno, NotLoggedIn.errno})
"""The errnos with which they are answered all the same, if they fail."""

_FAILURES: dict[int, type[Reply]] = {
    MsgId.LOGIN: LoginAck,
    MsgId.REG: RegAck,
    MsgId.HISTORY: HistoryAck,
}

_TERMS = {
    "Expected ": "expected ",
    "Object missing required field ": "missing field ",
    "`int`": "an integer",
    "`float`": "a fraction",
    "`str`": "a text",
    "`bool`": "true or false",
    "`array`": "a list",
    "`object`": "an object",
    "`null`": "null",
    "`": "",
}
"""What msgspec says, and how people are told."""

_decoder: msgspec.json.Decoder[Request] = msgspec.json.Decoder(ANY_REQUEST)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

encode = msgspec.json.Encoder().encode
"""Encode a message (or a list of them) as JSON."""


def decode(frame: bytes) -> Request:
    """Decode a frame from a client.

    Raises:
        MalformedFrame: it is no valid request; the peer's fault.
    """
    try:
        return _decoder.decode(frame)
    except _UNREADABLE as error:
        raise _explain(frame, error) from None


def failure(error: RequestError, re: int | None, cid: str | None) -> Reply:
    """Return the reply that tells of a failed request.

    Args:
        error: what went wrong.
        re: the request's msgid; None if no request could be seen, for an ERROR.
        cid: the request's cid.
    """
    told: dict[str, Any] = {
        "errno": error.errno,
        "error": error.error,
        "errmsg": str(error),
        "cid": UNSET if cid is None else cid,
        "retry_after": UNSET if error.retry_after is None else error.retry_after,
    }
    if re is None:
        return ErrorReply(**told)
    if re in _FAILURES:
        return _FAILURES[re](**told)
    return Ack(re=re, **told)


def _explain(frame: bytes, error: Exception) -> MalformedFrame:
    """Find out, off the hot path, what is wrong with a frame and how much of it can be read."""
    try:
        seen = msgspec.json.decode(frame)
    except _UNREADABLE:
        return MalformedFrame(BadRequest("the frame is not valid JSON (UTF-8, RFC 8259)"))
    if not isinstance(seen, dict):
        return MalformedFrame(BadRequest("the frame is not a JSON object"))
    cid = seen.get("cid")
    if not isinstance(cid, str) or not 1 <= len(cid) <= 36:
        cid = None
    msgid = seen.get("msgid")
    if type(msgid) is not int or abs(msgid) > MAX_SEQ:
        return MalformedFrame(BadRequest("msgid: an integer is needed"), cid=cid)
    if msgid not in REQUESTS:
        return MalformedFrame(UnknownMsgid(f"there is no request with msgid {msgid}"), msgid, cid)
    return MalformedFrame(_field_error(str(error)), msgid, cid)


def _field_error(text: str) -> RequestError:
    """Turn msgspec's sentence, ``Expected … - at `$.field```, into ours."""
    sentence, _, place = text.partition(" - at ")
    field = place.strip("`").removeprefix("$.")
    kind = TooLarge if " of length <= " in sentence else BadRequest
    for term, words in _TERMS.items():
        sentence = sentence.replace(term, words)
    return kind(f"{field}: {sentence}" if field else sentence)
