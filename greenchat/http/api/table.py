"""The calls as one table: their rows of the table of routes, and their description, are made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from msgspec import Struct

from greenchat.http.api import bodies, messages, people, session
from greenchat.http.api.bodies import MAX_BODY
from greenchat.http.api.door import Door
from greenchat.http.api.events import Events, failed
from greenchat.http.call import Call, Failure, Response, Route

EVENT_STREAM = "text/event-stream"

Handler = Callable[[Door, Call], Response]


class Operation(NamedTuple):
    """A call.

    Attributes:
        method, path: as of ``Route``.
        name: for programs that are made from the description.
        summary: a sentence for people.
        handler: answers it; empty for the stream of events.
        admits: the name of the ``Door``'s method that says who may call; empty: anybody.
        answers: the type of the body for each status of a success; None for none.
        body: the type of the body.
        query: the type of the query.
        headers: names, and what they are for.
        failures: statuses besides those of every call.
        failure: as of ``Route``.
    """

    method: str
    path: str
    name: str
    summary: str
    handler: Handler | None
    admits: str
    answers: dict[int, type[Struct] | str | None]
    body: type[Struct] | None = None
    query: type[Struct] | None = None
    headers: dict[str, str] = {}
    failures: tuple[int, ...] = ()
    failure: Failure | None = None


KEY = "the message's cid: sent again with the same one, a message is stored once"
LAST = "the id of the last event that arrived: all up to it is acknowledged"

OPERATIONS = (
    Operation(
        "POST", "/session", "beginSession", "Begin a session: the answer sets a cookie",
        session.begin, "", {204: None}, bodies.NewSession, failures=(401, 403, 413, 415),
    ),
    Operation(
        "DELETE", "/session", "endSession", "End the session, its token and its device's connections",
        session.end, "ends", {204: None},
    ),
    Operation(
        "POST", "/api/v1/messages", "send", "Send a message; it is answered once it is stored for good",
        messages.send, "changes", {201: bodies.Stored, 200: bodies.Stored}, bodies.NewMessage,
        headers={messages.KEY: KEY}, failures=(404, 409, 413, 415),
    ),
    Operation(
        "GET", "/api/v1/messages", "history", "Read back in a conversation",
        messages.history, "reads", {200: bodies.Page}, query=bodies.HistoryQuery, failures=(404, 413),
    ),
    Operation(
        "POST", "/api/v1/received", "received", "Acknowledge all entries of a conversation up to one",
        messages.received, "changes", {204: None}, bodies.Receipt, failures=(413, 415),
    ),
    Operation(
        "GET", "/api/v1/me", "me", "The caller, with friends and groups",
        people.me, "reads", {200: bodies.Me},
    ),
    Operation(
        "GET", "/api/v1/groups/{id}", "group", "A group of the caller's, and a page of its members",
        people.group, "reads", {200: bodies.GroupPage}, query=bodies.MembersQuery, failures=(404,),
    ),
    Operation(
        "GET", "/api/v1/events", "events", "What comes in from now on, as server-sent events",
        None, "listens", {200: EVENT_STREAM}, headers={"Last-Event-ID": LAST}, failure=failed,
    ),
)  # fmt: skip
"""All calls."""


def api_routes(door: Door, events: Events) -> Iterator[Route]:
    """Yield the rows.

    Args:
        door: lets callers in.
        events: the streams.
    """
    for row in OPERATIONS:
        handler: Any = events.open if row.handler is None else partial(row.handler, door)
        yield Route(
            row.method,
            row.path,
            handler,
            requires=getattr(door, row.admits) if row.admits else None,
            max_body=MAX_BODY if row.body else 0,
            failure=row.failure,
        )
