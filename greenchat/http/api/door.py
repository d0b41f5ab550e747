"""The door of the calls: who calls, and whether their page may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import gevent
from gevent.event import AsyncResult

from greenchat.errors import Busy, NotLoggedIn, RequestError
from greenchat.http.api.cookies import Cookies
from greenchat.http.call import Call
from greenchat.http.origin import Origins
from greenchat.protocol.messages import Answer, Request
from greenchat.service.service import Service
from greenchat.service.visit import Visit, Visits

PATIENCE = 30.0
"""Seconds that a call waits for its commit."""

FIELDS = {"msg": "text", "toid": "user_id", "groupid": "group_id", "cid": "Idempotency-Key"}
"""Names of fields in the sentences of errors, and those that they have in these calls."""


class Door:
    """Lets in calls with a token.

    Args:
        service: of this node.
        origins: says which pages may act with a cookie.
        cookies: of this server.

    Attributes:
        service, origins, cookies: as given.
    """

    def __init__(self, service: Service, origins: Origins, cookies: Cookies) -> None:
        self.service = service
        self.origins = origins
        self.cookies = cookies
        self._visits = Visits(service)

    # Two looks at a token: the first, without the database, before the body is read (``Route.requires``);
    # the second behind the body, since a slow one takes seconds, in which the token may end.

    def reads(self, call: Call) -> str:
        """Return the token of a call that changes nothing.

        Raises:
            NotLoggedIn: it has none.
            BadCredentials: it is not one of ours, or has expired.
        """
        token = self._token(call, lambda: None)
        self.service.tokens.read(token)
        return token

    def listens(self, call: Call) -> str:
        """Return the token of a call for events, which acknowledges some and ends another stream.

        A browser tells the origin of such a GET only if it is another one.

        Raises:
            HttpError: 403: a page of another site makes it with a cookie.
            NotLoggedIn, BadCredentials: as ``reads``.
        """
        token = self._token(call, lambda: self._check_listener(call))
        self.service.tokens.read(token)
        return token

    def changes(self, call: Call) -> str:
        """Return the token of a call that changes something.

        Raises:
            HttpError: 403: with a cookie, and not from a page of this server.
            NotLoggedIn, BadCredentials: as ``reads``.
        """
        token = self.ends(call)
        self.service.tokens.read(token)
        return token

    def ends(self, call: Call) -> str:
        """Return the same of a call that ends its token, which may have ended already.

        Raises:
            HttpError, NotLoggedIn: as ``changes``.
        """
        return self._token(call, lambda: self.origins.check_change(call))

    def visit(self, call: Call) -> Visit:
        """Return a visit of the caller.  May switch.

        Raises:
            BadCredentials, RateLimited, Busy: as ``Visits.open``.
        """
        return self._visits.open(call.account, call.address)

    def _token(self, call: Call, check: Callable[[], None]) -> str:
        header = call.headers.get("authorization")
        if header:
            scheme, _, token = header.partition(" ")
            if scheme.lower() != "bearer":
                raise NotLoggedIn("Authorization: Bearer TOKEN is needed")
            token = token.strip()
        else:
            cookie = self.cookies.read(call)
            if cookie is None:
                raise NotLoggedIn("Authorization: Bearer TOKEN is needed, or the cookie of POST /session")
            check()
            token = cookie
        return token

    def _check_listener(self, call: Call) -> None:
        if "origin" in call.headers or call.headers.get("sec-fetch-site", "none") not in (
            "none",
            "same-origin",
        ):
            self.origins.check_change(call)


def ask(visit: Visit, request: Request) -> Any:
    """Return the answer to a request; None if it has none.  May switch.

    Raises:
        RequestError: the request failed.
    """
    heard: AsyncResult = AsyncResult()
    visit.ask(request, heard.set)
    try:
        answer = cast("Answer | RequestError | None", heard.get(timeout=PATIENCE))
    except gevent.Timeout:
        raise Busy("the database does not answer; try again with the same Idempotency-Key") from None
    if isinstance(answer, RequestError):
        raise _renamed(answer)
    return answer


def _renamed(error: RequestError) -> RequestError:
    """Return an error whose sentence has this face's name of the field that it begins with."""
    field, colon, sentence = str(error).partition(": ")
    if not colon or field not in FIELDS:
        return error
    return type(error)(f"{FIELDS[field]}: {sentence}", retry_after=error.retry_after)
