"""Requests of users that come by no connection of their own: one visit each, for one device.

A visit is a session without a client: its handlers, permissions and limits are those of every session, and
the answers go to the ``OneShot`` wire, which keeps them typed.  No device comes online by it.

::

    visit = visits.open(token, address)
    visit.ask(History(peerid=7), heard.append)   # a HistoryAck, or a RequestError
"""

from __future__ import annotations

from collections.abc import Callable

from greenchat.errors import Busy
from greenchat.model.records import Account
from greenchat.ports.peer import Peer
from greenchat.protocol.messages import UNANSWERED, Request, msgid_of
from greenchat.protocol.native import NATIVE
from greenchat.protocol.one_shot import Heard, OneShot
from greenchat.service.device.caller import Caller
from greenchat.service.device.receipts import KeptReceipts
from greenchat.service.device.stream import NOWHERE, Stream
from greenchat.service.requests.authentication import bearer
from greenchat.service.service import Service
from greenchat.service.session import Session


class Visitor(Peer):
    """The peer of a visit: nothing is sent to it.

    Args:
        address: ``HOST:PORT`` of the client.
    """

    __slots__ = ("address",)

    address: str
    present = True

    def __init__(self, address: str) -> None:
        self.address = address

    def send(self, frame: bytes, /) -> None:
        """Do nothing: a visit's wire makes no frames."""

    def close(self, reason: str, retry_after: float | None = None) -> None:
        """Do nothing: there is no connection."""

    def pause(self) -> None:
        """Do nothing: the next request is a visit of its own."""

    def resume(self) -> None:
        """Do nothing."""

    def when_written(self, call: Callable[[], None]) -> None:
        """Do nothing."""

    def has_room(self, frames: int, before: int = 0) -> bool:
        """Return True."""
        return True

    def drop_paced(self) -> None:
        """Do nothing."""

    def drain(self) -> bool:
        """Return True."""
        return True


class Visit(Session):
    """A user with a device, for one call; the device is online or not.

    Args:
        service: of this node.
        address: ``HOST:PORT`` of the client.
        account: the user's account.
        device: the name of the device.
        receipts: of devices that are not online here.
    """

    __slots__ = ("account",)

    def __init__(
        self, service: Service, address: str, account: Account, device: str, receipts: KeptReceipts
    ) -> None:
        super().__init__(service, Visitor(address), NATIVE)
        self._bucket = None  # it is paid already
        self.account = account
        self.user, self.name, self.device = account.id, account.name, device
        online = service.hub.find(account.id, device)
        if isinstance(online, Caller):
            self.stream = online.stream  # by which the device has what it writes here
        else:
            self.stream = Stream(NOWHERE, NATIVE, self.peer.send, receipts.of(account.id, device))
            self.stream.close()

    def ask(self, request: Request, hear: Callable[[Heard], object]) -> None:
        """Make a request.  May switch.

        Args:
            request: any of those that need a login, but for LOGINOUT and SYNC, which are about a connection.
            hear: called once with the answer, or with the error; with None for a request without an answer.
                A message is answered after its commit, from the loop, where nothing may switch.
        """
        wire = OneShot(request, hear)
        self.wire = wire
        self.receive(b"")
        if msgid_of(request) in UNANSWERED:
            wire.hear(None)


class Visits:
    """The door for visits at this node.

    Args:
        service: of this node.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._receipts = KeptReceipts(service.store)
        service.when_set_back.append(self._receipts.forget)

    def open(self, token: str, address: str) -> Visit:
        """Return a visit of the user and device of a token, and take the price of one request.  May switch.

        Args:
            token: as LOGIN or a session has given it out.
            address: ``HOST:PORT`` of the client.

        Raises:
            BadCredentials: it is none, or it has ended.
            RateLimited: the account's recent requests and logins cost too much.
            Busy: the database is away, or this server stops.
        """
        service = self._service
        if service.draining:
            raise Busy("this server stops", retry_after=1.0)
        account, device = bearer(service, token, address)
        service.throttle.check_request(account.id, address, service.monotonic())
        return Visit(service, address, account, device, self._receipts)
