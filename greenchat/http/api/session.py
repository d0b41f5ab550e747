"""The session of a browser: a cookie with a token, which no script sees."""

from __future__ import annotations

from greenchat.errors import BadCredentials
from greenchat.http.api.bodies import NewSession, body_of
from greenchat.http.api.door import Door
from greenchat.http.call import Call, Response
from greenchat.service.requests.web_session import close_session, open_session


def begin(door: Door, call: Call) -> Response:
    """Check name and password, and give out a cookie."""
    if "origin" in call.headers or "sec-fetch-site" in call.headers:
        door.origins.check_change(call)  # another site's page might log its reader in as somebody else
    body = body_of(call, NewSession)
    token = open_session(door.service, body.name, body.password, body.device, call.address)
    return Response(204, [door.cookies.set(call, token)])


def end(door: Door, call: Call) -> Response:
    """End the token of the call, and its device's connections; a token that has ended is none too many."""
    try:
        visit = door.visit(call)
    except BadCredentials:
        pass
    else:
        close_session(door.service, visit.account, visit.device, call.address)
    return Response(204, [door.cookies.clear(call)])
