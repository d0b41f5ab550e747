"""The client library: every request of the protocol as a method, and the pushes as an iterator."""

from __future__ import annotations

from typing import NamedTuple

from greenchat.client.access import Access, understood
from greenchat.client.parsing import read_entries, read_group, read_user
from greenchat.client.pushes import Conversation, Entry, Frame, in_group, with_user
from greenchat.errors import NotLoggedIn
from greenchat.protocol.messages import MsgId

CHAT_TIMEOUT = 30.0
"""Seconds that a message waits, also for a lost connection to come back."""


class Stored(NamedTuple):
    """A message's place: its number in the conversation, and the server's time."""

    conversation: Conversation
    seq: int
    time: str


class Page(NamedTuple):
    """A page of a history, oldest first; ``more`` if older ones exist."""

    entries: list[Entry]
    more: bool


class Client(Access):
    """Talk to a greenchat server.

    Example::

        with Client("127.0.0.1", 6000) as client:
            client.login("ann", "secret")
            for push in client.pushes():
                if isinstance(push, Message):
                    database.save(push)

    Each message comes **at least once**.  It is acknowledged to the server when the loop asks for the next
    push (or ``on_push`` has returned); if ``save`` raises here, or the program dies in it, the message is
    offered again at the next login.  So handle a message that came before, which is known by its
    ``conversation`` and ``seq``, as done.

    It connects when it registers or logs in.  Once logged in it keeps itself online: heartbeats,
    RECEIVED, SYNC and coming back after a lost connection happen by themselves; what changes is
    told by an ``Event`` among the pushes.  Any thread may call any method; those that wait, wait
    ``timeout`` seconds, and raise

    - the class of ``greenchat.errors`` that the server named (RequestError for one unknown here);
    - NotLoggedIn before the login, Disconnected when the connection is gone for good;
    - ConnectionLost when it broke under a request that may not be repeated;
    - TimeoutError when no reply came: whether it was done is not known.

    After a fork the client belongs to the parent alone: in the child its methods raise Disconnected, and
    neither ``close`` nor the child's end touches the parent's connection.

    Messages and recalls outlive a lost connection and a busy server: they are sent again under the
    same ``cid``, and those of one conversation one after the other, so that none overtakes another.

    Args:
        host, port: where the server is.
        tls: for a connection with TLS, ``ssl.create_default_context()`` if the server's certificate is
            from a known authority; without it there is none.
        on_push: called with each push, one at a time, on a thread of its own; it may call any
            method.  When it raises, that is logged, and the message is not acknowledged: the others go on
            meanwhile, and it comes again after the next login, also one that the client makes by itself
            when it comes back.  Those of its conversation that were handled since do not come again to
            this client, but would to another program on the device.  Without it read ``pushes``: they are
            kept until then.
        timeout: seconds that a request waits if it says nothing else.
        backoff: how long to wait before coming back after a lost connection.
        renew_after: seconds (at least half as many) after which the client changes to a new connection, for
            a new token: with one that has expired it could not come back after a lost connection.  It must
            be shorter than the server's ``token_days``.  Nothing is lost, no request is broken by it, and
            friends notice nothing; an ``Event("renewed")`` tells.

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
    ) -> Stored:
        """Send a message to a user.

        Args:
            userid: the receiver.
            text: up to 4,096 characters.
            cid: to send again what timed out before: it is stored once.
            timeout: seconds.

        Raises:
            NoSuchUser, Blocked, TooLarge: and it was not stored.
        """
        return self._store(MsgId.ONE_CHAT, with_user(userid), {"toid": userid, "msg": text}, cid, timeout)

    def group_chat(
        self, groupid: int, text: str, *, cid: str | None = None, timeout: float = CHAT_TIMEOUT
    ) -> Stored:
        """Send a message to a group; as ``chat``.

        Raises:
            NoSuchGroup, NotAMember, TooLarge: and it was not stored.
        """
        fields = {"groupid": groupid, "msg": text}
        return self._store(MsgId.GROUP_CHAT, in_group(groupid), fields, cid, timeout)

    def recall(self, conversation: Conversation, target: int, *, timeout: float = CHAT_TIMEOUT) -> Stored:
        """Take a message back.

        Args:
            conversation: ``with_user(…)`` or ``in_group(…)``.
            target: the message's seq.
            timeout: seconds.

        Raises:
            NotAllowed: it is another's, or too old.
            NoSuchMessage: there is none, or it was recalled.
        """
        fields = {conversation.kind: conversation.id, "target": target}
        return self._store(MsgId.RECALL, conversation, fields, None, timeout)

    def history(
        self,
        conversation: Conversation,
        *,
        before: int | None = None,
        day: str | None = None,
        limit: int | None = None,
        timeout: float | None = None,
    ) -> Page:
        """Read back in a conversation.

        Args:
            conversation: ``with_user(…)`` or ``in_group(…)``.
            before: only what has a smaller seq.
            day: only what is of this day, ``YYYY-MM-DD`` in UTC.
            limit: entries, 1 to 200 (50).
            timeout: seconds.
        """
        wanted = {"before": before, "day": day, "limit": limit}
        fields = {name: value for name, value in wanted.items() if value is not None}
        me = self._me()
        page: Page = self._ask(
            MsgId.HISTORY,
            {conversation.kind: conversation.id, **fields},
            timeout,
            lambda reply: Page(read_entries(reply["messages"], me), bool(reply["more"])),
            again=True,
        )
        return page

    def sync(self, *, timeout: float | None = None) -> bool:
        """Ask for the next page of undelivered messages now, to come as pushes; return whether there
        are more.  It happens by itself too."""
        return bool(self._ask(MsgId.SYNC, {}, timeout, lambda reply: reply["more"], then=self._line.page))

    def typing(self, conversation: Conversation) -> None:
        """Tell who is in the conversation that the user is typing; never waits, may be lost."""
        field = "toid" if conversation.kind == "peerid" else "groupid"
        self._line.say({"msgid": int(MsgId.TYPING), field: conversation.id})

    def read(self, conversation: Conversation, seq: int) -> None:
        """Tell who is in the conversation that the user has read all up to ``seq``; never waits."""
        self._line.mark(MsgId.READ, conversation, seq)

    # -- People

    def find_user(self, name: str, *, timeout: float | None = None) -> Frame:
        """Return ``{id, name, state}`` of the user with this exact name.

        Raises:
            NoSuchUser
        """
        return dict(
            self._ask(MsgId.FIND, {"name": name}, timeout, lambda reply: read_user(reply["user"]), again=True)
        )

    def add_friend(self, userid: int, *, timeout: float | None = None) -> Frame:
        """See a user's state from now on; returns ``{id, name, state}``.

        Raises:
            NoSuchUser, NotAllowed
        """
        return dict(
            self._ask(
                MsgId.ADD_FRIEND,
                {"friendid": userid},
                timeout,
                lambda reply: read_user(reply["friend"]),
                again=True,
            )
        )

    def remove_friend(self, userid: int, *, timeout: float | None = None) -> None:
        """See a user's state no longer."""
        self._ask(MsgId.REMOVE_FRIEND, {"friendid": userid}, timeout, again=True)

    def are_friends(self, userids: list[int], *, timeout: float | None = None) -> list[int]:
        """Return which of up to 1,000 users are friends."""
        return list(
            self._ask(MsgId.ARE_FRIENDS, {"ids": userids}, timeout, lambda reply: reply["ids"], again=True)
        )

    def block(self, userid: int, *, timeout: float | None = None) -> None:
        """Take no messages from a user."""
        self._ask(MsgId.BLOCK, {"userid": userid}, timeout, again=True)

    def unblock(self, userid: int, *, timeout: float | None = None) -> None:
        """Take messages from a user again."""
        self._ask(MsgId.UNBLOCK, {"userid": userid}, timeout, again=True)

    # -- Groups

    def find_group(self, name: str, *, timeout: float | None = None) -> Frame:
        """Return ``{id, groupname, groupdesc, count}`` of the group with this exact name.

        Raises:
            NoSuchGroup
        """
        return dict(
            self._ask(
                MsgId.FIND, {"groupname": name}, timeout, lambda reply: read_group(reply["group"]), again=True
            )
        )

    def create_group(self, name: str, desc: str = "", *, timeout: float | None = None) -> int:
        """Create a group, become its first member, and return its id.

        Raises:
            GroupNameTaken
        """
        fields = {"groupname": name, "groupdesc": desc}
        return int(self._ask(MsgId.CREATE_GROUP, fields, timeout, lambda reply: reply["groupid"]))

    def join_group(self, groupid: int, *, timeout: float | None = None) -> Frame:
        """Join a group; returns it as in ``Login.groups``.

        Raises:
            NoSuchGroup
        """
        fields = {"groupid": groupid}
        return dict(self._ask(MsgId.ADD_GROUP, fields, timeout, lambda reply: read_group(reply["group"])))

    def leave_group(self, groupid: int, *, timeout: float | None = None) -> None:
        """Leave a group.

        Raises:
            NoSuchGroup, NotAMember
        """
        self._ask(MsgId.LEAVE_GROUP, {"groupid": groupid}, timeout)

    def group_info(
        self, groupid: int, *, after: int = 0, limit: int | None = None, timeout: float | None = None
    ) -> Frame:
        """Return ``{group, users, more}``: a group, and those of its members with ids beyond ``after``.

        Args:
            groupid: a group that the user is in.
            after: the last user id of the page before; 0 for the first.
            limit: members, up to 500.
            timeout: seconds.
        """
        fields = {"groupid": groupid, "after": after, **({} if limit is None else {"limit": limit})}
        return dict(self._ask(MsgId.GROUP_INFO, fields, timeout, _read_group_info, again=True))

    # -- Within

    def _store(
        self, msgid: MsgId, conversation: Conversation, fields: Frame, cid: str | None, timeout: float
    ) -> Stored:
        named = fields if cid is None else {"cid": cid, **fields}
        reply = self._line.store(msgid, conversation, named, timeout)
        return understood(lambda frame: Stored(conversation, frame["seq"], frame["time"]), reply)

    def _me(self) -> int:
        login = self._line.login
        if login is None:
            raise NotLoggedIn
        return login.id


def _read_group_info(reply: Frame) -> Frame:
    users = [read_user(user) for user in reply["users"]]
    return {"group": read_group(reply["group"]), "users": users, "more": reply["more"]}
