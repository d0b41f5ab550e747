"""Frames to messages: one typed Struct a message.  This module is the table of docs/protocol.md.

A message from a client is a ``Request``, decoded in one step (parse, dispatch on ``msgid``, validate).
A message from the server is a ``Reply`` (it echoes the request's ``cid``) or a push.  Fields that a
frame does not have are ``UNSET``.  Lengths of texts are checked by the service, because they are
configurable; types and the range of ids are checked here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from msgspec import UNSET, Meta, Struct, UnsetType

from greenchat.model.records import MAX_ID, MAX_SEQ
from greenchat.protocol.msgids import EDITION as EDITION  # noqa: PLC0414 - found here by all but the client
from greenchat.protocol.msgids import MsgId as MsgId  # noqa: PLC0414 - found here by all but the client

LAST_ORIGINAL = MsgId.GROUP_CHAT
"""The largest msgid that the original C++ clients know."""

Id = Annotated[int, Meta(ge=1, le=MAX_ID)]
Seq = Annotated[int, Meta(ge=1, le=MAX_SEQ)]
Cid = Annotated[str, Meta(min_length=1, max_length=36)]
Device = Annotated[str, Meta(max_length=36)]

State = Literal["online", "offline"]
Role = Literal["creator", "normal"]
ByeReason = Literal["evicted", "replaced", "shutdown", "slow_consumer", "protocol"]

BYE_REASONS = frozenset(get_args(ByeReason))
"""The reasons of which a client is told; a connection ends for others too."""


# -- Messages from clients


class Request(Struct, tag_field="msgid", kw_only=True, gc=False):
    """A frame from a client."""

    cid: Cid | None = None


class Login(Request, tag=1, kw_only=True):
    """Log in by id or name, with password or token; ``edition`` is the newest that the client knows."""

    id: Id | None = None
    name: str | None = None
    password: str | None = None
    token: str | None = None
    device: Device = ""
    force: bool = False
    edition: Annotated[int, Meta(ge=1, le=MAX_ID)] = 1


class Loginout(Request, tag=3, kw_only=True):
    """Log out; the connection stays and may log in again."""


class Reg(Request, tag=4, kw_only=True):
    """Register."""

    name: str
    password: str


class OneChat(Request, tag=6, kw_only=True):
    """Send a message to a user."""

    toid: Id
    msg: str


class AddFriend(Request, tag=7, kw_only=True):
    """See a user's state from now on."""

    friendid: Id


class CreateGroup(Request, tag=8, kw_only=True):
    """Create a group and become its first member."""

    groupname: str
    groupdesc: str = ""


class AddGroup(Request, tag=9, kw_only=True):
    """Join a group."""

    groupid: Id


class GroupChat(Request, tag=10, kw_only=True):
    """Send a message to a group."""

    groupid: Id
    msg: str


class Heartbeat(Request, tag=12, kw_only=True):
    """Say that the client lives; the server sends the same back."""


class InConversation(Request, kw_only=True):
    """A request about one conversation: of a pair (``peerid``) or a group (``groupid``)."""

    peerid: Id | None = None
    groupid: Id | None = None


class Received(InConversation, tag=13, kw_only=True):
    """All up to ``seq`` of a conversation has arrived."""

    seq: Seq


class History(InConversation, tag=15, kw_only=True):
    """Read back in a conversation, from its end, from before a seq, or within a day."""

    before: Seq | None = None
    day: str | None = None
    limit: Annotated[int, Meta(ge=1)] | None = None


class Recall(InConversation, tag=17, kw_only=True):
    """Take a message back."""

    target: Seq


class RemoveFriend(Request, tag=18, kw_only=True):
    """See a user's state no longer."""

    friendid: Id


class Block(Request, tag=19, kw_only=True):
    """Take no messages from a user."""

    userid: Id


class Unblock(Request, tag=20, kw_only=True):
    """Take messages from a user again."""

    userid: Id


class LeaveGroup(Request, tag=21, kw_only=True):
    """Leave a group."""

    groupid: Id


class AreFriends(Request, tag=22, kw_only=True):
    """Ask which of these users are the caller's friends."""

    ids: list[Id]


class Sync(Request, tag=25, kw_only=True):
    """Ask for the next page of undelivered messages."""


class Typing(Request, tag=26, kw_only=True):
    """Tell a user or group that the caller is typing."""

    toid: Id | None = None
    groupid: Id | None = None


class Read(InConversation, tag=27, kw_only=True):
    """The user has read all up to ``seq`` of a conversation."""

    seq: Seq


class ChangePassword(Request, tag=28, kw_only=True):
    """Change the password; the user's tokens and other sessions end."""

    old: str
    new: str


class GroupInfo(Request, tag=29, kw_only=True):
    """Ask for a group and a page of its members, by id."""

    groupid: Id
    after: Annotated[int, Meta(ge=0, le=MAX_ID)] = 0
    limit: Annotated[int, Meta(ge=1)] | None = None


class Find(Request, tag=30, kw_only=True):
    """Look up a user or a group by its exact name."""

    name: str | None = None
    groupname: str | None = None


# -- Parts of replies


class UserItem(Struct, gc=False):
    """A user as others see them."""

    id: int
    name: str
    state: State


class MemberItem(UserItem, gc=False):
    """A member of a group."""

    role: Role


class FoundGroup(Struct, kw_only=True):
    """A group as FIND shows it to anyone."""

    id: int
    groupname: str
    groupdesc: str
    count: int


class GroupItem(FoundGroup, kw_only=True):
    """A group as its members see it; ``users`` only where they are few."""

    role: Role
    users: list[MemberItem] | UnsetType = UNSET


class HeartbeatTerms(Struct, gc=False):
    """The interval at which the server expects a sign of life, the number that may be missed, and who asks.

    ``by`` is ``server`` where the server pings a silent client; without it the client sends heartbeats.
    """

    interval: float
    max_missed: int
    by: Literal["server"] | UnsetType = UNSET


class LimitsItem(Struct, gc=False):
    """The limits of this server that a client of edition 2 keeps to: characters and seconds."""

    max_message: int
    recall_seconds: float


# -- Messages from the server


class Push(Struct, tag_field="msgid", kw_only=True, gc=False):
    """A frame that the client did not ask for."""


class OneChatPush(Push, tag=6):
    """A message of a pair; ``cid`` only to the sender's own devices, no ``msg`` once recalled."""

    id: int
    name: str
    toid: int
    msg: str | UnsetType
    seq: int
    time: str
    recalled: bool | UnsetType = UNSET
    cid: str | UnsetType = UNSET


class GroupChatPush(Push, tag=10):
    """A message of a group; ``cid`` only to the sender's own devices, no ``msg`` once recalled."""

    id: int
    name: str
    groupid: int
    msg: str | UnsetType
    seq: int
    time: str
    recalled: bool | UnsetType = UNSET
    cid: str | UnsetType = UNSET


class RecallPush(Push, tag=17, kw_only=True):
    """The message ``target`` was taken back."""

    id: int
    target: int
    seq: int
    time: str
    peerid: int | UnsetType = UNSET
    groupid: int | UnsetType = UNSET


class PresencePush(Push, tag=23, kw_only=True):
    """A friend came online or went offline."""

    id: int
    state: State


class TypingPush(Push, tag=26, kw_only=True):
    """Somebody is typing."""

    id: int
    peerid: int | UnsetType = UNSET
    groupid: int | UnsetType = UNSET


class ReadPush(Push, tag=27, kw_only=True):
    """A participant has read all up to ``seq``."""

    id: int
    seq: int
    peerid: int | UnsetType = UNSET
    groupid: int | UnsetType = UNSET


class Bye(Push, tag=24, kw_only=True):
    """The last frame of a connection that the server ends; ``retry_after`` in seconds."""

    reason: ByeReason
    retry_after: float | UnsetType = UNSET


class Reply(Struct, tag_field="msgid", kw_only=True):
    """The answer to a request; a failed one has ``error`` and ``errmsg``."""

    errno: int = 0
    error: str | UnsetType = UNSET
    errmsg: str | UnsetType = UNSET
    retry_after: float | UnsetType = UNSET
    cid: str | UnsetType = UNSET


class LoginAck(Reply, tag=2, kw_only=True):
    """The user that is logged in, with friends and groups, and the first page of the backlogs.

    ``edition`` and ``limits`` only to a client that asked for edition 2.
    """

    id: int | UnsetType = UNSET
    name: str | UnsetType = UNSET
    token: str | UnsetType = UNSET
    heartbeat: HeartbeatTerms | UnsetType = UNSET
    server: str | UnsetType = UNSET
    friends: list[UserItem] | UnsetType = UNSET
    groups: list[GroupItem] | UnsetType = UNSET
    offlinemsg: list[Any] | UnsetType = UNSET
    more: bool | UnsetType = UNSET
    edition: int | UnsetType = UNSET
    limits: LimitsItem | UnsetType = UNSET


class RegAck(Reply, tag=5, kw_only=True):
    """The new user."""

    id: int | UnsetType = UNSET
    name: str | UnsetType = UNSET


class HistoryAck(Reply, tag=16, kw_only=True):
    """A page of a conversation, oldest first."""

    messages: list[Any] | UnsetType = UNSET
    more: bool | UnsetType = UNSET


class HeartbeatReply(Struct, tag_field="msgid", tag=12, kw_only=True, gc=False):
    """The echo of a heartbeat."""

    cid: str | UnsetType = UNSET


class ErrorReply(Reply, tag=14, kw_only=True):
    """The answer to a frame that is no request."""


class Ack(Reply, tag=11, kw_only=True):
    """The answer to a request that has no reply of its own; ``re`` is the request's msgid."""

    re: int = 0


class StoredAck(Struct, tag_field="msgid", tag=11, kw_only=True, gc=False):
    """The ACK of a message or recall: it is committed."""

    re: int = 0
    errno: int = 0
    cid: str | UnsetType = UNSET
    seq: int
    time: str


class RepeatedAck(StoredAck, tag=11, kw_only=True, gc=False):
    """The same of what was stored before, with the same ``cid``: its first ``seq`` and ``time``."""


class FriendAck(Ack, tag=11, kw_only=True):
    """The ACK of ADD_FRIEND."""

    friend: UserItem


class CreatedAck(Ack, tag=11, kw_only=True):
    """The ACK of CREATE_GROUP."""

    groupid: int


class JoinedAck(Ack, tag=11, kw_only=True):
    """The ACK of ADD_GROUP."""

    group: GroupItem


class AreFriendsAck(Ack, tag=11, kw_only=True):
    """The ACK of ARE_FRIENDS."""

    ids: list[int]


class SyncAck(Ack, tag=11, kw_only=True):
    """The ACK of SYNC: the next page of undelivered messages."""

    offlinemsg: list[Any]
    more: bool


class TokenAck(Ack, tag=11, kw_only=True):
    """The ACK of CHANGE_PASSWORD; without ``token`` where a cookie logs in."""

    token: str | UnsetType = UNSET


class GroupInfoAck(Ack, tag=11, kw_only=True):
    """The ACK of GROUP_INFO."""

    group: GroupItem
    users: list[MemberItem]
    more: bool


class FoundAck(Ack, tag=11, kw_only=True):
    """The ACK of FIND."""

    user: UserItem | UnsetType = UNSET
    group: FoundGroup | UnsetType = UNSET


Answer = Reply | HeartbeatReply | StoredAck
"""The answer to a request.  Its wire fills in ``cid`` and ``re``, and encodes entries (``SharedEntry``)."""


# -- The table


def msgid_of(message: Struct | type[Struct]) -> int:
    """Return the msgid of a message."""
    return message.__struct_config__.tag  # type: ignore[return-value]  # they are all integers


ANY_REQUEST = (
    Login | Loginout | Reg | OneChat | AddFriend | CreateGroup | AddGroup | GroupChat | Heartbeat | Received
    | History | Recall | RemoveFriend | Block | Unblock | LeaveGroup | AreFriends | Sync | Typing | Read
    | ChangePassword | GroupInfo | Find
)  # fmt: skip

REQUESTS: dict[int, type[Request]] = {msgid_of(kind): kind for kind in ANY_REQUEST.__args__}
"""The Struct of each msgid that a client may send."""

UNANSWERED = frozenset({MsgId.RECEIVED, MsgId.TYPING, MsgId.READ})
"""Requests without a reply."""
