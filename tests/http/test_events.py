"""The answers to a call for events that fails: some stop a browser's EventSource for good, some must not."""

from __future__ import annotations

import pytest

from greenchat.errors import BadCredentials, Busy, RateLimited, RequestError
from greenchat.http.api.events import failed
from greenchat.http.call import HttpError


@pytest.mark.parametrize("error", [Busy(), RateLimited(retry_after=60), HttpError(429), HttpError(503)])
def test_full_and_busy_are_streams_that_end_at_once(error: RequestError | HttpError) -> None:
    response = failed(error)
    assert response.status == 200
    assert ("content-type", "text/event-stream") in response.headers
    assert isinstance(response.body, bytes)
    assert response.body.endswith(b"\nretry: 5000\n\n")


@pytest.mark.parametrize(("error", "status"), [(BadCredentials(), 401), (HttpError(403), 403)])
def test_who_may_not_come_at_all_is_told_so(error: RequestError | HttpError, status: int) -> None:
    assert failed(error).status == status
