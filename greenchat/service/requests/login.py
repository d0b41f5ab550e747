"""Log in: authenticate, come online as a device, and answer with its backlogs."""

from __future__ import annotations

from greenchat.errors import (
    AlreadyLoggedIn,
    AlreadyOnline,
    BadCredentials,
    BadRequest,
    Busy,
    NotAllowed,
    RequestError,
)
from greenchat.metrics import LOGINS
from greenchat.model.records import Account, Seat
from greenchat.protocol import messages as m
from greenchat.service.device.caller import Caller
from greenchat.service.device.sign_off import give_up, sign_off
from greenchat.service.device.takeover import (
    end_elsewhere,
    hand_over,
    open_again,
    open_here,
    reopen_elsewhere,
)
from greenchat.service.requests.audit import note
from greenchat.service.requests.authentication import Credentials, Proof, authenticate
from greenchat.service.requests.login_reply import welcome
from greenchat.service.requests.validation import check_printable
from greenchat.service.service import Service


def login(caller: Caller, request: m.Login) -> None:
    """Log in: authenticate, then come online.

    Coming online registers the device with all nodes first and reads its backlogs then: so a message
    that is committed meanwhile is either read or held back.
    """
    try:
        if caller.user is not None:
            raise AlreadyLoggedIn
        check_printable("device", request.device)
        proof = authenticate(caller.service, _claim(caller, request), caller.peer.address)
        try:
            come_online(caller, request, proof)
        finally:
            proof.bill.pay()
    except RequestError as error:
        LOGINS.values[error.error] += 1
        raise
    LOGINS.values["ok"] += 1


def _claim(caller: Caller, request: m.Login) -> Credentials:
    """Return the claim of a login; the cookie of a connection stands for password and token.

    Raises:
        BadRequest: there is a cookie, and one of the two as well.
        BadCredentials: the cookie's token has ended.
    """
    id, name, token = request.id, request.name, caller.cookie
    if token is None:
        return Credentials(id, name, request.password, request.token, request.device)
    if request.password is not None or request.token is not None:
        raise BadRequest("password and token: neither is taken here, since the connection came with a cookie")
    request.device = request.device or caller.service.tokens.read(token).device
    return Credentials(id, name, None, token, request.device)


def come_online(caller: Caller, request: m.Login, proof: Proof) -> None:
    """Make a device of a proved user online on a connection, and answer its login.  May switch.

    Args:
        caller: the connection; nobody is logged in on it.
        request: the login, of which ``device`` and ``force`` count.
        proof: of the user's identity.

    Raises:
        RequestError: as ``login``; the connection is logged out then.
    """
    _enter(caller, proof.account, request)
    try:
        seats = _register(caller, proof.account, request)
        if caller.user is not None:
            _open(caller, request, proof, seats)
    except BaseException:
        sign_off(caller.service, caller)
        raise


def _enter(caller: Caller, account: Account, request: m.Login) -> None:
    """Become the one session of the device at this node, which holds back from now on.  Does not switch.

    Raises:
        AlreadyOnline: there is one, and ``force`` was not given.
        NotAllowed: too many other devices of the user are online here.
        Busy: this server stops.
    """
    service = caller.service
    replaced = service.hub.find(account.id, request.device)
    if replaced is None:
        _check_devices(service, len(service.hub.of(account.id)) + 1)
    elif not _is_forced(caller, request):
        raise AlreadyOnline
    if service.draining:
        raise Busy("this server stops", retry_after=1.0)
    if replaced is not None:
        replaced.leave()
        replaced.peer.close("replaced")
    caller.enter(account.id, account.name, request.device)


def _is_forced(caller: Caller, request: m.Login) -> bool:
    """Return True if a login may end another of the same device.

    A client that has gone since may not: after a server has hung, its login may still be read, long after the
    same user came back elsewhere.
    """
    return request.force and caller.peer.present


def _check_devices(service: Service, online: int) -> None:
    """Check how many devices of a user would be online with the one that comes.

    Raises:
        NotAllowed: too many.
    """
    limit = service.limits.max_devices_online
    if online > limit:
        raise NotAllowed(f"only {limit} devices of a user may be online at a time")


def _register(caller: Caller, account: Account, request: m.Login) -> list[Seat] | None:
    """Register the device with all nodes.  May switch.

    Returns:
        The other nodes' devices of the user; None while the bus is away: only the database can tell.

    Raises:
        AlreadyOnline: the device is at another node, and ``force`` was not given.
        NotAllowed: too many other devices of the user are online.
    """
    service, userid = caller.service, account.id
    caller.claim.is_public = True
    try:
        seats = service.bus.refresh(userid)
    except Busy:
        return None
    if service.draining:
        raise Busy("this server stops", retry_after=1.0)
    if seats:  # else ``_enter`` has checked it all
        elsewhere = {seat.device for seat in seats}
        if request.device in elsewhere and not _is_forced(caller, request):
            raise AlreadyOnline
        # Each counts once: one that has come back may still be counted at a node that has died.
        elsewhere.update(session.device for session in service.hub.of(userid))
        _check_devices(service, len(elsewhere))
    return seats


def _open(caller: Caller, request: m.Login, proof: Proof, seats: list[Seat] | None) -> None:
    """Mark the device online, and answer with its backlogs; held-back entries and pushes follow.  May switch.

    Args:
        caller: the connection.
        request: the login.
        proof: of the user's identity.
        seats: the other nodes' devices of the user; None if only the database can tell.

    Raises:
        AlreadyOnline: the database shows the device at another node, and ``force`` was not given.
        BadCredentials: the password or token that was proved has been changed since.
    """
    service, userid, device = caller.service, proof.account.id, request.device
    nobody_knows = seats is None and not _is_forced(caller, request)
    state = open_here(service, userid, device, nobody_knows)
    proof.bill.rows = state.rows
    is_void = proof.has_changed(state)
    there = [seat.node for seat in seats if seat.device == device] if seats else ()
    if caller.user is None:  # replaced, or ended by a change of the password, meanwhile
        if not hand_over(service, userid, device, state, there):
            service.store.close_device(userid, device, service.node, service.now())
            reopen_elsewhere(service, userid, device, state.since)
        return
    if is_void:
        reopen_elsewhere(service, userid, device, state.since)
        raise BadCredentials
    end_elsewhere(service, userid, device, state, there)
    if caller.claim.open(state.since):
        if caller.claim.is_outdated:
            caller.peer.close("replaced")
            give_up(service, caller)
            return
        open_again(service, caller)
    token = service.tokens.issue(userid, device, state.generation)
    welcome(caller, request, state, token)
    note(service, caller.peer.address, "logged in", userid, proof.account.name, device)
    service.recovery.check_soon(caller)
