"""The commands of the terminal, one row each: what it takes, what it does."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from greenchat.client.client import Client
from greenchat.client.pushes import Conversation, Message, in_group, with_user
from greenchat.client.terminal.names import QUOTED, is_id, unquoted, written
from greenchat.client.terminal.roster import Roster
from greenchat.client.terminal.text import describe, group_line, member_names, user_line
from greenchat.errors import BadRequest, NoSuchGroup, NoSuchMessage, NotAMember

HASH = ("#", "\uff03")
"""Before the name of a group; the second one is what a Chinese or Japanese keyboard types."""

ARGUMENT = re.compile(rf"\s*([{HASH[0]}{HASH[1]}]?{QUOTED}|[^:\uff1a]*?)\s*(?:[:\uff1a]|\Z)", re.DOTALL)
"""An argument that is not the last, and the colon that ends it, also a full-width one."""

MEMBERS = 100
"""Members of a group that are shown by name; LOGIN_ACK does the same."""


@dataclass(frozen=True)
class Talk:
    """The means of a command: a client that is logged in, what is known by name, and the screen."""

    client: Client
    roster: Roster
    show: Callable[[str], None]

    def user(self, text: str) -> int:
        """Return the id of a user given by id or name; digits alone are an id, in quotes they are a name."""
        if is_id(text):
            return int(text)
        name = unquoted(text)
        known = self.roster.user_id(name)
        if known is None:
            known = int(self.client.find_user(name)["id"])
            self.roster.learn_name(known, name)
        return known

    def group(self, text: str) -> int:
        """Return the id of a group given by id or name, with or without a leading ``#``."""
        text = text[1:] if text.startswith(HASH) else text
        if is_id(text):
            return int(text)
        name = unquoted(text)
        known = self.roster.group_id(name)
        return int(self.client.find_group(name)["id"]) if known is None else known

    def conversation(self, text: str) -> Conversation:
        """Return the conversation with a user, or with a leading ``#`` that of a group."""
        return in_group(self.group(text)) if text.startswith(HASH) else with_user(self.user(text))


class Over(Exception):
    """Raised to end the login; ``quit`` to end the program too."""

    def __init__(self, quit: bool) -> None:
        super().__init__()
        self.quit = quit


class Command(NamedTuple):
    """A row of the table."""

    usage: str
    help: str
    run: Callable[..., None]
    required: int = 0
    """Arguments that must be given; those beyond may be left out."""
    names: Literal["", "user", "group", "either"] = ""
    """The kind of name that the first argument is, for completion."""

    @property
    def arguments(self) -> int:
        """How many there are; the last one may contain colons."""
        return self.usage.count(":")


def execute(line: str, talk: Talk) -> None:
    """Do what a line says.

    Raises:
        BadRequest: there is no such command, or it lacks something; the user's fault.
        Over: it was ``quit`` or ``loginout``.
        GreenchatError, TimeoutError: as the client's methods.
    """
    word, rest = _first(line.strip())
    command = COMMANDS.get(word.lower())
    if command is None:
        raise BadRequest(f'there is no command "{word}"; try help')
    arguments = _arguments(rest, command.arguments)
    if len(arguments) < command.required or not all(arguments[: command.required]):
        raise BadRequest(f"write {command.usage}")
    command.run(talk, *arguments[: command.arguments])


def _first(text: str) -> tuple[str, str]:
    """Return the first argument, and what follows it."""
    match = ARGUMENT.match(text)
    assert match  # it matches any text
    return match[1], text[match.end() :]


def _arguments(rest: str, count: int) -> list[str]:
    """Return up to ``count`` arguments; the last one is taken as it is."""
    arguments: list[str] = []
    while rest and len(arguments) < count - 1:
        argument, rest = _first(rest)
        arguments.append(argument)
    return [*arguments, rest.strip()] if rest.strip() else arguments


def completions(text: str, roster: Roster) -> list[str]:
    """Return the lines that what was typed so far may become."""
    word, rest = _first(text)
    typed = text[: len(text) - len(rest)]
    if typed == word:
        return [
            name + (":" if COMMANDS[name].arguments else "") for name in COMMANDS if name.startswith(word)
        ]
    command = COMMANDS.get(word)
    if command is None:
        return []
    tail = ":" if command.arguments > 1 and command.required > 1 else ""
    return [f"{typed}{name}{tail}" for name in _names(command.names, roster) if name.startswith(rest)]


def show_friends(talk: Talk) -> None:
    """List the friends."""
    talk.show("Friends:" if talk.roster.friends else "No friends yet: try addfriend:NAME.")
    for friend in sorted(list(talk.roster.friends.values()), key=lambda item: str(item["name"])):
        talk.show(user_line(friend))


def show_groups(talk: Talk) -> None:
    """List the groups as they were last heard of."""
    talk.show(
        "Groups:" if talk.roster.groups else "No groups yet: try creategroup:NAME:DESC or addgroup:NAME."
    )
    for group in sorted(list(talk.roster.groups.values()), key=lambda item: str(item["groupname"])):
        talk.show(group_line(group, member_names(group)))


def _groups(talk: Talk) -> None:
    """Ask for each group that is known or was heard of, and list them."""
    for groupid in [*talk.roster.groups, *talk.roster.unknown]:
        try:
            info = talk.client.group_info(groupid, limit=MEMBERS)
        except (NotAMember, NoSuchGroup):
            talk.roster.groups.pop(groupid, None)
            talk.roster.unknown.discard(groupid)
        else:
            talk.roster.add_group({**info["group"], "users": [] if info["more"] else info["users"]})
    show_groups(talk)


def _help(talk: Talk) -> None:
    width = max(len(command.usage) for command in COMMANDS.values())
    for command in COMMANDS.values():
        talk.show(f"  {command.usage:{width}}  {command.help}")
    for line in NOTES:
        talk.show(line)


def _chat(talk: Talk, who: str, text: str) -> None:
    talk.show(f"sent [{talk.client.chat(talk.user(who), text).seq}]")


def _group_chat(talk: Talk, group: str, text: str) -> None:
    talk.show(f"sent [{talk.client.group_chat(talk.group(group), text).seq}]")


def _add_friend(talk: Talk, who: str) -> None:
    friend = talk.client.add_friend(talk.user(who))
    talk.roster.add_friend(friend)
    talk.show(f"{talk.roster.user(friend['id'])} is your friend now, and {friend['state']}.")


def _remove_friend(talk: Talk, who: str) -> None:
    userid = talk.user(who)
    talk.client.remove_friend(userid)
    talk.roster.friends.pop(userid, None)
    talk.show(f"{talk.roster.user(userid)} is no longer your friend.")


def _block(talk: Talk, who: str) -> None:
    userid = talk.user(who)
    talk.client.block(userid)
    talk.show(f"You take no messages from {talk.roster.user(userid)} any more.")


def _unblock(talk: Talk, who: str) -> None:
    userid = talk.user(who)
    talk.client.unblock(userid)
    talk.show(f"You take messages from {talk.roster.user(userid)} again.")


def _create_group(talk: Talk, name: str, desc: str = "") -> None:
    name = unquoted(name)
    groupid = talk.client.create_group(name, desc)
    talk.roster.add_group({"id": groupid, "groupname": name, "groupdesc": desc})
    talk.show(f"The group #{written(name)} is created; its id is {groupid}.")


def _join_group(talk: Talk, group: str) -> None:
    joined = talk.client.join_group(talk.group(group))
    talk.roster.add_group(joined)
    talk.show(f"You are in the group #{talk.roster.group(joined['id'])} now.")


def _leave_group(talk: Talk, group: str) -> None:
    groupid = talk.group(group)
    talk.client.leave_group(groupid)
    talk.show(f"You have left the group #{talk.roster.group(groupid)}.")
    talk.roster.groups.pop(groupid, None)


def _history(talk: Talk, where: str, count: str = "20") -> None:
    if not is_id(count):
        raise BadRequest("write history:NAME:N with a number N")
    page = talk.client.history(talk.conversation(where), limit=int(count))
    for entry in page.entries:
        talk.roster.hear(entry)
        talk.show(describe(entry, talk.roster) or "")
    talk.show("(older messages exist)" if page.more else "(that is all)")


def _recall(talk: Talk, where: str, seq: str = "") -> None:
    if seq and not is_id(seq):
        raise BadRequest("write recall:NAME:SEQ with the number that stands before the message")
    conversation = talk.conversation(where)
    target = int(seq) if seq else _last_own(talk, conversation)
    talk.client.recall(conversation, target)
    talk.show(f"Message {target} is taken back.")


def _last_own(talk: Talk, conversation: Conversation) -> int:
    for entry in reversed(talk.client.history(conversation).entries):
        if isinstance(entry, Message) and entry.sender == talk.roster.me and entry.text is not None:
            return entry.seq
    raise NoSuchMessage("there is no message of yours to take back")


def _log_out(talk: Talk) -> None:
    talk.client.logout()
    raise Over(quit=False)


def _quit(talk: Talk) -> None:
    raise Over(quit=True)


def _names(kind: str, roster: Roster) -> list[str]:
    users = [written(str(friend["name"])) for friend in list(roster.friends.values())]
    groups = [written(str(group["groupname"])) for group in list(roster.groups.values())]
    return {"user": users, "group": groups, "either": users + [f"#{name}" for name in groups]}.get(kind, [])


COMMANDS: dict[str, Command] = {
    "help": Command("help", "show this", _help),
    "chat": Command("chat:ID:TEXT", "send a message to a user", _chat, 2, "user"),
    "addfriend": Command("addfriend:ID", "see when a user is online", _add_friend, 1),
    "creategroup": Command("creategroup:NAME:DESC", "create a group", _create_group, 1),
    "addgroup": Command("addgroup:ID", "join a group", _join_group, 1),
    "groupchat": Command("groupchat:ID:TEXT", "send a message to a group", _group_chat, 2, "group"),
    "history": Command("history:ID:N", "show the last N messages (20)", _history, 1, "either"),
    "recall": Command("recall:ID:SEQ", "take back message [SEQ], or your last", _recall, 1, "either"),
    "friends": Command("friends", "list your friends", show_friends),
    "groups": Command("groups", "list your groups, as they are now", _groups),
    "removefriend": Command("removefriend:ID", "see it no longer", _remove_friend, 1, "user"),
    "block": Command("block:ID", "take no messages from a user", _block, 1, "user"),
    "unblock": Command("unblock:ID", "take them again", _unblock, 1, "user"),
    "leave": Command("leave:ID", "leave a group", _leave_group, 1, "group"),
    "loginout": Command("loginout", "log out, back to the menu", _log_out),
    "quit": Command("quit", "end the program", _quit),
}

NOTES = (
    "ID is the id or the name of a user or group. Digits alone are an id; in quotes they are a name, and",
    'so is what has colons in it: chat:"7":Hello. TEXT may contain colons.',
    "For history and recall a group has a # before it: history:#team.",
    "Alt-Enter begins a new line; where there is no such key, a \\ at the end of a line does.",
)
