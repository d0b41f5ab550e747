"""Authentication by password or token, apart from coming online."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from greenchat.errors import BadCredentials, BadRequest, Busy
from greenchat.model.records import Account, LoginState, Share
from greenchat.protocol import messages as m
from greenchat.service.device.caller import Caller
from greenchat.service.requests.audit import note
from greenchat.service.requests.validation import clean_name, exactly_one, password_forms
from greenchat.service.service import Service


def authenticate(caller: Caller, request: m.Login) -> Account:
    """Return the account that a login proves to be its own.  May switch.

    Raises:
        BadCredentials: it cannot be proved; an unknown user takes as long as a wrong password.
        RateLimited: too many wrong passwords have been tried.
    """
    exactly_one(password=request.password, token=request.token)
    if request.id is not None and request.name is not None:
        raise BadRequest("id and name: only one may be given")
    if request.token is not None:
        return _by_token(caller, request, request.token)
    exactly_one(id=request.id, name=request.name)
    assert request.password is not None
    return _by_password(caller, request, request.password)


def _by_password(caller: Caller, request: m.Login, password: str) -> Account:
    service, limits = caller.service, caller.service.limits
    forms = password_forms("password", password, limits.max_password)
    name = None if request.name is None else clean_name("name", request.name, limits.max_name)
    account = service.store.account(id=request.id, name=name, device=request.device)
    if account is None:
        guarded = f"name:{name}" if request.id is None else f"{request.id}"
    else:
        guarded = f"{account.id}"
    form = prove(caller, guarded, account, forms)
    if account is None or form is None:
        userid, known = (None, "") if account is None else (account.id, account.name)
        note(caller, "login failed", userid, known, request.device)
        raise BadCredentials
    if form != forms[0] or service.passwords.outdated(account.password):
        share = service.throttle.share(guarded, caller.peer.address)
        service.later(0, partial(_hash_again, service, account, forms[0], share))
    return account


def prove(caller: Caller, guarded: str, account: Account | None, forms: Sequence[str]) -> str | None:
    """Return the spelling of a password that fits an account, None if none does.  May switch.

    It takes as long for an account that does not exist.

    Args:
        caller: the connection that it came by.
        guarded: the account, as ``Guesses.attempt`` takes it.
        account: the same, if it exists.
        forms: the spellings of the password to try, from ``password_forms``.

    Raises:
        RateLimited: too many wrong passwords have been tried.
    """
    service, address = caller.service, caller.peer.address
    share = service.throttle.share(guarded, address)
    hashed = account and account.password
    return service.guesses.attempt(guarded, address, partial(_fitting, service, hashed, forms, share))


def _fitting(service: Service, hashed: str | None, forms: Sequence[str], share: Share) -> str | None:
    """Return the spelling of a password that fits a hash, None if none does.  May switch."""
    for form in forms:
        if service.passwords.verify(hashed, form, share):
            return form
    return None


def _hash_again(service: Service, account: Account, password: str, share: Share) -> None:
    """Keep a password's hash as it is made today: other parameters, or of the normalised password."""
    try:
        service.store.replace_hash(account.id, account.password, service.passwords.hash(password, share))
    except Busy:
        pass  # there will be other logins


def has_changed(caller: Caller, request: m.Login, account: Account, state: LoginState) -> bool:
    """Return True if the password or token of a login has been changed meanwhile.  May switch."""
    if request.token is not None:
        return account.generation != state.generation
    if account.password == state.password:
        return False
    assert request.password is not None
    service = caller.service
    forms = password_forms("password", request.password, service.limits.max_password)
    share = service.throttle.share(f"{account.id}", caller.peer.address)
    return _fitting(service, state.password, forms, share) is None  # or hashed anew, that is all


def _by_token(caller: Caller, request: m.Login, text: str) -> Account:
    service = caller.service
    try:
        token = service.tokens.read(text)
    except BadCredentials:
        note(caller, "login failed", None, "")
        raise
    account = service.store.account(id=token.userid, device=token.device)
    if (
        account is None
        or token.device != request.device
        or account.generation != token.generation
        or request.id not in (None, account.id)
        or (request.name is not None and _other_name(service, request.name, account.name))
    ):
        note(caller, "login failed", token.userid, account.name if account else "", request.device)
        raise BadCredentials
    return account


def _other_name(service: Service, name: str, expected: str) -> bool:
    return clean_name("name", name, service.limits.max_name) != expected
