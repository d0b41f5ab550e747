"""Register, log out, change the password."""

from __future__ import annotations

from greenchat.errors import AlreadyLoggedIn, BadCredentials, BadRequest, NameTaken, Uncertain
from greenchat.model.records import DELETED, Account
from greenchat.protocol import messages as m
from greenchat.service.delivery.announce import announce
from greenchat.service.delivery.node_events import Ended, NameDoubted
from greenchat.service.device.caller import Caller
from greenchat.service.device.sign_off import sign_off
from greenchat.service.doubt import recently
from greenchat.service.requests.audit import note
from greenchat.service.requests.authentication import prove
from greenchat.service.requests.names import new_name
from greenchat.service.requests.validation import clean_password, password_forms
from greenchat.service.service import Service


def register(caller: Caller, request: m.Reg) -> m.Reply:
    """Add a user; the connection is not logged in by it."""
    if caller.user is not None:
        raise AlreadyLoggedIn
    service, address = caller.service, caller.peer.address
    name = new_name("name", request.name, service.limits.max_name)
    if name.casefold() == DELETED:
        raise BadRequest(f"name: {DELETED} is the name shown for deleted users; choose another one")
    password = clean_password("password", request.password, service.limits.max_password)
    service.throttle.check_registration(address)
    hashed = service.passwords.hash(password, service.throttle.share("", address))
    try:
        userid = service.store.create_user(name, hashed, service.now())
    except Uncertain:
        service.doubted_names.add(name)
        announce(service.bus, NameDoubted(name))
        raise
    except NameTaken:
        if name not in service.doubted_names:
            raise
        userid = _registered_before(service, address, name, password)
    note(service, address, "registered", userid, name)
    return m.RegAck(id=userid, name=name)


def _registered_before(service: Service, address: str, name: str, password: str) -> int:
    """Return the id of a new account that nobody has used yet: the answer to its REG was lost.

    A wrong password counts like that of a login.  So this tells nobody more than a login would.

    Raises:
        NameTaken: it is another account, or the password does not fit.
        RateLimited: too many wrong passwords have been tried.
    """
    account = service.store.new_account(name, recently(service))
    if account is None or prove(service, address, f"{account.id}", account, [password]) is None:
        raise NameTaken
    return account.id


def logout(caller: Caller, request: m.Loginout) -> m.Reply:
    """Log out; the device's tokens end, and the connection may log in again."""
    service, userid, name, device = caller.service, caller.id, caller.name, caller.device
    service.store.end_tokens(userid, device)
    sign_off(service, caller)
    note(service, caller.peer.address, "logged out", userid, name, device)
    return m.Ack()


def change_password(caller: Caller, request: m.ChangePassword) -> m.Reply:
    """Change the password; all tokens of the user and all other sessions end."""
    service, userid, device, address = caller.service, caller.id, caller.device, caller.peer.address
    new = clean_password("new", request.new, service.limits.max_password)
    old = password_forms("old", request.old, service.limits.max_password)
    account = service.store.account(id=userid, device=device)
    if account is not None and account.generation is not None and _is_set(caller, account, new):
        return _changed(caller, userid, device, account.generation)
    if account is None or not prove(service, address, f"{userid}", account, old):
        note(service, address, "change of the password failed", userid, caller.name, device)
        raise BadCredentials("old: this is not your password")
    hashed = service.passwords.hash(new, service.throttle.share(f"{userid}", address))
    # caller.id raises NotLoggedIn: a session that was replaced meanwhile changes nothing, and ends none.
    try:
        generation = service.store.set_password(caller.id, account.password, hashed, device)
    except Uncertain:
        caller.doubted_hash = hashed
        _end_others(caller, userid)
        raise
    note(service, address, "password changed", userid, account.name, device)
    _end_others(caller, userid)
    return _changed(caller, userid, device, generation)


def _is_set(caller: Caller, account: Account, new: str) -> bool:
    """Return True if an earlier request of this session has set a password, and its answer was lost.

    Raises:
        RateLimited: too many wrong passwords have been tried.
    """
    if account.password != caller.doubted_hash:
        return False
    return prove(caller.service, caller.peer.address, f"{account.id}", account, [new]) is not None


def _changed(caller: Caller, userid: int, device: str, generation: int) -> m.Reply:
    if caller.cookie is not None:  # its token has ended, and scripts are to see none
        return m.TokenAck()
    return m.TokenAck(token=caller.service.tokens.issue(userid, device, generation))


def _end_others(caller: Caller, userid: int) -> None:
    """End all sessions of a user but this one, everywhere.  May switch."""
    service = caller.service
    for other in service.hub.of(userid):
        if other is not caller:
            sign_off(service, other)
            other.peer.close("replaced")
    announce(service.bus, Ended(userid, None), service.bus.nodes((userid,)))
