"""The asyncio client: every request of the protocol as a coroutine."""

from __future__ import annotations

from greenchat.client.aio.base import BaseClient
from greenchat.client.core import calls
from greenchat.client.core.calls import CHAT_TIMEOUT, HistoryPage, StoredEntry
from greenchat.client.core.pushes import Conversation, Frame


class Client(BaseClient):
    """Talk to a greenchat server from a coroutine.

    Example::

        async with Client("127.0.0.1", 6000) as client:
            await client.login("ann", "secret")
            async for push in client.pushes():
                if isinstance(push, Message):
                    await database.save(push)

    It is ``greenchat.client.Client`` with ``await``: the same methods, arguments, results and errors (its
    docstrings tell them in full), the same way back after a lost connection, and **at least once** too.  A
    message is acknowledged when the loop asks for the next push, or when ``on_push`` has returned.

    The differences:

    - All methods are coroutines, also those that never wait (``typing``, ``read``, ``acknowledge``).
    - A client belongs to the event loop in which it was first used; in another one it raises Disconnected.
    - A task stands where a thread stands there: each task answers for the push that it took.
    - ``on_push`` is a coroutine function, and runs in a task of its own.
    - A call that is cancelled may or may not have been done, as after a timeout.  A ``login`` that is
      cancelled ends the connection.

    Args:
        host, port: address of the server.
        tls: context of a connection with TLS; ``ssl.create_default_context()`` trusts the known authorities.
            None: without TLS.
        on_push: awaited with each push, one at a time, from the first ``register`` or ``login`` on.  If it
            raises, that is logged, and the message is offered again after the next login.  None: read
            ``pushes``, which are kept until then.
        timeout: seconds that a request waits for its reply by default.
        backoff: waits before reconnecting.
        renew_after: seconds (at least half as many) after which the client logs in on a second connection for
            a new token.  Less than the server's ``token_days``.

    Example of a callback::

        async def on_push(push: Push) -> None:
            if isinstance(push, Message) and push.text:
                print(push.name, push.text)  # acknowledged once this has returned

        client = Client("127.0.0.1", 6000, on_push=on_push)
        await client.login("ann", "secret")
    """

    # -- Messages

    async def chat(
        self, userid: int, text: str, *, cid: str | None = None, timeout: float = CHAT_TIMEOUT
    ) -> StoredEntry:
        """Send a message to a user."""
        return await self._do(timeout, calls.chat, userid, text, cid)

    async def group_chat(
        self, groupid: int, text: str, *, cid: str | None = None, timeout: float = CHAT_TIMEOUT
    ) -> StoredEntry:
        """Send a message to a group; arguments as of ``chat``."""
        return await self._do(timeout, calls.group_chat, groupid, text, cid)

    async def recall(
        self, conversation: Conversation, target: int, *, timeout: float = CHAT_TIMEOUT
    ) -> StoredEntry:
        """Recall a message."""
        return await self._do(timeout, calls.recall, conversation, target)

    async def history(
        self,
        conversation: Conversation,
        *,
        before: int | None = None,
        day: str | None = None,
        limit: int | None = None,
        timeout: float | None = None,
    ) -> HistoryPage:
        """Read a page of a conversation, by default the latest one."""
        return await self._do(timeout, calls.history, conversation, before, day, limit)

    async def typing(self, conversation: Conversation) -> None:
        """Tell the others of a conversation that the user is typing."""
        frame = calls.typing_frame(conversation)
        self._bound().send(frame)

    async def read(self, conversation: Conversation, seq: int) -> None:
        """Tell the others of a conversation that the user has read it up to ``seq``."""
        self._bound().mark_read(conversation, seq)

    # -- Users and friends

    async def find_user(self, name: str, *, timeout: float | None = None) -> Frame:
        """Return ``{id, name, state}`` of the user with this exact name."""
        return await self._do(timeout, calls.find_user, name)

    async def add_friend(self, userid: int, *, timeout: float | None = None) -> Frame:
        """Add a friend, whose state comes as pushes from now on; return ``{id, name, state}``."""
        return await self._do(timeout, calls.add_friend, userid)

    async def remove_friend(self, userid: int, *, timeout: float | None = None) -> None:
        """Remove a friend."""
        await self._do(timeout, calls.remove_friend, userid)

    async def are_friends(self, userids: list[int], *, timeout: float | None = None) -> list[int]:
        """Return those of up to 1,000 users that are friends."""
        return await self._do(timeout, calls.are_friends, userids)

    async def block(self, userid: int, *, timeout: float | None = None) -> None:
        """Refuse messages from a user."""
        await self._do(timeout, calls.block, userid)

    async def unblock(self, userid: int, *, timeout: float | None = None) -> None:
        """Accept messages from a user again."""
        await self._do(timeout, calls.unblock, userid)

    # -- Groups

    async def find_group(self, name: str, *, timeout: float | None = None) -> Frame:
        """Return ``{id, groupname, groupdesc, count}`` of the group with this exact name."""
        return await self._do(timeout, calls.find_group, name)

    async def create_group(self, name: str, desc: str = "", *, timeout: float | None = None) -> int:
        """Create a group, become its first member, and return its id."""
        return await self._do(timeout, calls.create_group, name, desc)

    async def join_group(self, groupid: int, *, timeout: float | None = None) -> Frame:
        """Join a group; return it in the form of ``LoginInfo.groups``."""
        return await self._do(timeout, calls.join_group, groupid)

    async def leave_group(self, groupid: int, *, timeout: float | None = None) -> None:
        """Leave a group."""
        await self._do(timeout, calls.leave_group, groupid)

    async def group_info(
        self, groupid: int, *, after: int = 0, limit: int | None = None, timeout: float | None = None
    ) -> Frame:
        """Return ``{group, users, more}``: a group of the user, and a page of its members by id."""
        return await self._do(timeout, calls.group_info, groupid, after, limit)
