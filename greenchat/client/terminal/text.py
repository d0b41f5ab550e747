"""Text for the terminal: pushes and errors as lines, with control characters escaped."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from prompt_toolkit.utils import get_cwidth

from greenchat.client import (
    ConnectionEvent,
    Conversation,
    Entry,
    Message,
    MessageRecall,
    PresenceChange,
    Push,
)
from greenchat.client.terminal.names import escape, is_control, quote
from greenchat.client.terminal.roster import Roster
from greenchat.errors import Disconnected
from greenchat.model.instants import to_seconds

MARGIN = "      | "
"""Prefix of the second and further lines of a text.

No line of the program begins so, and a message cannot forge one.
"""

NARROWEST = 20
"""Columns below which lines are not folded."""


def escape_controls(line: str) -> str:
    """Return a line with its control and format characters escaped; all other Unicode stays.

    Control characters could move the cursor, retitle the window or forge another line; format characters
    could reorder or hide text.

    >>> escape_controls("\\x1b[2Jhi")
    '\\\\x1b[2Jhi'
    """
    return "".join(escape(char) if is_control(char) else char for char in line)


def safe_lines(text: str, columns: int = 0) -> Iterator[str]:
    """Yield the lines of a text, with control characters escaped and a margin from the second line on.

    Args:
        text: may have newlines.
        columns: width of the terminal.  Lines are folded before its edge: a terminal that wraps them could
            make the end of a message look like a line of the program.  0: do not fold.
    """
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n")):
        yield from _folded(f"{MARGIN if number else ''}{escape_controls(line)}", columns)


def local_time(instant: str, now: datetime | None = None) -> str:
    """Return an instant in local time: ``HH:MM``, with the date unless it is today."""
    then = datetime.fromtimestamp(to_seconds(instant))
    today = (now or datetime.now()).date()
    return then.strftime("%H:%M" if then.date() == today else "%Y-%m-%d %H:%M")


def error_sentence(error: Exception) -> str:
    """Return an error as a sentence for people, with words in place of the wire's names."""
    text = _reason(error.reason) if isinstance(error, Disconnected) else str(error)
    field, colon, rest = text.partition(": ")
    text = f"{_FIELDS[field]} is not accepted: {rest}" if colon and field in _FIELDS else text
    text = text or type(error).__name__
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def describe(push: Push, roster: Roster) -> str | None:
    """Return a push as a line; None for a push that is not shown."""
    match push:
        case Message() | MessageRecall():
            sender = roster.user_name(push.sender) + _place(push.conversation, push.sender, roster)
            return f"{local_time(push.time)} [{push.seq}] {sender}: {_content(push)}"
        case PresenceChange(user, state):
            return f"{roster.user_name(user)} is {state}."
        case ConnectionEvent():
            return _event(push)
    return None


def user_line(user: dict[str, object]) -> str:
    """Return a friend as a line."""
    return f"  {quote(str(user['name']))} (id {user['id']}) {user['state']}"


def group_line(group: dict[str, object], members: str = "") -> str:
    """Return a group as a line."""
    desc = f": {group['groupdesc']}" if group.get("groupdesc") else ""
    return f"  #{quote(str(group['groupname']))} (id {group['id']}){desc}{members}"


def member_names(group: dict[str, list[dict[str, object]]]) -> str:
    """Return the names of a group's members, or their number if the server sent no names."""
    names = ", ".join(_member(user) for user in group.get("users", []))
    if not names and group.get("count"):
        names = f"{group['count']} members"
    return f" [{names}]" if names else ""


def _member(user: dict[str, object]) -> str:
    creator = ", creator" if user["role"] == "creator" else ""
    return f"{quote(str(user['name']))} ({user['state']}{creator})"


def _content(entry: Entry) -> str:
    if isinstance(entry, MessageRecall):
        return f"(recalled message {entry.target})"
    return "(recalled)" if entry.text is None else entry.text


def _place(conversation: Conversation, sender: int, roster: Roster) -> str:
    if conversation.kind == "groupid":
        return f" in #{roster.group_name(conversation.id)}"
    return f" to {roster.user_name(conversation.id)}" if sender == roster.me else ""


def _event(event: ConnectionEvent) -> str | None:
    if event.kind == "lost":
        return (
            f"The connection is lost ({_REASONS.get(event.reason, event.reason)}). It comes back by itself."
        )
    if event.kind == "back":
        return "The connection is back."
    if event.kind == "ended":
        return _ENDS.get(event.reason, f"You are logged out ({event.reason}). Log in again.")
    return None


def _reason(reason: str) -> str:
    return f"the connection is gone: {_REASONS.get(reason, reason)}"


def _folded(line: str, columns: int) -> Iterator[str]:
    """Yield the pieces of a line, cut at a blank if possible, with a margin from the second piece on."""
    while columns >= NARROWEST and (end := _fitting(line, columns)) < len(line):
        blank = line.rfind(" ", len(MARGIN), end + 1)
        cut = blank if blank > end // 2 else end
        yield line[:cut]
        line = MARGIN + line[cut:].removeprefix(" ")
    yield line


def _fitting(line: str, columns: int) -> int:
    """Return the number of characters of a line that fit into a width."""
    width = 0
    for place, char in enumerate(line):
        width += get_cwidth(char)
        if width > columns:
            return place
    return len(line)


_ENDS = {
    "replaced": "You have logged in from elsewhere: this login has ended.",
    "bad_credentials": "You were logged out while the connection was away. Log in again.",
    "protocol": "The server did not understand this program and ended the login. Log in again.",
}

_REASONS = {
    "evicted": "the server received no heartbeat in time, or has too many connections",
    "protocol": "the server did not understand this program",
    "replaced": "you have logged in from elsewhere",
    "shutdown": "the server stops",
    "slow_consumer": "this program did not receive its messages fast enough",
    "bad_credentials": "you were logged out",
}

_FIELDS = {
    "cid": "the message",
    "device": "the name of this device",
    "friendid": "the user",
    "groupdesc": "the description",
    "groupid": "the group",
    "groupname": "the name of the group",
    "id": "the id",
    "limit": "the number of messages",
    "msg": "the message",
    "name": "the name",
    "new": "the new password",
    "old": "the old password",
    "password": "the password",
    "peerid": "the user",
    "target": "the number of the message",
    "toid": "the user",
    "userid": "the user",
}
