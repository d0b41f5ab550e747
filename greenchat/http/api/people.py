"""The calls about the caller and about groups."""

from __future__ import annotations

from greenchat.errors import BadRequest
from greenchat.http.api.bodies import GroupPage, Me, MembersQuery, given, query_of
from greenchat.http.api.door import Door, ask
from greenchat.http.api.json import answered
from greenchat.http.call import Call, Response
from greenchat.model.records import MAX_ID
from greenchat.protocol import messages as m
from greenchat.service.requests.profiles import friends_and_groups


def me(door: Door, call: Call) -> Response:
    """Return the caller's account, friends and groups."""
    visit = door.visit(call)
    friends, groups = friends_and_groups(visit)
    return answered(Me(visit.id, visit.name, visit.device, friends, groups))


def group(door: Door, call: Call) -> Response:
    """Return a group and a page of its members."""
    text, query = call.parameters["id"], query_of(call, MembersQuery)
    groupid = int(text) if text.isascii() and text.isdecimal() and len(text) <= 10 else 0
    if not 1 <= groupid <= MAX_ID:
        raise BadRequest(f"the id of a group is a number from 1 to {MAX_ID}")
    request = m.GroupInfo(groupid=groupid, after=given(query.after) or 0, limit=given(query.limit))
    page: m.GroupInfoAck = ask(door.visit(call), request)
    return answered(GroupPage(page.group, page.users, page.more))
