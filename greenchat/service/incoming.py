"""Messages of incoming hooks: a visit of the bot each."""

from __future__ import annotations

from collections.abc import Callable

from greenchat.errors import RequestError
from greenchat.model.conversations import group_of, peer_of
from greenchat.model.records import DELETED, Account, Hook
from greenchat.ports.hooks import IncomingHooks
from greenchat.protocol.messages import GroupChat, OneChat, Request
from greenchat.protocol.one_shot import Heard
from greenchat.service.device.receipts import Cursors, KeptReceipts
from greenchat.service.requests.hooks import key_of
from greenchat.service.service import Service
from greenchat.service.visit import Visit


class NoCursors(Cursors):
    """The cursors of bots that write and receive nothing."""

    def move_cursor(
        self, userid: int, device: str, conversation: int, received: int, own_from: int, own_to: int, /
    ) -> None:
        """Do nothing: the bot has no device."""


class ServiceIncomingHooks(IncomingHooks):
    """Post the messages of incoming hooks at this node.

    Args:
        service: of this node.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    # docs of the public methods: ports.IncomingHooks

    def find(self, code: str) -> Hook | None:
        hook = self._service.store.hook(key_of(code))
        if hook is None or hook.url or hook.name == DELETED:
            return None
        self._service.throttle.check_hook(hook.id)
        return hook

    def post(self, hook: Hook, text: str, address: str, done: Callable[[RequestError | None], None]) -> None:
        def hear(heard: Heard) -> None:
            done(heard if isinstance(heard, RequestError) else None)

        account = Account(hook.userid, hook.name, "", None)
        visit = Visit(self._service, address, account, "", KeptReceipts(NoCursors()))
        groupid = group_of(hook.conversation)
        request: Request
        if groupid is not None:
            request = GroupChat(groupid=groupid, msg=text)
        else:
            request = OneChat(toid=peer_of(hook.conversation, hook.userid), msg=text)
        visit.ask(request, hear)
