"""A device moves from one connection to another: which sessions end, and which come back (see ``claims``)."""

from __future__ import annotations

from collections.abc import Collection

from greenchat.errors import AlreadyOnline
from greenchat.ports import LoginState
from greenchat.service.events import Ended, Reopen, encode_event
from greenchat.service.hub import Online
from greenchat.service.presence import give_up
from greenchat.service.service import Service


def end_elsewhere(
    service: Service, userid: int, device: str, state: LoginState, seats: Collection[str]
) -> None:
    """End the device's older logins at other nodes.  Does not switch.

    Args:
        service: of this node.
        userid: whose device it is.
        device: its name.
        state: what the database returned for the login here.
        seats: the nodes where the bus has seen the device.
    """
    # The database knows of logins that the bus has not seen: it may have lost what it knew.
    nodes = set(seats)
    if state.before is not None and state.before in service.bus.nodes():
        nodes.add(state.before)
    if nodes:
        service.bus.send(nodes, encode_event(Ended(userid, device, state.since)))


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


def reopen_elsewhere(service: Service, userid: int, device: str, since: str) -> None:
    """Have the node where a device is online mark it again: the login of an instant is void."""
    service.bus.send(service.bus.nodes((userid,)), encode_event(Reopen(userid, device, since)))


def open_again(service: Service, session: Online) -> None:
    """Mark a session's device online again if the login that has taken it is void.  May switch.

    A later login than the void one keeps it: then this session ends.
    """
    userid, void = session.user, session.claim.voided
    if userid is None or not void:
        return
    try:
        state = service.store.open_device(userid, session.device, service.node, service.now(), if_last=void)
    except AlreadyOnline:
        if session.user is not None:
            session.peer.close("replaced")
            give_up(service, session)
    else:
        session.claim.open(state.since)
        if session.user is None and not hand_over(service, userid, session.device, state, ()):
            service.store.close_device(userid, session.device, service.node, service.now())
