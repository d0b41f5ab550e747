"""Coming online, going offline, and who is told."""

from __future__ import annotations

import logging

from greenchat.errors import Busy
from greenchat.ports import Event
from greenchat.protocol.messages import PresencePush, State, encode
from greenchat.service.caller import Caller
from greenchat.service.router import MOMENT
from greenchat.service.service import Service

_log = logging.getLogger(__name__)


def sign_off(caller: Caller) -> None:
    """End a caller's login, if it has one: the device is offline, and friends are told.  May switch."""
    userid, device = caller.user, caller.device
    if userid is None:
        return
    caller.leave()
    service = caller.service
    service.bus.release(userid, device)
    service.store.close_device(userid, device, service.node, service.now())
    announce(service, userid)


def announce(service: Service, userid: int) -> None:
    """Tell the user's followers, if that has changed, whether the user is online.  May switch.

    Presence is of the moment: while the database is away, and when this node stops, nobody is told.
    """
    if not _has_changed(service, userid) or service.draining:
        return
    try:
        followers = service.store.followers(userid)
    except Busy:
        _log.warning("presence of user %s not announced: the database is away", userid)
        return
    tell_followers(service, userid, followers)


def tell_followers(service: Service, userid: int, followers: list[int]) -> None:
    """Tell followers, if that has changed, whether the user is online.  Does not switch."""
    if _has_changed(service, userid):
        state = state_of(userid, service.router.online([userid]))
        (service.announced.add if state == "online" else service.announced.discard)(userid)
        service.router.deliver(followers, presence_event(userid, state))


def _has_changed(service: Service, userid: int) -> bool:
    return bool(service.hub.of(userid)) != (userid in service.announced)


def presence_event(userid: int, state: State) -> Event:
    """Return the event that tells a follower of a user's state."""
    return Event(MOMENT, MOMENT, encode(PresencePush(id=userid, state=state)))


def state_of(userid: int, online: set[int]) -> State:
    """Return a user's state, given who is online."""
    return "online" if userid in online else "offline"
