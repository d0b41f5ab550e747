"""Register, log in, log out, change the password."""

from __future__ import annotations

from greenchat.errors import (
    AlreadyLoggedIn,
    AlreadyOnline,
    BadCredentials,
    BadRequest,
    Busy,
    NameTaken,
    NotAllowed,
    RequestError,
    Uncertain,
)
from greenchat.metrics import LOGINS
from greenchat.model.records import DELETED, Account, Seat
from greenchat.protocol import messages as m
from greenchat.service.delivery.announce import announce
from greenchat.service.delivery.node_events import Ended, NameDoubted
from greenchat.service.device.caller import Caller
from greenchat.service.device.sign_off import give_up, sign_off
from greenchat.service.device.takeover import (
    end_elsewhere,
    hand_over,
    open_again,
    open_here,
    reopen_elsewhere,
)
from greenchat.service.doubt import recently
from greenchat.service.identity.throttle import LoginBill
from greenchat.service.requests.audit import note
from greenchat.service.requests.authentication import authenticate, has_changed, prove
from greenchat.service.requests.login_reply import welcome
from greenchat.service.requests.names import new_name
from greenchat.service.requests.validation import check_printable, clean_password, password_forms
from greenchat.service.service import Service


def register(caller: Caller, request: m.Reg) -> m.Reply:
    """Add a user; the connection is not logged in by it."""
    if caller.user is not None:
        raise AlreadyLoggedIn
    service = caller.service
    name = new_name("name", request.name, service.limits.max_name)
    if name.casefold() == DELETED:
        raise BadRequest(f"name: {DELETED} is the name shown for deleted users; choose another one")
    password = clean_password("password", request.password, service.limits.max_password)
    service.throttle.check_registration(caller.peer.address)
    hashed = service.passwords.hash(password, service.throttle.share("", caller.peer.address))
    try:
        userid = service.store.create_user(name, hashed, service.now())
    except Uncertain:
        service.doubted_names.add(name)
        announce(service.bus, NameDoubted(name))
        raise
    except NameTaken:
        if name not in service.doubted_names:
            raise
        userid = _registered_before(caller, name, password)
    note(caller, "registered", userid, name)
    return m.RegAck(id=userid, name=name)


def _registered_before(caller: Caller, name: str, password: str) -> int:
    """Return the id of a new account that nobody has used yet: the answer to its REG was lost.

    A wrong password counts like that of a login.  So this tells nobody more than a login would.

    Raises:
        NameTaken: it is another account, or the password does not fit.
        RateLimited: too many wrong passwords have been tried.
    """
    account = caller.service.store.new_account(name, recently(caller.service))
    if account is None or prove(caller, f"{account.id}", account, [password]) is None:
        raise NameTaken
    return account.id


def login(caller: Caller, request: m.Login) -> None:
    """Log in: authenticate, register the device with all nodes, then read the backlogs.

    In this order, so that a message that is committed meanwhile is either read or held.
    """
    try:
        if caller.user is not None:
            raise AlreadyLoggedIn
        check_printable("device", request.device)
        account = authenticate(caller, request)
        service = caller.service
        bill = service.throttle.bill(account.id, caller.peer.address, service.monotonic())
        try:
            _log_in(caller, request, account, bill)
        finally:
            bill.pay()
    except RequestError as error:
        LOGINS.values[error.error] += 1
        raise
    LOGINS.values["ok"] += 1


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
    userid, name, device = caller.id, caller.name, caller.device
    caller.service.store.end_tokens(userid, device)
    sign_off(caller.service, caller)
    note(caller, "logged out", userid, name, device)
    return m.Ack()


def change_password(caller: Caller, request: m.ChangePassword) -> m.Reply:
    """Change the password; all tokens of the user and all other sessions end."""
    service, userid, device = caller.service, caller.id, caller.device
    new = clean_password("new", request.new, service.limits.max_password)
    old = password_forms("old", request.old, service.limits.max_password)
    account = service.store.account(id=userid, device=device)
    if account is not None and account.generation is not None and _is_set(caller, account, new):
        return _changed(service, userid, device, account.generation)
    if account is None or not prove(caller, f"{userid}", account, old):
        note(caller, "change of the password failed", userid, caller.name, device)
        raise BadCredentials("old: this is not your password")
    hashed = service.passwords.hash(new, service.throttle.share(f"{userid}", caller.peer.address))
    # caller.id raises NotLoggedIn: a session that was replaced meanwhile changes nothing, and ends none.
    try:
        generation = service.store.set_password(caller.id, account.password, hashed, device)
    except Uncertain:
        caller.doubted_hash = hashed
        _end_others(caller, userid)
        raise
    note(caller, "password changed", userid, account.name, device)
    _end_others(caller, userid)
    return _changed(service, userid, device, generation)


def _is_set(caller: Caller, account: Account, new: str) -> bool:
    """Return True if an earlier request of this session has set a password, and its answer was lost.

    Raises:
        RateLimited: too many wrong passwords have been tried.
    """
    if account.password != caller.doubted_hash:
        return False
    return prove(caller, f"{account.id}", account, [new]) is not None


def _changed(service: Service, userid: int, device: str, generation: int) -> m.Reply:
    return m.TokenAck(token=service.tokens.issue(userid, device, generation))


def _end_others(caller: Caller, userid: int) -> None:
    """End all sessions of a user but this one, everywhere.  May switch."""
    service = caller.service
    for other in service.hub.of(userid):
        if other is not caller:
            sign_off(service, other)
            other.peer.close("replaced")
    announce(service.bus, Ended(userid, None), service.bus.nodes((userid,)))


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
    if seats:  # else ``_enter`` has checked it all
        elsewhere = {seat.device for seat in seats}
        if request.device in elsewhere and not _is_forced(caller, request):
            raise AlreadyOnline
        # Each counts once: one that has come back may still be counted at a node that has died.
        elsewhere.update(session.device for session in service.hub.of(userid))
        _check_devices(service, len(elsewhere))
    return seats


def _settle(
    caller: Caller, request: m.Login, account: Account, seats: list[Seat] | None, bill: LoginBill
) -> None:
    """Read the answer to a login, send it, and let the held-back entries and pushes follow.

    Args:
        caller: the connection.
        request: how.
        account: the account.
        seats: where else the user is online; None if only the database can tell.
        bill: is told of the rows that are read.

    Raises:
        AlreadyOnline: it does.
        BadCredentials: the password or token that was proved has been changed since.
    """
    service, userid, device = caller.service, account.id, request.device
    nobody_knows = seats is None and not _is_forced(caller, request)
    state = open_here(service, userid, device, nobody_knows)
    bill.rows = state.rows
    is_void = has_changed(caller, request, account, state)
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
    note(caller, "logged in", userid, account.name, device)
    service.recovery.check_soon(caller)
