"""Incoming hooks: ``POST /hooks/CODE`` in Slack's form."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import gevent
from gevent.event import AsyncResult

from greenchat.errors import Busy, RequestError
from greenchat.http.call import Call, HttpError, Response, Route, text
from greenchat.metrics import INCOMING_MESSAGES
from greenchat.model.records import Hook
from greenchat.ports.hooks import IncomingHooks
from greenchat.protocol.slack import payload_of, text_of

MOST_BODY = 262_144
"""Bytes of a payload: an alert that names hundreds of machines has some ten thousand."""

SECONDS = 10.0
"""Seconds that the database may take."""


def hook_routes(hooks: IncomingHooks, max_message: int) -> Iterator[Route]:
    """Yield the row.

    Args:
        hooks: the incoming hooks.
        max_message: characters of a message; a longer text is cut.
    """
    yield Route(
        "POST",
        "/hooks/{code}",
        partial(_post, hooks, max_message),
        requires=partial(_find, hooks),
        max_body=MOST_BODY,
    )


def _find(hooks: IncomingHooks, call: Call) -> Hook:
    """Return the hook of a call.

    Raises:
        HttpError: 404: there is none.
        RateLimited: it has sent too many messages.
    """
    try:
        hook = hooks.find(call.parameters["code"])
    except RequestError as error:
        INCOMING_MESSAGES.values[error.error] += 1
        raise
    if hook is None:
        raise HttpError(404, "there is no such hook")
    return hook


def _post(hooks: IncomingHooks, max_message: int, call: Call) -> Response:
    """Store the text of a payload as a message of the hook's bot, and answer after the commit."""
    try:
        payload = payload_of(call.headers.get("content-type"), call.body)
        stored: AsyncResult[RequestError | None] = AsyncResult()
        hooks.post(call.account, text_of(payload, max_message), call.address, stored.set)
        try:
            error = stored.get(timeout=SECONDS)
        except gevent.Timeout:
            error = Busy()
        if error is not None:
            raise error
    except RequestError as error:
        INCOMING_MESSAGES.values[error.error] += 1
        raise
    INCOMING_MESSAGES.values["ok"] += 1
    return text("ok")
