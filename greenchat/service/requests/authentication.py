"""Authenticate a user by password or token, without making a device online.

LOGIN is this, and then coming online (``login``).  A caller that is no connection needs no more than this::

    proof = authenticate(service, Credentials(name="ann", password="secret"), address)
    try:
        ...  # for the user proof.account.id
    finally:
        proof.bill.pay()
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from greenchat.errors import BadCredentials, BadRequest, Busy
from greenchat.model.records import Account, LoginState, Share
from greenchat.service.identity.throttle import LoginBill
from greenchat.service.requests.audit import note
from greenchat.service.requests.validation import clean_name, exactly_one, password_forms
from greenchat.service.service import Service


class Credentials(NamedTuple):
    """A client's claim to be a user, as it came.

    Attributes:
        id: the user's id.
        name: the user's name; a token needs neither.
        password: the user's password.
        token: a token in place of the password.
        device: the device to which a token must belong; None for any.
    """

    id: int | None = None
    name: str | None = None
    password: str | None = None
    token: str | None = None
    device: str | None = None


class Proof:
    """The proof that a client is a user; it was right when it was made.

    Args:
        service: of this node.
        credentials: the proved claim.
        address: ``HOST:PORT`` of the client.
        account: the user's account.
        bill: the price of the authentication and of what follows it.

    Attributes:
        account: the same.
        bill: the same; it MUST be paid at the end.
    """

    __slots__ = ("_address", "_credentials", "_service", "account", "bill")

    def __init__(
        self, service: Service, credentials: Credentials, address: str, account: Account, bill: LoginBill
    ) -> None:
        self._service = service
        self._credentials = credentials
        self._address = address
        self.account = account
        self.bill = bill

    def has_changed(self, state: LoginState | Account) -> bool:
        """Return True if the password or token has been changed since, as a later read shows.  May switch."""
        account, credentials, service = self.account, self._credentials, self._service
        if credentials.token is not None:
            return account.generation != state.generation
        if account.password == state.password:
            return False
        # Perhaps it was only hashed anew, by another login.
        assert credentials.password is not None
        forms = password_forms("password", credentials.password, service.limits.max_password)
        share = service.throttle.share(f"{account.id}", self._address)
        return _matching(service, state.password, forms, share) is None


def authenticate(service: Service, credentials: Credentials, address: str) -> Proof:
    """Return the proof that a client is the user it claims to be.  May switch.

    No device comes online by it, and no session ends.

    Args:
        service: of this node.
        credentials: the client's claim.
        address: ``HOST:PORT`` of the client: wrong passwords count for its network, too.

    Raises:
        BadRequest: a field is missing, or one is too many.
        BadCredentials: they are wrong; an unknown user takes as long as a wrong password.
        RateLimited: too many passwords were wrong, or authentications of this account cost too much.
        Busy: the database is away, or too many passwords wait to be verified.
    """
    id, name, password, token, _ = credentials
    exactly_one(password=password, token=token)
    if id is not None and name is not None:
        raise BadRequest("id and name: only one may be given")
    if token is not None:
        account = _by_token(service, credentials, token, address)
    else:
        exactly_one(id=id, name=name)
        assert password is not None
        account = _by_password(service, credentials, password, address)
    bill = service.throttle.bill(account.id, address, service.monotonic())
    return Proof(service, credentials, address, account, bill)


def bearer(service: Service, token: str, address: str) -> tuple[Account, str]:
    """Return the account and the device of a token.  May switch.

    Nothing is paid for it: a request that comes with a token pays for itself.

    Raises:
        BadCredentials: it is none, or it has ended.
        Busy: the database is away.
    """
    account = _by_token(service, Credentials(token=token), token, address)
    return account, service.tokens.read(token).device


def _by_password(service: Service, credentials: Credentials, password: str, address: str) -> Account:
    id, limits, device = credentials.id, service.limits, credentials.device or ""
    forms = password_forms("password", password, limits.max_password)
    name = None if credentials.name is None else clean_name("name", credentials.name, limits.max_name)
    account = service.store.account(id=id, name=name, device=device)
    if account is None:
        key = f"name:{name}" if id is None else f"{id}"
    else:
        key = f"{account.id}"
    form = prove(service, address, key, account, forms)
    if account is None or form is None:
        userid, known = (None, "") if account is None else (account.id, account.name)
        note(service, address, "login failed", userid, known, device)
        raise BadCredentials
    if form != forms[0] or service.passwords.outdated(account.password):
        share = service.throttle.share(key, address)
        service.later(0, partial(_hash_again, service, account, forms[0], share))
    return account


def prove(
    service: Service, address: str, key: str, account: Account | None, forms: Sequence[str]
) -> str | None:
    """Return the form of a password that is an account's, None if none is.  May switch.

    For an account that does not exist there is none, and finding that out takes as long.

    Args:
        service: of this node.
        address: ``HOST:PORT`` of the client.
        key: the account, as ``Guesses.attempt`` takes it.
        account: the same, if it exists.
        forms: the forms of the password, from ``password_forms``.

    Raises:
        RateLimited: too many wrong passwords have been tried.
    """
    share = service.throttle.share(key, address)
    hashed = account and account.password
    return service.guesses.attempt(key, address, partial(_matching, service, hashed, forms, share))


def _matching(service: Service, hashed: str | None, forms: Sequence[str], share: Share) -> str | None:
    """Return the form of a password that matches a hash, None if none does.  May switch."""
    for form in forms:
        if service.passwords.verify(hashed, form, share):
            return form
    return None


def _hash_again(service: Service, account: Account, password: str, share: Share) -> None:
    """Store a password's hash as it is made today: other parameters, or of the normalised password."""
    try:
        service.store.replace_hash(account.id, account.password, service.passwords.hash(password, share))
    except Busy:
        pass  # there will be other logins


def _by_token(service: Service, credentials: Credentials, text: str, address: str) -> Account:
    try:
        token = service.tokens.read(text)
    except BadCredentials:
        note(service, address, "login failed", None, "")
        raise
    account = service.store.account(id=token.userid, device=token.device)
    id, name, device = credentials.id, credentials.name, credentials.device
    if (
        account is None
        or device not in (None, token.device)
        or account.generation != token.generation
        or id not in (None, account.id)
        or (name is not None and clean_name("name", name, service.limits.max_name) != account.name)
    ):
        known = "" if account is None else account.name
        shown = token.device if device is None else device
        note(service, address, "login failed", token.userid, known, shown)
        raise BadCredentials
    return account
