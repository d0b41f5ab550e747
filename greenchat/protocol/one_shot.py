"""The wire of a single request that came typed: its answer is handed on typed, and never becomes bytes."""

from __future__ import annotations

from collections.abc import Callable

from greenchat.errors import RequestError
from greenchat.protocol.messages import Answer, Request
from greenchat.protocol.native import Native, address, is_passed_over
from greenchat.protocol.wire import Frames

Heard = Answer | RequestError | None
"""An answer, an error, or None where a request has no answer."""


class OneShot(Native):
    """Hand one request to the service, and its answer to a function.

    Entries in an answer are encoded as on the native wire.

    Args:
        request: the request.
        hear: called with the answer.
    """

    __slots__ = ("_hear", "_request")

    def __init__(self, request: Request, hear: Callable[[Heard], object]) -> None:
        self._request = request
        self._hear: Callable[[Heard], object] | None = hear

    def request(self, frame: bytes) -> Request:
        """Return the request; the frame is of no account."""
        return self._request

    def reply(self, request: Request, answer: Answer) -> Frames:
        address(answer, request)
        self.hear(answer)
        return ()

    def failed(self, error: RequestError, re: int | None, cid: str | None) -> Frames:
        if not is_passed_over(error, re):
            self.hear(error)
        return ()

    def hear(self, heard: Heard) -> None:
        """Hand on the answer; any after the first is ignored."""
        hear, self._hear = self._hear, None
        if hear is not None:
            hear(heard)
