"""The client: every request of the protocol as a method."""

from __future__ import annotations

from greenchat.client.base import BaseClient
from greenchat.client.core import calls
from greenchat.client.core.calls import CHAT_TIMEOUT, HistoryPage, StoredEntry
from greenchat.client.core.pushes import Conversation, Frame


class Client(BaseClient):
    """Talk to a greenchat server.

    Example::

        with Client("127.0.0.1", 6000) as client:
            client.login("ann", "secret")
            for push in client.pushes():
                if isinstance(push, Message):
                    database.save(push)

    Delivery is **at least once**.  A message is acknowledged when the loop asks for the next push, or when
    ``on_push`` has returned.  If ``save`` raises here, or the program dies in it, the server offers the
    message again at the next login; ``conversation`` and ``seq`` tell that it was saved before.

    The client connects when it registers or logs in.  From then on it sends heartbeats, requests the
    undelivered pages, and reconnects by itself; a ``ConnectionEvent`` among the pushes tells each change.
    Messages and recalls outlive a lost connection and a busy server: they are sent again with the same
    ``cid``, which is stored once, and in the order of their conversation.

    Any thread may call any method.  A method that waits raises, after ``timeout`` seconds at most:

    - the class of ``greenchat.errors`` that the server names (RequestError for an unknown one);
    - NotLoggedIn before the login, Disconnected when the connection is gone for good;
    - ConnectionLost if it broke under a request that must not be sent twice;
    - TimeoutError without a reply: the request may or may not have been done.

    After a fork the client belongs to the parent: in the child its methods raise Disconnected, and
    neither ``close`` nor the end of the child touches the parent's connection.

    Args:
        host, port: address of the server.
        tls: context of a connection with TLS; ``ssl.create_default_context()`` trusts the known authorities.
            None: without TLS.
        on_push: called with each push, one at a time, on a thread of its own; it may call any method.  If it
            raises, that is logged, and the message is offered again after the next login, also after one that
            the client makes by itself.  The pushes after it are delivered meanwhile, and not again to this
            client.  None: read ``pushes``, which are kept until then.
        timeout: seconds that a request waits for its reply by default.
        backoff: waits before reconnecting.
        renew_after: seconds (at least half as many) after which the client logs in on a second connection for
            a new token, because with an expired one it could not reconnect.  Less than the server's
            ``token_days``.  No request breaks, and friends see no change; the event ``renewed`` tells.

    Example of a callback::

        def on_push(push: Push) -> None:
            if isinstance(push, Message) and push.text:
                print(push.name, push.text)  # acknowledged once this has returned

        client = Client("127.0.0.1", 6000, on_push=on_push)
        client.login("ann", "secret")
    """

    # -- Messages

    def chat(
        self, userid: int, text: str, *, cid: str | None = None, timeout: float = CHAT_TIMEOUT
    ) -> StoredEntry:
        """Send a message to a user.

        Args:
            userid: the receiver.
            text: up to 4,096 characters.
            cid: identifies the message, up to 36 characters.  Give it again to repeat a call that timed
                out: the message is stored once.
            timeout: seconds.

        Raises:
            NoSuchUser, Blocked, TooLarge: the message was not stored.
        """
        return self._do(timeout, calls.chat, userid, text, cid)

    def group_chat(
        self, groupid: int, text: str, *, cid: str | None = None, timeout: float = CHAT_TIMEOUT
    ) -> StoredEntry:
        """Send a message to a group; arguments as of ``chat``.

        Raises:
            NoSuchGroup, NotAMember, TooLarge: the message was not stored.
        """
        return self._do(timeout, calls.group_chat, groupid, text, cid)

    def recall(
        self, conversation: Conversation, target: int, *, timeout: float = CHAT_TIMEOUT
    ) -> StoredEntry:
        """Recall a message.

        Args:
            conversation: ``with_user(…)`` or ``in_group(…)``.
            target: ``seq`` of the message.
            timeout: seconds.

        Raises:
            NotAllowed: another user sent the message, or it is too old.
            NoSuchMessage: the conversation has no such message, or it was recalled.
        """
        return self._do(timeout, calls.recall, conversation, target)

    def history(
        self,
        conversation: Conversation,
        *,
        before: int | None = None,
        day: str | None = None,
        limit: int | None = None,
        timeout: float | None = None,
    ) -> HistoryPage:
        """Read a page of a conversation, by default the latest one.

        Args:
            conversation: ``with_user(…)`` or ``in_group(…)``.
            before: only entries with a smaller ``seq``.
            day: only entries of this day, ``YYYY-MM-DD`` in UTC.
            limit: number of entries, 1 to 200 (default: 50).
            timeout: seconds.
        """
        return self._do(timeout, calls.history, conversation, before, day, limit)

    def typing(self, conversation: Conversation) -> None:
        """Tell the others of a conversation that the user is typing.

        Never waits; does nothing while the connection is away.
        """
        frame = calls.typing_frame(conversation)
        with self._locked() as session:
            session.send(frame)

    def read(self, conversation: Conversation, seq: int) -> None:
        """Tell the others of a conversation that the user has read it up to ``seq``.

        Never waits; while the connection is away the receipt is kept.
        """
        with self._locked() as session:
            session.mark_read(conversation, seq)

    # -- Users and friends

    def find_user(self, name: str, *, timeout: float | None = None) -> Frame:
        """Return ``{id, name, state}`` of the user with this exact name.

        Raises:
            NoSuchUser: no user has the name.
        """
        return self._do(timeout, calls.find_user, name)

    def add_friend(self, userid: int, *, timeout: float | None = None) -> Frame:
        """Add a friend, whose state comes as pushes from now on; return ``{id, name, state}``.

        Raises:
            NoSuchUser, NotAllowed: the user does not exist, or must not be added.
        """
        return self._do(timeout, calls.add_friend, userid)

    def remove_friend(self, userid: int, *, timeout: float | None = None) -> None:
        """Remove a friend."""
        self._do(timeout, calls.remove_friend, userid)

    def are_friends(self, userids: list[int], *, timeout: float | None = None) -> list[int]:
        """Return those of up to 1,000 users that are friends."""
        return self._do(timeout, calls.are_friends, userids)

    def block(self, userid: int, *, timeout: float | None = None) -> None:
        """Refuse messages from a user."""
        self._do(timeout, calls.block, userid)

    def unblock(self, userid: int, *, timeout: float | None = None) -> None:
        """Accept messages from a user again."""
        self._do(timeout, calls.unblock, userid)

    # -- Groups

    def find_group(self, name: str, *, timeout: float | None = None) -> Frame:
        """Return ``{id, groupname, groupdesc, count}`` of the group with this exact name.

        Raises:
            NoSuchGroup: no group has the name.
        """
        return self._do(timeout, calls.find_group, name)

    def create_group(self, name: str, desc: str = "", *, timeout: float | None = None) -> int:
        """Create a group, become its first member, and return its id.

        Raises:
            GroupNameTaken: another group has the name.
        """
        return self._do(timeout, calls.create_group, name, desc)

    def join_group(self, groupid: int, *, timeout: float | None = None) -> Frame:
        """Join a group; return it in the form of ``LoginInfo.groups``.

        Raises:
            NoSuchGroup: no group has the id.
        """
        return self._do(timeout, calls.join_group, groupid)

    def leave_group(self, groupid: int, *, timeout: float | None = None) -> None:
        """Leave a group.

        Raises:
            NoSuchGroup, NotAMember: the user was not in it.
        """
        self._do(timeout, calls.leave_group, groupid)

    def group_info(
        self, groupid: int, *, after: int = 0, limit: int | None = None, timeout: float | None = None
    ) -> Frame:
        """Return ``{group, users, more}``: a group of the user, and a page of its members by id.

        Args:
            groupid: the group.
            after: last user id of the page before; 0 for the first page.
            limit: number of members, up to 500.
            timeout: seconds.
        """
        return self._do(timeout, calls.group_info, groupid, after, limit)
