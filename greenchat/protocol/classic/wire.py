"""The wire of the original C++ clients: small frames, text times, two ranges of msgids.

A frame to them has at most 1,023 bytes with its NUL: a longer text comes as several messages, and LOGIN_ACK
shows as much as fits.  They get none of the messages that the original protocol does not have, but the
answers to requests for such.
"""

from __future__ import annotations

from typing import Any

import msgspec

from greenchat.errors import MalformedFrame, RequestError
from greenchat.model.kinds import KINDS, TEXT
from greenchat.model.records import Entry
from greenchat.protocol.classic.clients import ClassicClients
from greenchat.protocol.classic.dialects import (
    SHIFTS,
    ForeignDialect,
    check_dialect,
    is_text,
    read,
    shift_of,
)
from greenchat.protocol.classic.login import Welcome, login_refusal, welcome
from greenchat.protocol.classic.text import MAX_FRAME, PARTS, split_text
from greenchat.protocol.messages import (
    LAST_ORIGINAL,
    Answer,
    LoginAck,
    MsgId,
    Push,
    Request,
    msgid_of,
)
from greenchat.protocol.native import FORMS, NATIVE, address, failure, is_passed_over
from greenchat.protocol.wire import Fit, Frames, SharedEntry, Wire

NUL = b"\0"

PACE = 0.03
"""Seconds between two frames: at this pace the original clients that were tried read each one by itself.
They take one ``recv`` for one message: of frames that wait in their socket together the first is read and the
others are lost."""


class ClassicWire(Wire):
    """Speak with one original client.

    Args:
        clients: the state that the connections of classic clients share.
        address: ``HOST:PORT`` of the client.
    """

    __slots__ = ("_address", "_clients", "_shift", "slot")

    confirms = pages = beats = False
    echoes = unhurried = True
    pace = PACE

    def __init__(self, clients: ClassicClients, address: str) -> None:
        self._clients = clients
        self._address = address
        self._shift: int | None = None  # until the first frame with a msgid
        self.slot = clients.slots[SHIFTS[0]]

    # docs of the public methods: protocol.wire.Wire

    def request(self, frame: bytes) -> Request:
        try:
            translated = self._translated(frame)
        except ForeignDialect as dialect:
            self._clients.note_dialect(self._address, str(dialect))
            raise
        return NATIVE.request(translated)

    def _translated(self, frame: bytes) -> bytes:
        """Return a frame from the client with today's msgid.

        A frame without a msgid is returned as it is; the first one that has a msgid fixes the numbering.

        Raises:
            ForeignDialect: the client speaks another protocol.
        """
        fields = read(frame)
        msgid = fields.get("msgid") if isinstance(fields, dict) else None
        if type(msgid) is not int:
            if self._shift is None and is_text(frame):
                raise ForeignDialect("its first frame is no JSON object with a msgid")
            return frame
        if self._shift is None:
            self._shift = shift_of(msgid)
            self.slot = self._clients.slots[self._shift]
        original = msgid - self._shift
        if MsgId.LOGIN <= original <= LAST_ORIGINAL:
            check_dialect(original, fields)
        if not self._shift:
            return frame
        fields["msgid"] = original
        return msgspec.json.encode(fields)

    def reply(self, request: Request, answer: Answer) -> Frames:
        if isinstance(answer, LoginAck):
            return self._logged_in(request, answer)
        if msgid_of(answer) > LAST_ORIGINAL >= msgid_of(request):
            return ()
        address(answer, request)
        return (self._fitting(msgspec.to_builtins(answer, enc_hook=_fields_of)) + NUL,)

    def failed(self, error: RequestError, re: int | None, cid: str | None) -> Frames:
        told = failure(error, re, cid)
        if is_passed_over(error, re) or msgid_of(told) > LAST_ORIGINAL >= (re or 0):
            return ()
        if re == MsgId.LOGIN:
            told.errmsg = login_refusal(error)
        return (self._fitting(msgspec.to_builtins(told)) + NUL,)

    def login_room(self, request: Request, ack: LoginAck) -> Fit:
        def fit(entries: list[SharedEntry]) -> list[SharedEntry]:
            """Return the first entries that the answer holds, with those between that are not shown."""
            shown = [shared for shared in entries if _message_of(shared.entry)]
            count = self._welcome(request, ack, shown).shown
            return entries if count == len(shown) else entries[: entries.index(shown[count])]

        return fit

    def entry(self, entry: Entry, reader: int) -> Frames:
        message = _message_of(entry)
        return () if message is None else self._parts(_fields(message, reader))

    def push(self, push: Push) -> Frames:
        return ()

    def bye(self, reason: str, retry_after: float | None) -> Frames:
        return ()

    def refused(self, error: RequestError, first: bytes | None) -> Frames:
        if first is None:
            return ()
        try:
            re: int | None = msgid_of(self.request(first))
        except MalformedFrame as malformed:
            re = malformed.re
        except ForeignDialect:
            return ()
        return self.failed(error, re, None)

    # -- A login

    def _logged_in(self, request: Request, ack: LoginAck) -> Frames:
        """Return LOGIN_ACK, and a live message from the user's own name about the parts that did not fit."""
        frame, _, left_out = self._welcome(request, ack, ack.offlinemsg or [])
        return [frame + NUL, *(self._notice(ack, left_out) if left_out else ())]

    def _welcome(self, request: Request, ack: LoginAck, entries: list[SharedEntry]) -> Welcome:
        messages = [(_message_of(shared.entry), shared.reader) for shared in entries]
        texts = [
            self._encode(self._localised(_fields(message, reader))).decode()
            for message, reader in messages
            if message is not None
        ]
        return welcome(self._encode, ack, request.cid, texts)

    def _notice(self, ack: LoginAck, text: str) -> Frames:
        now = self._clients.now()
        return self._parts(
            {"msgid": 6, "id": ack.id, "name": ack.name, "toid": ack.id, "msg": text, "time": now}
        )

    # -- Frames that fit

    def _fitting(self, fields: dict[str, Any]) -> bytes:
        """Return the frame of a reply; an error if it is too long, which that to no original request is."""
        frame = self._encode(fields)
        if len(frame) <= MAX_FRAME:
            return frame
        text = f"the answer has more than {MAX_FRAME} bytes: ask for less"
        short = {name: fields[name] for name in ("msgid", "re", "cid") if name in fields}
        return self._encode(short | {"errno": 12, "error": "too_large", "errmsg": text})

    def _parts(self, fields: dict[str, Any]) -> Frames:
        """Return the frames of a message: several, each with a part, if its text is long."""
        text = fields.pop("msg")
        fields = self._localised(fields)
        whole = self._encode(fields | {"msg": text})
        if len(whole) <= MAX_FRAME:
            return (whole + NUL,)
        room = MAX_FRAME - len(self._encode(fields | {"msg": f"({PARTS}/{PARTS}) "}))
        pieces = list(split_text(text, room))
        return [
            self._encode(fields | {"msg": f"({number}/{len(pieces)}) {piece}"}) + NUL
            for number, piece in enumerate(pieces, 1)
        ]

    def _localised(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of a message with the time as the original shows it."""
        return fields | {"time": self._clients.local_time(fields["time"])}

    def _encode(self, fields: dict[str, Any]) -> bytes:
        return msgspec.json.encode(fields | {"msgid": fields["msgid"] + (self._shift or 0)})


def _message_of(entry: Entry) -> Entry | None:
    """Return an entry as the message that these clients show for it; None if they are not shown it."""
    words = KINDS[entry.kind].words(entry)
    return None if words is None else entry._replace(kind=TEXT.name, body=words)


def _fields(entry: Entry, reader: int) -> dict[str, Any]:
    """Return the fields of an entry; a recalled message has an empty text, as these clients know no other."""
    fields: dict[str, Any] = msgspec.to_builtins(FORMS[entry.kind](entry, reader, recalled=""))
    return fields


def _fields_of(shared: SharedEntry) -> dict[str, Any]:
    """Return the fields of an entry in an answer."""
    return _fields(shared.entry, shared.reader)
