"""The native wire: a message is one JSON object, encoded and decoded in one step.

Normative: docs/protocol.md.  A frame that cannot be decoded is looked at once more, off the fast path, for
a sentence that tells its sender the fault.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec
from msgspec import UNSET, UnsetType

from greenchat.errors import BadRequest, MalformedFrame, NotLoggedIn, RequestError, TooLarge, UnknownMsgid
from greenchat.model.conversations import group_of, peer_of
from greenchat.model.kinds import RECALL, TEXT
from greenchat.model.records import MAX_SEQ, Entry
from greenchat.protocol.lines import MAX_SERVER_FRAME, NEWLINE
from greenchat.protocol.messages import (
    ANY_REQUEST,
    BYE_REASONS,
    REQUESTS,
    UNANSWERED,
    Ack,
    Answer,
    Bye,
    ByeReason,
    ErrorReply,
    GroupChatPush,
    HistoryAck,
    LoginAck,
    MsgId,
    OneChatPush,
    Push,
    RecallPush,
    RegAck,
    Reply,
    Request,
    StoredAck,
)
from greenchat.protocol.wire import PAGE_BYTES, Fit, Frames, SharedEntry, Wire, fitting, new_slot

_MARGIN = 1_024
"""Bytes kept free in LOGIN_ACK for fields that are not counted."""

_decoder: msgspec.json.Decoder[Request] = msgspec.json.Decoder(ANY_REQUEST)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Native(Wire):
    """Speak JSON with one client.  It keeps nothing: one object serves all connections (``NATIVE``)."""

    __slots__ = ()

    slot = new_slot()
    confirms = pages = beats = True
    echoes = unhurried = False
    pace = 0.0

    # docs of the public methods: protocol.wire.Wire

    def request(self, frame: bytes) -> Request:
        try:
            return _decoder.decode(frame)
        except _UNREADABLE as error:
            raise _explain(frame, error) from None

    def reply(self, request: Request, answer: Answer) -> Frames:
        address(answer, request)
        return (encode(answer) + NEWLINE,)

    def failed(self, error: RequestError, re: int | None, cid: str | None) -> Frames:
        return () if is_passed_over(error, re) else (encode(failure(error, re, cid)) + NEWLINE,)

    def login_room(self, request: Request, ack: LoginAck) -> Fit:
        if ack.groups:
            size = len(encode(ack.friends)) + len(encode(ack.groups))
            if size > MAX_SERVER_FRAME - PAGE_BYTES - _MARGIN:
                for group in ack.groups:
                    group.users = UNSET

        def fit(entries: list[SharedEntry]) -> list[SharedEntry]:
            return fitting(entries, self, min(PAGE_BYTES, MAX_SERVER_FRAME - len(encode(ack)) - _MARGIN))

        return fit

    def entry(self, entry: Entry, reader: int) -> Frames:
        return (encode(FORMS[entry.kind](entry, reader)) + NEWLINE,)

    def push(self, push: Push) -> Frames:
        return (encode(push) + NEWLINE,)

    def bye(self, reason: str, retry_after: float | None) -> Frames:
        if reason not in BYE_REASONS:
            return ()
        message = Bye(reason=cast(ByeReason, reason))
        if retry_after is not None:
            message.retry_after = retry_after
        return (encode(message) + NEWLINE,)

    def refused(self, error: RequestError, first: bytes | None) -> Frames:
        return (*self.failed(error, None, None), *self.bye("evicted", error.retry_after))


NATIVE = Native()


def address(answer: Answer, request: Request) -> None:
    """Make an answer that of a request: its cid, and its msgid where the answer is an ACK."""
    if request.cid is not None:
        answer.cid = request.cid
    if isinstance(answer, StoredAck | Ack):
        answer.re = request.__struct_config__.tag  # type: ignore[assignment]  # they are all integers


# -- Entries


def _chat(entry: Entry, reader: int, recalled: str | UnsetType = UNSET) -> Push:
    conversation, seq, sender, name, cid, _, body, time, was_recalled = entry
    msg: str | UnsetType = body
    is_recalled: bool | UnsetType = UNSET
    if was_recalled:
        msg = recalled
        if recalled is UNSET:
            is_recalled = True
    own = UNSET if cid is None or reader != sender else cid
    # By position: with keywords it takes twice as long, and there is one for each message.
    if conversation < 0:
        return GroupChatPush(sender, name, -conversation, msg, seq, time, is_recalled, own)
    toid = peer_of(conversation, sender) if reader == sender else reader
    return OneChatPush(sender, name, toid, msg, seq, time, is_recalled, own)


def _recall(entry: Entry, reader: int, recalled: str | UnsetType = UNSET) -> Push:
    groupid = group_of(entry.conversation)
    return RecallPush(
        id=entry.sender,
        target=int(entry.body),
        seq=entry.seq,
        time=entry.time,
        peerid=peer_of(entry.conversation, reader) if groupid is None else UNSET,
        groupid=UNSET if groupid is None else groupid,
    )


FORMS: dict[str, Callable[..., Push]] = {TEXT.name: _chat, RECALL.name: _recall}
"""Each kind of entry as a message: ``FORMS[kind](entry, reader, recalled=UNSET)``.

``reader`` is the user that gets it; ``recalled`` is the text of a recalled message, UNSET for none and the
field ``recalled``.
"""


def _embedded(value: Any) -> msgspec.Raw:
    """Return an entry that stands in an answer."""
    if not isinstance(value, SharedEntry):
        raise NotImplementedError
    (frame,) = value.frames.get(Native.slot) or value.encode(NATIVE)
    return msgspec.Raw(frame.removesuffix(NEWLINE))


encode = msgspec.json.Encoder(enc_hook=_embedded).encode
"""Encode a message (or a list of them) as JSON."""

# -- Failures

TOLD_OF_UNANSWERED = frozenset({BadRequest.errno, NotLoggedIn.errno})
"""The errnos with which requests without a reply are answered all the same, if they fail."""

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
"""Words of msgspec's errors, and ours for people."""


def is_passed_over(error: RequestError, re: int | None) -> bool:
    """Return True for a failure that its sender is not told of.

    Args:
        error: the reason.
        re: the request's msgid; None if no request could be seen.
    """
    return re in UNANSWERED and error.errno not in TOLD_OF_UNANSWERED


def failure(error: RequestError, re: int | None, cid: str | None) -> Reply:
    """Return the reply that tells of a failed request.

    Args:
        error: the failure.
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
    """Find out, off the hot path, the fault of a frame, and read as much of it as is readable."""
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
    return MalformedFrame(field_error(str(error)), msgid, cid)


def field_error(text: str) -> RequestError:
    """Turn msgspec's sentence, ``Expected … - at `$.field```, into ours."""
    sentence, _, place = text.partition(" - at ")
    field = place.strip("`").removeprefix("$.")
    kind = TooLarge if " of length <= " in sentence else BadRequest
    for term, words in _TERMS.items():
        sentence = sentence.replace(term, words)
    return kind(f"{field}: {sentence}" if field else sentence)
