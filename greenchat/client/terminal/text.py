"""The terminal's output: harmless lines, local times, and sentences for errors."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from prompt_toolkit.utils import get_cwidth

from greenchat.client.pushes import (
    ConnectionEvent,
    Conversation,
    Message,
    MessageRecall,
    PresenceChange,
    Push,
)
from greenchat.client.terminal.names import escaped, steers, written
from greenchat.client.terminal.roster import Roster
from greenchat.errors import Disconnected
from greenchat.model.instants import to_seconds

MARGIN = "      | "
"""Before each further line of a text: no line of ours begins like that, so that a text can forge none."""

NARROWEST = 20
"""Columns that a terminal must have for lines to be folded."""


def harmless(line: str) -> str:
    """Return the line with all that could steer a terminal written out as escapes.

    Control characters could move the cursor, retitle the window or forge another line; format characters
    could reorder what is read, or hide in it.  All other Unicode stays.
    """
    return "".join(escaped(char) if steers(char) else char for char in line)


def printable(text: str, columns: int = 0) -> Iterator[str]:
    """Yield the harmless lines of a text, the second and further ones behind a margin.

    Args:
        text: with newlines where further lines begin.
        columns: of the terminal.  Lines are folded before its edge, where otherwise a text of the right
            length could go on like a line of ours.  0: they are not folded.
    """
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n")):
        yield from _folded(f"{MARGIN if number else ''}{harmless(line)}", columns)


def clock(instant: str, now: datetime | None = None) -> str:
    """Return an instant in local time: ``HH:MM``, with the date if it is not today's."""
    then = datetime.fromtimestamp(to_seconds(instant))
    today = (now or datetime.now()).date()
    return then.strftime("%H:%M" if then.date() == today else "%Y-%m-%d %H:%M")


def sentence(error: Exception) -> str:
    """Return what an error says as a sentence, in words for people: the wire's names mean nothing to them."""
    text = _reason(error.reason) if isinstance(error, Disconnected) else str(error)
    field, colon, rest = text.partition(": ")
    text = f"{_FIELDS[field]} is not accepted: {rest}" if colon and field in _FIELDS else text
    text = text or type(error).__name__
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def describe(push: Push, roster: Roster) -> str | None:
    """Return the line that tells of a push; None for what a terminal keeps quiet about."""
    match push:
        case Message(conversation, seq, sender, _, text, time):
            place = _place(conversation, sender, roster)
            said = "(recalled)" if text is None else text
            return f"{clock(time)} [{seq}] {roster.user(sender)}{place}: {said}"
        case MessageRecall(conversation, seq, sender, target, time):
            place = _place(conversation, sender, roster)
            return f"{clock(time)} [{seq}] {roster.user(sender)}{place}: (took back message {target})"
        case PresenceChange(user, state):
            return f"{roster.user(user)} is {state}."
        case ConnectionEvent():
            return _event(push)
    return None


def user_line(user: dict[str, object]) -> str:
    """Return a friend as a line."""
    return f"  {written(str(user['name']))} (id {user['id']}) {user['state']}"


def group_line(group: dict[str, object], members: str = "") -> str:
    """Return a group as a line."""
    desc = f": {group['groupdesc']}" if group.get("groupdesc") else ""
    return f"  #{written(str(group['groupname']))} (id {group['id']}){desc}{members}"


def member_names(group: dict[str, list[dict[str, object]]]) -> str:
    """Return the members of a group, or how many there are where the server did not name them."""
    names = ", ".join(_member(user) for user in group.get("users", []))
    if not names and group.get("count"):
        names = f"{group['count']} members"
    return f" [{names}]" if names else ""


def _member(user: dict[str, object]) -> str:
    creator = ", creator" if user["role"] == "creator" else ""
    return f"{written(str(user['name']))} ({user['state']}{creator})"


def _place(conversation: Conversation, sender: int, roster: Roster) -> str:
    if conversation.kind == "groupid":
        return f" in #{roster.group(conversation.id)}"
    return f" to {roster.user(conversation.id)}" if sender == roster.me else ""


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
    """Yield the pieces of a line that fit, cut at a blank if possible; the further ones have a margin."""
    while columns >= NARROWEST and (end := _fitting(line, columns)) < len(line):
        blank = line.rfind(" ", len(MARGIN), end + 1)
        cut = blank if blank > end // 2 else end
        yield line[:cut]
        line = MARGIN + line[cut:].removeprefix(" ")
    yield line


def _fitting(line: str, columns: int) -> int:
    """Return how many characters of a line fit into so many columns."""
    width = 0
    for place, char in enumerate(line):
        width += get_cwidth(char)
        if width > columns:
            return place
    return len(line)


_ENDS = {
    "replaced": "You have logged in from elsewhere: this login has ended.",
    "bad_credentials": "You were logged out while the connection was away. Log in again.",
    "protocol": "The server did not understand this program, and ended the login. Log in again.",
}

_REASONS = {
    "evicted": "the server has heard nothing of us in time, or has no room",
    "protocol": "it did not understand this program",
    "replaced": "you have logged in from elsewhere",
    "shutdown": "the server stops",
    "slow_consumer": "too much waited for us",
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
