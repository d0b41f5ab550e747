"""The calls about messages: send, read back, acknowledge."""

from __future__ import annotations

from greenchat.errors import BadRequest, CidUsed, TooLarge
from greenchat.http.api.bodies import (
    HistoryQuery,
    NewMessage,
    Page,
    Place,
    Receipt,
    Stored,
    body_of,
    given,
    query_of,
)
from greenchat.http.api.door import Door, ask
from greenchat.http.api.json import answered
from greenchat.http.call import Call, HttpError, Response
from greenchat.model.conversations import group_of, name_of, named, of_group, of_pair, pair_of, peer_of
from greenchat.protocol import messages as m
from greenchat.service.requests.validation import exactly_one
from greenchat.service.visit import Visit

KEY = "Idempotency-Key"
"""The header with the ``cid`` of a message."""

MAX_KEY = 36


def send(door: Door, call: Call) -> Response:
    """Store a message, and answer after its commit."""
    body, cid = body_of(call, NewMessage), _key(call)
    visit = door.visit(call)
    userid, groupid = _place(visit, body)
    request: m.Request
    if groupid is not None:
        request, conversation = m.GroupChat(groupid=groupid, msg=body.text, cid=cid), of_group(groupid)
    else:
        assert userid is not None
        request, conversation = m.OneChat(toid=userid, msg=body.text, cid=cid), of_pair(visit.id, userid)
    try:
        ack: m.StoredAck = ask(visit, request)
    except CidUsed:
        raise HttpError(409, f"{KEY}: used for another message") from None
    status = 200 if isinstance(ack, m.RepeatedAck) else 201
    return answered(Stored(ack.seq, ack.time, name_of(conversation)), status)


def history(door: Door, call: Call) -> Response:
    """Return a page of a conversation's past."""
    query = query_of(call, HistoryQuery)
    visit = door.visit(call)
    userid, groupid = _place(visit, query)
    before, limit = given(query.before), given(query.limit)
    request = m.History(peerid=userid, groupid=groupid, before=before, limit=limit)
    page: m.HistoryAck = ask(visit, request)
    assert isinstance(page.messages, list)
    return answered(Page(page.messages, bool(page.more)))


def received(door: Door, call: Call) -> Response:
    """Move the device's cursor."""
    body = body_of(call, Receipt)
    try:
        conversation = named(body.conversation)
    except ValueError:
        raise BadRequest("conversation: no conversation has this name") from None
    visit = door.visit(call)
    ask(visit, receipt(visit, conversation, body.seq))
    return Response(204)


def receipt(visit: Visit, conversation: int, seq: int) -> m.Received:
    """Return the receipt of a visit's user for all entries of a conversation up to ``seq``.

    Raises:
        BadRequest: it is a conversation of two others.
    """
    groupid = group_of(conversation)
    if groupid is not None:
        return m.Received(groupid=groupid, seq=seq)
    if visit.id not in pair_of(conversation):
        raise BadRequest("conversation: you are not one of these two")
    return m.Received(peerid=peer_of(conversation, visit.id), seq=seq)


def _place(visit: Visit, place: Place) -> tuple[int | None, int | None]:
    """Return the other user or the group of a conversation.  May switch.

    Raises:
        BadRequest: it is named by none of the fields, or by several.
        NoSuchUser, NoSuchGroup
    """
    user, user_id = given(place.user), given(place.user_id)
    group, group_id = given(place.group), given(place.group_id)
    exactly_one(user=user, user_id=user_id, group=group, group_id=group_id)
    found: m.FoundAck
    if user is not None:
        found = ask(visit, m.Find(name=user))
        assert isinstance(found.user, m.UserItem)
        return found.user.id, None
    if group is not None:
        found = ask(visit, m.Find(groupname=group))
        assert isinstance(found.group, m.FoundGroup)
        return None, found.group.id
    return user_id, group_id


def _key(call: Call) -> str | None:
    """Return the ``cid`` that a call gives its message; None without one.

    Raises:
        BadRequest: it is empty, or no UTF-8.
        TooLarge
    """
    if KEY.lower() not in call.headers:
        return None
    try:
        key = call.headers.get(KEY.lower()).encode("latin-1").decode()
    except UnicodeDecodeError:
        raise BadRequest(f"{KEY}: UTF-8 is needed") from None
    if not key:
        raise BadRequest(f"{KEY}: may not be empty")
    if len(key) > MAX_KEY:
        raise TooLarge(f"{KEY}: at most {MAX_KEY} characters, this has {len(key)}")
    return key
