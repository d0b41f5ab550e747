"""What the terminal prints: harmless lines, local times, and sentences for errors."""

from __future__ import annotations

import unicodedata
from datetime import datetime

from greenchat.client.pushes import Conversation, Event, Message, Presence, Push, Recall
from greenchat.client.roster import Roster
from greenchat.errors import Disconnected
from greenchat.protocol.instants import to_seconds

_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
_DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def harmless(line: str) -> str:
    """Return the line with all that could steer a terminal written out as escapes.

    Control characters could move the cursor, retitle the window or forge another line; marks of
    direction could reorder what is read.  All other Unicode stays.
    """
    return "".join(_escaped(char) if _steers(char) else char for char in line)


def clock(instant: str, now: datetime | None = None) -> str:
    """Return an instant in local time: ``HH:MM``, with the date if it is not today's."""
    then = datetime.fromtimestamp(to_seconds(instant))
    today = (now or datetime.now()).date()
    return then.strftime("%H:%M" if then.date() == today else "%Y-%m-%d %H:%M")


def sentence(error: Exception) -> str:
    """Return what an error says as a sentence."""
    text = f"the connection is gone: {error.reason}" if isinstance(error, Disconnected) else str(error)
    text = text or type(error).__name__
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def describe(push: Push, roster: Roster) -> str | None:
    """Return the line that tells of a push; None for what a terminal keeps quiet about."""
    match push:
        case Message(conversation, seq, sender, _, text, time):
            place = _place(conversation, sender, roster)
            said = "(recalled)" if text is None else text
            return f"{clock(time)} [{seq}] {roster.user(sender)}{place}: {said}"
        case Recall(conversation, seq, sender, target, time):
            place = _place(conversation, sender, roster)
            return f"{clock(time)} [{seq}] {roster.user(sender)}{place}: (took back message {target})"
        case Presence(user, state):
            return f"{roster.user(user)} is {state}."
        case Event():
            return _event(push)
    return None


def user_line(user: dict[str, object]) -> str:
    """Return a friend as a line."""
    return f"  {user['name']} (id {user['id']}) {user['state']}"


def group_line(group: dict[str, object], members: str = "") -> str:
    """Return a group as a line."""
    desc = f": {group['groupdesc']}" if group.get("groupdesc") else ""
    return f"  #{group['groupname']} (id {group['id']}){desc}{members}"


def member_names(group: dict[str, list[dict[str, object]]]) -> str:
    """Return the members of a group, where the server named them."""
    names = ", ".join(_member(user) for user in group.get("users", []))
    return f" [{names}]" if names else ""


def _member(user: dict[str, object]) -> str:
    creator = ", creator" if user["role"] == "creator" else ""
    return f"{user['name']} ({user['state']}{creator})"


def _place(conversation: Conversation, sender: int, roster: Roster) -> str:
    if conversation.kind == "groupid":
        return f" in #{roster.group(conversation.id)}"
    return f" to {roster.user(conversation.id)}" if sender == roster.me else ""


def _event(event: Event) -> str | None:
    if event.kind == "lost":
        return f"The connection is lost ({event.reason}). It comes back by itself."
    if event.kind == "back":
        return "The connection is back."
    if event.kind == "ended":
        return _ENDS.get(event.reason, f"You are logged out ({event.reason}). Log in again.")
    return None


_ENDS = {
    "replaced": "You have logged in from elsewhere: this login has ended.",
    "bad_credentials": "You were logged out while the connection was away. Log in again.",
}


def _steers(char: str) -> bool:
    return char in _DIRECTION or unicodedata.category(char) in _UNPRINTABLE


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()
