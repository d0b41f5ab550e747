"""Sessions without a connection: a token for a device that does not come online by it."""

from __future__ import annotations

from greenchat.errors import BadCredentials, RequestError
from greenchat.metrics import LOGINS
from greenchat.model.records import Account
from greenchat.service.delivery.announce import announce
from greenchat.service.delivery.node_events import Ended
from greenchat.service.device.sign_off import sign_off
from greenchat.service.requests.audit import note
from greenchat.service.requests.authentication import Credentials, authenticate
from greenchat.service.requests.validation import check_printable
from greenchat.service.service import Service


def open_session(service: Service, name: str, password: str, device: str, address: str) -> str:
    """Return a token of a user's device, which is remembered from now on.  May switch.

    It costs as much as a login, and wrong passwords count as there.

    Args:
        service: of this node.
        name: the user's name.
        password: the user's password.
        device: the name of the device, at most 36 characters.
        address: ``HOST:PORT`` of the client.

    Raises:
        BadRequest, TooLarge: the name, password or device cannot be one.
        BadCredentials: name or password are wrong.
        RateLimited: too many passwords were wrong, or logins of this account cost too much.
        Busy: the database is away, or too many passwords wait to be verified.
    """
    try:
        check_printable("device", device)
        account = _remember(service, Credentials(name=name, password=password, device=device), address)
    except RequestError as error:
        LOGINS.values[error.error] += 1
        raise
    LOGINS.values["ok"] += 1
    assert account.generation is not None  # the device is remembered
    note(service, address, "logged in", account.id, account.name, device)
    return service.tokens.issue(account.id, device, account.generation)


def _remember(service: Service, credentials: Credentials, address: str) -> Account:
    """Return the account of some credentials, with the generation of the device's tokens.  May switch."""
    proof = authenticate(service, credentials, address)
    try:
        account = service.store.remember_device(proof.account.id, credentials.device or "", service.now())
        if proof.has_changed(account):
            raise BadCredentials
    finally:
        proof.bill.pay()
    return account


def close_session(service: Service, account: Account, device: str, address: str) -> None:
    """End a device's tokens and connections, here and at the other nodes.  May switch.

    Raises:
        Busy: the database is away; nothing has ended.
    """
    userid = account.id
    service.store.end_tokens(userid, device)
    online = service.hub.find(userid, device)
    if online is not None:
        sign_off(service, online)
        online.peer.close("replaced")
    announce(service.bus, Ended(userid, device), service.bus.nodes((userid,)))
    note(service, address, "logged out", userid, account.name, device)
