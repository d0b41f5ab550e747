"""A device moves from one connection to another: which sessions end, and which come back (see ``claims``)."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from greenchat.errors import AlreadyOnline, Busy, Uncertain
from greenchat.model.records import LoginState
from greenchat.service.delivery.announce import announce
from greenchat.service.delivery.hub import Online
from greenchat.service.delivery.node_events import Ended, Reopen
from greenchat.service.doubt import TRY_AGAIN
from greenchat.service.service import Service


def end_elsewhere(
    service: Service, userid: int, device: str, state: LoginState, seats: Collection[str]
) -> None:
    """End the device's older logins at other nodes.  Does not switch.

    Args:
        service: of this node.
        userid: the user of the device.
        device: its name.
        state: the database's answer for the login here.
        seats: the nodes where the bus has seen the device.
    """
    # The database knows of logins that the bus has not seen: it may have lost its data.
    nodes = set(seats)
    if state.before is not None and state.before in service.bus.nodes():
        nodes.add(state.before)
    if nodes:
        announce(service.bus, Ended(userid, device, state.since), nodes)


def hand_over(service: Service, userid: int, device: str, state: LoginState, seats: Collection[str]) -> bool:
    """Pass on the place of a login that was replaced before its transaction was done.  Does not switch.

    Returns:
        False if no newer login of the device is here: then the login is void.
    """
    newer = service.hub.find(userid, device)
    if newer is None:
        return False
    newer.claim.inherit(state.since)
    end_elsewhere(service, userid, device, state, seats)
    return True


def open_here(service: Service, userid: int, device: str, unless_elsewhere: bool) -> LoginState:
    """Mark a device online here; if nobody knows whether it is, have it given back.  May switch.

    Raises:
        AlreadyOnline: with ``unless_elsewhere``, it is at another node.
        BadCredentials: the user is gone.
    """
    try:
        return service.store.open_device(userid, device, service.node, service.now(), unless_elsewhere)
    except Uncertain as doubt:
        service.later(0, partial(_give_back, service, userid, device, doubt))
        raise


def _give_back(service: Service, userid: int, device: str, doubt: Uncertain) -> None:
    """Void a login that failed, and may have taken the device in the database all the same.  May switch."""
    try:
        doubt.resolve()
        if service.hub.find(userid, device) is not None:
            return  # a newer login here has it, or will
        state = service.store.open_device(userid, device, service.node, service.now())
    except Busy:
        service.later(TRY_AGAIN, partial(_give_back, service, userid, device, doubt))
    else:
        if not hand_over(service, userid, device, state, ()):  # to one that came meanwhile
            service.store.close_device(userid, device, service.node, service.now())
            reopen_elsewhere(service, userid, device, state.since)


def reopen_elsewhere(service: Service, userid: int, device: str, since: str) -> None:
    """Have the node where a device is online mark it again: the login of an instant is void."""
    announce(service.bus, Reopen(userid, device, since), service.bus.nodes((userid,)))


def open_again(service: Service, session: Online) -> None:
    """Mark a session's device online again if the login that has taken it is void.  May switch.

    A later login than the void one may have the device by now.  If it lives, it ends this session by
    ``Ended``.  Race: it may be void as well, with its ``Reopen`` on the way.  So this session ends only if
    the database still shows the device elsewhere some time later.
    """
    userid, void = session.user, session.claim.voided
    if userid is None or not void:
        return
    try:
        state = service.store.open_device(userid, session.device, service.node, service.now(), if_last=void)
    except AlreadyOnline:
        service.recovery.check_user(userid)
    except Busy:
        service.later(TRY_AGAIN, partial(open_again, service, session))
    else:
        session.claim.open(state.since)
        if session.user is not None:
            # Those that moved meanwhile found no follower here.
            service.presence.tell_anew([friend.id for friend in state.friends])
        elif not hand_over(service, userid, session.device, state, ()):
            service.store.close_device(userid, session.device, service.node, service.now())
