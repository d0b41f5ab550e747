"""The end of a session's login."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from greenchat.errors import Busy
from greenchat.service.delivery.hub import Online
from greenchat.service.service import Service


def sign_off(service: Service, session: Online) -> None:
    """End a session's login, if it has one: the device is offline, the other nodes are told.  May switch."""
    userid = session.user
    if userid is not None:
        _leave(service, session, userid)
        _tell_that_left(service, userid)


def give_up(service: Service, session: Online) -> None:
    """Do the same, but let all that may switch come later."""
    userid = session.id
    _leave(service, session, userid)
    service.later(0, partial(_tell_that_left, service, userid))


def _leave(service: Service, session: Online, userid: int) -> None:
    """End a session here and in the database.  Does not switch.

    Both at once: the device may log in here again at any switch, and the end would be taken for that login's.
    """
    session.leave()
    service.store.close_device(userid, session.device, service.node, service.now())


def _tell_that_left(service: Service, userid: int) -> None:
    """Tell the other nodes that a session of a user has ended.  May switch."""
    if not service.draining:  # else the node leaves the cluster as a whole
        with suppress(Busy):  # the bus tries again
            service.bus.refresh(userid)
