"""Coming online, going offline, and who is told."""

from __future__ import annotations

import logging
from functools import partial

from greenchat.errors import Busy
from greenchat.protocol.messages import PresencePush, State, encode
from greenchat.service.hub import Online
from greenchat.service.service import Service

_log = logging.getLogger(__name__)


def sign_off(service: Service, session: Online) -> None:
    """End a session's login, if it has one: the device is offline, and friends are told.  May switch."""
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
    """Tell the nodes and the followers that a session of a user has ended.  May switch."""
    if service.draining:
        return  # the node leaves the cluster as a whole
    elsewhere = is_elsewhere(service, userid)
    if not _has_changed(service, userid):
        return
    try:
        followers = service.store.followers(userid)
    except Busy:
        _log.warning("presence of user %s not announced: the database is away", userid)
        return
    tell_followers(service, userid, followers, elsewhere)


def is_elsewhere(service: Service, userid: int) -> bool:
    """Tell the other nodes where a user is now, and return whether that is at one of them.  May switch."""
    try:
        return bool(service.bus.refresh(userid))
    except Busy:
        return bool(service.bus.online((userid,)))


def tell_followers(service: Service, userid: int, followers: list[int], elsewhere: bool) -> None:
    """Tell followers, if that has changed, whether the user is online.  Does not switch.

    Args:
        service: of this node.
        userid: who has come or gone here.
        followers: who is to know.
        elsewhere: whether the user is online at another node: then nothing changes for them.
    """
    if not _has_changed(service, userid):
        return
    here = bool(service.hub.of(userid))
    (service.announced.add if here else service.announced.discard)(userid)
    if not elsewhere:
        service.router.tell(followers, presence_frame(userid, "online" if here else "offline"))
    if service.bus.away:
        service.untold.add(userid)


def tell_again(service: Service, userid: int) -> None:
    """Tell the user's followers whether the user is online: they may not know.  May switch.

    Raises:
        Busy: the database is away.
    """
    followers = service.store.followers(userid)
    service.router.tell(followers, presence_frame(userid, state_of(userid, service.router.online((userid,)))))


def _has_changed(service: Service, userid: int) -> bool:
    return bool(service.hub.of(userid)) != (userid in service.announced)


def presence_frame(userid: int, state: State) -> bytes:
    """Return the frame that tells a follower of a user's state."""
    return encode(PresencePush(id=userid, state=state))


def state_of(userid: int, online: set[int]) -> State:
    """Return a user's state, given who is online."""
    return "online" if userid in online else "offline"
