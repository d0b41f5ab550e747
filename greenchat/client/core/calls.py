"""Each request of the protocol as a call.  Sans I/O.

A call is a generator: it yields a request, is sent the reply (or thrown the error), and returns the result.
The shells run it: ``Client`` on threads, ``aio.Client`` on an event loop.  They run it under the session's
lock, and wait for the reply outside of it.  Most calls make one request; a login by password may make two.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Generator
from functools import partial
from typing import NamedTuple, TypeVar

from greenchat.client.core.parsing import parse_entries, parse_group, parse_user
from greenchat.client.core.pending import UNREADABLE, PendingRequest, encode_frame
from greenchat.client.core.pushes import Conversation, Entry, Frame, LoginInfo, in_group, with_user
from greenchat.client.core.session import ClientSession
from greenchat.errors import BadCredentials, Disconnected, GreenchatError
from greenchat.protocol.msgids import EDITION, MsgId

TIMEOUT = 10.0
"""Seconds that a request waits for its reply."""

CHAT_TIMEOUT = 30.0
"""Seconds that a message waits, also for a lost connection to come back."""

RENEW_AFTER = 86_400.0
"""Seconds after which a token is renewed, at most.  The server's tokens last 30 days by default."""

Result = TypeVar("Result")

Call = Generator[PendingRequest, Frame, Result]
"""Requests out, replies in, then the result."""


class StoredEntry(NamedTuple):
    """An entry that the server has stored: its number in the conversation, and the server's time."""

    conversation: Conversation
    seq: int
    time: str


class HistoryPage(NamedTuple):
    """A page of a history, oldest entry first; ``more`` is True if older ones exist."""

    entries: list[Entry]
    more: bool


def late(seconds: float) -> TimeoutError:
    """Return the error of a request without a reply in so many seconds."""
    return TimeoutError(f"the server has not answered within {seconds:g} s")


# -- Login


def register(session: ClientSession, name: str, password: str) -> Call[int]:
    """Register a user; the result is the id."""
    fields = {"name": name, "password": _normalised(password)}
    return _ask(session, MsgId.REG, fields, lambda reply: int(reply["id"]))


def login(
    session: ClientSession, user: int | str, password: str | None, token: str | None, device: str, force: bool
) -> Call[LoginInfo]:
    """Log in by token if there is one, else by password."""
    named: Frame = {"id": user} if isinstance(user, int) else {"name": user}
    fields = {**named, "device": device, "force": force, "edition": EDITION}
    if token is not None:
        return _log_in(session, {**fields, "token": token})
    return _with_password(password or "", lambda text: _log_in(session, {**fields, "password": text}))


def logout(session: ClientSession) -> Call[None]:
    """Send the receipts, log out, and revoke the token."""
    session.sender.send_receipts()
    try:
        if session.can_log_out:
            ended = lambda reply: session.end_login("")  # noqa: E731
            yield from _ask(session, MsgId.LOGINOUT, {}, _nothing, on_success=ended)
    finally:
        session.end_login("")


def change_password(session: ClientSession, old: str, new: str) -> Call[None]:
    """Change the password, and keep the new token."""

    def change(text: str) -> Call[None]:
        fields = {"old": text, "new": _normalised(new)}
        keep = lambda reply: session.set_token(reply["token"])  # noqa: E731
        return _ask(session, MsgId.CHANGE_PASSWORD, fields, _nothing, on_success=keep)

    return _with_password(old, change)


def sync(session: ClientSession) -> Call[bool]:
    """Request the next page of undelivered entries; the result is True if there are more."""
    receive = partial(session.receiver.receive_page, session.require_login().inbox)
    return _ask(session, MsgId.SYNC, {}, lambda reply: bool(reply["more"]), on_success=receive)


# -- Messages


def chat(session: ClientSession, userid: int, text: str, cid: str | None) -> Call[StoredEntry]:
    """Send a message to a user."""
    return _store(session, MsgId.ONE_CHAT, with_user(userid), {"toid": userid, "msg": text}, cid)


def group_chat(session: ClientSession, groupid: int, text: str, cid: str | None) -> Call[StoredEntry]:
    """Send a message to a group."""
    return _store(session, MsgId.GROUP_CHAT, in_group(groupid), {"groupid": groupid, "msg": text}, cid)


def recall(session: ClientSession, conversation: Conversation, target: int) -> Call[StoredEntry]:
    """Recall a message."""
    fields = {conversation.kind: conversation.id, "target": target}
    return _store(session, MsgId.RECALL, conversation, fields, None)


def history(
    session: ClientSession,
    conversation: Conversation,
    before: int | None,
    day: str | None,
    limit: int | None,
) -> Call[HistoryPage]:
    """Read a page of a conversation."""
    me = session.require_login().info.id
    wanted = {"before": before, "day": day, "limit": limit}
    return _ask(
        session,
        MsgId.HISTORY,
        {conversation.kind: conversation.id, **_given(wanted)},
        lambda reply: HistoryPage(parse_entries(reply["messages"], me), bool(reply["more"])),
        idempotent=True,
    )


def typing_frame(conversation: Conversation) -> bytes:
    """Return the frame of TYPING, which has no reply."""
    field = "toid" if conversation.kind == "peerid" else "groupid"
    return encode_frame({"msgid": int(MsgId.TYPING), field: conversation.id})


# -- Users and friends


def find_user(session: ClientSession, name: str) -> Call[Frame]:
    """Look up a user by the exact name."""
    return _repeatable(session, MsgId.FIND, {"name": name}, lambda reply: parse_user(reply["user"]))


def add_friend(session: ClientSession, userid: int) -> Call[Frame]:
    """Add a friend; the result is the user."""
    fields = {"friendid": userid}
    return _repeatable(session, MsgId.ADD_FRIEND, fields, lambda reply: parse_user(reply["friend"]))


def remove_friend(session: ClientSession, userid: int) -> Call[None]:
    """Remove a friend."""
    return _repeatable(session, MsgId.REMOVE_FRIEND, {"friendid": userid}, _nothing)


def are_friends(session: ClientSession, userids: list[int]) -> Call[list[int]]:
    """Ask which of these users are friends."""
    return _repeatable(session, MsgId.ARE_FRIENDS, {"ids": userids}, lambda reply: list(reply["ids"]))


def block(session: ClientSession, userid: int) -> Call[None]:
    """Refuse messages from a user."""
    return _repeatable(session, MsgId.BLOCK, {"userid": userid}, _nothing)


def unblock(session: ClientSession, userid: int) -> Call[None]:
    """Accept messages from a user again."""
    return _repeatable(session, MsgId.UNBLOCK, {"userid": userid}, _nothing)


# -- Groups


def find_group(session: ClientSession, name: str) -> Call[Frame]:
    """Look up a group by the exact name."""
    return _repeatable(session, MsgId.FIND, {"groupname": name}, lambda reply: parse_group(reply["group"]))


def create_group(session: ClientSession, name: str, desc: str) -> Call[int]:
    """Create a group; the result is its id."""
    fields = {"groupname": name, "groupdesc": desc}
    return _ask(session, MsgId.CREATE_GROUP, fields, lambda reply: int(reply["groupid"]))


def join_group(session: ClientSession, groupid: int) -> Call[Frame]:
    """Join a group; the result is the group."""
    return _ask(session, MsgId.ADD_GROUP, {"groupid": groupid}, lambda reply: parse_group(reply["group"]))


def leave_group(session: ClientSession, groupid: int) -> Call[None]:
    """Leave a group."""
    return _ask(session, MsgId.LEAVE_GROUP, {"groupid": groupid}, _nothing)


def group_info(session: ClientSession, groupid: int, after: int, limit: int | None) -> Call[Frame]:
    """Read a group and a page of its members."""
    fields = {"groupid": groupid, "after": after, **_given({"limit": limit})}
    return _repeatable(session, MsgId.GROUP_INFO, fields, _parse_group_info)


# -- Within


def _ask(
    session: ClientSession,
    msgid: MsgId,
    fields: Frame,
    parse: Callable[[Frame], Result],
    *,
    idempotent: bool = False,
    on_success: Callable[[Frame], None] | None = None,
) -> Call[Result]:
    """Make a request; the result is what ``parse`` finds in the reply."""
    fields = {"cid": session.sender.new_cid(), **fields}
    reply = yield PendingRequest(msgid, fields, idempotent=idempotent, on_success=on_success)
    return _parsed(parse, reply)


def _repeatable(
    session: ClientSession, msgid: MsgId, fields: Frame, parse: Callable[[Frame], Result]
) -> Call[Result]:
    """Make a request that may be sent again on another connection."""
    return _ask(session, msgid, fields, parse, idempotent=True)


def _store(
    session: ClientSession, msgid: MsgId, conversation: Conversation, fields: Frame, cid: str | None
) -> Call[StoredEntry]:
    """Add an entry to a conversation."""
    request = session.chat_request(msgid, conversation, fields if cid is None else {"cid": cid, **fields})
    reply = yield request
    return _parsed(lambda stored: StoredEntry(conversation, stored["seq"], stored["time"]), reply)


def _log_in(session: ClientSession, fields: Frame) -> Call[LoginInfo]:
    request = session.login_request(fields)
    try:
        yield request
    except GreenchatError:  # the server has refused, or is gone
        raise
    except BaseException:  # a timeout, or the caller was cancelled: the server may have logged the user in
        session.abort_login()
        raise
    return session.require_login().info


def _with_password(password: str, use: Callable[[str], Call[Result]]) -> Call[Result]:
    """Use a password in Unicode's NFC and, if it is refused, as it was typed.

    An earlier version may have stored another form: the same letters of another keyboard.
    """
    normalised = _normalised(password)
    try:
        return (yield from use(normalised))
    except BadCredentials:
        if password == normalised:
            raise
    return (yield from use(password))


def _normalised(password: str) -> str:
    return unicodedata.normalize("NFC", password)


def _given(fields: Frame) -> Frame:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def _parsed(parse: Callable[[Frame], Result], reply: Frame) -> Result:
    """Return the result that ``parse`` finds in a reply.

    Raises:
        Disconnected: the reply lacks it; the server's fault.
    """
    try:
        return parse(reply)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Disconnected(UNREADABLE) from None


def _nothing(reply: Frame) -> None:
    """Parse a reply that has no result."""


def _parse_group_info(reply: Frame) -> Frame:
    users = [parse_user(user) for user in reply["users"]]
    return {"group": parse_group(reply["group"]), "users": users, "more": reply["more"]}
