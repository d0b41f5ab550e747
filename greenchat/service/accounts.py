"""Register, log in, log out, change the password."""

from __future__ import annotations

from functools import partial

from greenchat.errors import AlreadyLoggedIn, AlreadyOnline, BadCredentials, BadRequest, Busy, NotAllowed
from greenchat.ports import DELETED, Account, LoginState, Seat
from greenchat.protocol import messages as m
from greenchat.service.caller import Caller
from greenchat.service.checks import check_length, check_printable, clean_name, exactly_one
from greenchat.service.events import Ended, encode_event
from greenchat.service.presence import give_up, sign_off, tell_followers
from greenchat.service.service import Service
from greenchat.service.takeover import end_elsewhere, hand_over, open_again, reopen_elsewhere
from greenchat.service.throttle import LoginBill
from greenchat.service.welcome import welcome


def register(caller: Caller, request: m.Reg) -> m.Reply:
    """Add a user; the connection is not logged in by it."""
    if caller.user is not None:
        raise AlreadyLoggedIn
    service = caller.service
    name = clean_name("name", request.name, service.limits.max_name)
    if name.casefold() == DELETED:
        raise BadRequest(f"name: users who are gone are called {DELETED}")
    _check_password(service, "password", request.password)
    service.throttle.check_registration(caller.peer.address)
    userid = service.store.create_user(name, service.passwords.hash(request.password), service.now())
    return m.RegAck(id=userid, name=name)


def login(caller: Caller, request: m.Login) -> None:
    """Log in: authenticate, register the device with all nodes, then read what it missed.

    In this order, so that a message that is committed meanwhile is either read or held.
    """
    if caller.user is not None:
        raise AlreadyLoggedIn
    check_printable("device", request.device)
    account = _authenticate(caller, request)
    service = caller.service
    bill = service.throttle.bill(account.id, caller.peer.address, service.monotonic())
    try:
        _log_in(caller, request, account, bill)
    finally:
        bill.settle()


def _log_in(caller: Caller, request: m.Login, account: Account, bill: LoginBill) -> None:
    _enter(caller, account, request)
    try:
        seats = _take_place(caller, account, request)
        if caller.user is not None:
            _settle(caller, request, account, seats, bill)
    except BaseException:
        sign_off(caller.service, caller)
        raise


def logout(caller: Caller, request: m.Loginout) -> m.Reply:
    """Log out; the device's tokens end, and the connection may log in again."""
    caller.service.store.end_tokens(caller.id, caller.device)
    sign_off(caller.service, caller)
    return m.Ack(re=m.MsgId.LOGINOUT)


def change_password(caller: Caller, request: m.ChangePassword) -> m.Reply:
    """Change the password; all tokens of the user and all other sessions end."""
    service, userid, device = caller.service, caller.id, caller.device
    account = service.store.account(id=userid)
    if account is None or not service.passwords.verify(account.password, request.old):
        raise BadCredentials("old: this is not your password")
    _check_password(service, "new", request.new)
    new = service.passwords.hash(request.new)
    # caller.id: who was replaced or has gone meanwhile changes nothing, and ends nobody (NotLoggedIn).
    generation = service.store.set_password(caller.id, account.password, new, device)
    for other in service.hub.of(userid):
        if other is not caller:
            sign_off(service, other)
            other.peer.close("replaced")
    service.bus.send(service.bus.nodes((userid,)), encode_event(Ended(userid, None)))
    return m.TokenAck(re=m.MsgId.CHANGE_PASSWORD, token=service.tokens.issue(userid, device, generation))


def _check_password(service: Service, field: str, password: str) -> None:
    check_length(field, password, 1, service.limits.max_password)


def _authenticate(caller: Caller, request: m.Login) -> Account:
    """Return who this is.

    Raises:
        BadCredentials: it cannot be proved; an unknown user takes as long as a wrong password.
        RateLimited: too many wrong passwords have been tried.
    """
    service = caller.service
    exactly_one(password=request.password, token=request.token)
    if request.id is not None and request.name is not None:
        raise BadRequest("id and name: only one may be given")
    if request.token is not None:
        return _by_token(service, request, request.token)
    exactly_one(id=request.id, name=request.name)
    assert request.password is not None
    _check_password(service, "password", request.password)
    name = None if request.name is None else clean_name("name", request.name, service.limits.max_name)
    account = service.store.account(id=request.id, name=name, device=request.device)
    userid = request.id if account is None else account.id
    who = f"name:{name}" if userid is None else f"{userid}"
    service.throttle.begin_login(who, caller.peer.address)
    fits = service.passwords.verify(account and account.password, request.password)
    if account is None or not fits:
        service.throttle.failed(caller.peer.address)
        raise BadCredentials
    service.throttle.succeeded(who)
    if service.passwords.outdated(account.password):
        service.later(0, partial(_hash_again, service, account, request.password))
    return account


def _hash_again(service: Service, account: Account, password: str) -> None:
    """Keep a password's hash with today's parameters."""
    try:
        service.store.replace_hash(account.id, account.password, service.passwords.hash(password))
    except Busy:
        pass  # there will be other logins


def _by_token(service: Service, request: m.Login, text: str) -> Account:
    token = service.tokens.read(text)
    if token.device != request.device:
        raise BadCredentials
    account = service.store.account(id=token.userid, device=token.device)
    if account is None or account.generation != token.generation:
        raise BadCredentials
    if request.id not in (None, account.id):
        raise BadCredentials
    if request.name is not None and clean_name("name", request.name, service.limits.max_name) != account.name:
        raise BadCredentials
    return account


def _enter(caller: Caller, account: Account, request: m.Login) -> None:
    """Become the one caller of this device here; from now on live events are held.  Does not switch.

    Raises:
        AlreadyOnline: it is, and ``force`` was not given.
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
    """Return whether a login may end another of the same device.

    Not for a client that has gone since: after a server has hung, its login may still be read, long
    after the same user came back elsewhere.
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


def _take_place(caller: Caller, account: Account, request: m.Login) -> list[Seat] | None:
    """Become the one caller of this device in the cluster.  May switch.

    Returns:
        Where else the user is online; None while the bus is away: only the database can tell.

    Raises:
        AlreadyOnline: it is, and ``force`` was not given.
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
    elsewhere = {seat.device for seat in seats}
    if request.device in elsewhere and not _is_forced(caller, request):
        raise AlreadyOnline
    # Each counts once: one that has come back may still be counted at a node that has died.
    _check_devices(service, len(elsewhere.union(session.device for session in service.hub.of(userid))))
    return seats


def _settle(
    caller: Caller, request: m.Login, account: Account, seats: list[Seat] | None, bill: LoginBill
) -> None:
    """Read what the device is to know, answer, and let the held events follow.

    Args:
        caller: who logs in.
        request: how.
        account: as whom.
        seats: where else the user is online; None if only the database can tell.
        bill: is told of the rows that are read.

    Raises:
        AlreadyOnline: it does.
        BadCredentials: what was proved has been changed since.
    """
    service, userid, device = caller.service, account.id, request.device
    nobody_knows = seats is None and not _is_forced(caller, request)
    state = service.store.open_device(userid, device, service.node, service.now(), nobody_knows)
    bill.rows = state.rows
    has_changed = _has_changed(service, request, account, state)
    there = [seat.node for seat in seats or () if seat.device == device]
    if caller.user is None:  # replaced, or ended by a change of the password, meanwhile
        if not hand_over(service, userid, device, state, there):
            service.store.close_device(userid, device, service.node, service.now())
            reopen_elsewhere(service, userid, device, state.since)
        return
    if has_changed:
        reopen_elsewhere(service, userid, device, state.since)
        raise BadCredentials
    end_elsewhere(service, userid, device, state, there)
    caller.claim.open(state.since)
    if caller.claim.is_outdated:
        caller.peer.close("replaced")
        give_up(service, caller)
        return
    open_again(service, caller)
    token = service.tokens.issue(userid, device, state.generation)
    welcome(caller, request, state, token)
    service.recovery.check_soon(caller)
    # As it was when this device took its place: of two that come at a time, the first is told of.
    elsewhere = bool(service.bus.online((userid,)) if seats is None else seats)
    tell_followers(service, userid, state.followers, elsewhere)


def _has_changed(service: Service, request: m.Login, account: Account, state: LoginState) -> bool:
    """Return whether what a login was proved by has been changed meanwhile.  May switch."""
    if request.token is not None:
        return account.generation != state.generation
    if account.password == state.password:
        return False
    assert request.password is not None
    return not service.passwords.verify(state.password, request.password)  # or hashed anew, that is all
