"""The marks that wait to be written, while others come and a write fails."""

from __future__ import annotations

from gevent.event import AsyncResult

from greenchat.data.queries.marks import Marks
from greenchat.errors import Busy
from greenchat.model.records import Node
from tests.data.shared import NOW


def test_an_old_close_never_ends_a_new_login() -> None:
    marks = Marks(AsyncResult)
    marks.close(1, "", Node("here", 1), NOW)
    closing = marks.taken()
    closing.__enter__()
    with marks.taken(opening=(1, "")):
        closing.__exit__(Busy, Busy(), None)  # the write of the close fails while the login goes on
        assert marks
    assert not marks, "the close would end the login"
