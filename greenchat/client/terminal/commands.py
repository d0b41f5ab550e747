"""The table of commands: usage, help and function of each."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from greenchat.client import Client, Conversation, Message, in_group, with_user
from greenchat.client.terminal.names import QUOTED, is_id, quote, unquote
from greenchat.client.terminal.roster import Roster
from greenchat.client.terminal.text import describe, group_line, member_names, user_line
from greenchat.errors import BadRequest, NoSuchGroup, NoSuchMessage, NotAMember

HASH = ("#", "\uff03")
"""Prefixes of a group's name; the second one is typed by Chinese and Japanese keyboards."""

ARGUMENT = re.compile(rf"\s*([{HASH[0]}{HASH[1]}]?{QUOTED}|[^:\uff1a]*?)\s*(?:[:\uff1a]|\Z)", re.DOTALL)
"""An argument that is not the last one, with the colon (or full-width colon) that ends it."""

MEMBERS = 100
"""Largest group whose members are listed by name, as in LOGIN_ACK."""


@dataclass(frozen=True)
class CommandContext:
    """Hold the parts that a command works on: a client that is logged in, the known names, the screen."""

    client: Client
    roster: Roster
    show: Callable[[str], None]

    def user(self, text: str) -> int:
        """Return the id of a user given by id or name; digits are an id, in quotes they are a name."""
        if is_id(text):
            return int(text)
        name = unquote(text)
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
        name = unquote(text)
        known = self.roster.group_id(name)
        return int(self.client.find_group(name)["id"]) if known is None else known

    def conversation(self, text: str) -> Conversation:
        """Return the conversation with a user, or that of a group if the text begins with ``#``."""
        return in_group(self.group(text)) if text.startswith(HASH) else with_user(self.user(text))


class LoginEnded(Exception):
    """Raised by a command that ends the login; ``quit`` is True if it ends the program too."""

    def __init__(self, quit: bool) -> None:
        super().__init__()
        self.quit = quit


class Command(NamedTuple):
    """A row of the table.

    Attributes:
        usage: form of the command; the last argument may contain colons.
        help: one line for people.
        run: called with the context and the arguments.
        required: number of arguments that must be given.
        names: kind of name that the first argument is, for completion.
    """

    usage: str
    help: str
    run: Callable[..., None]
    required: int = 0
    names: Literal["", "user", "group", "either"] = ""

    @property
    def arguments(self) -> int:
        """Number of arguments."""
        return self.usage.count(":")


def execute(line: str, context: CommandContext) -> None:
    """Execute a command line.

    Raises:
        BadRequest: no such command, or an argument is missing; the user's fault.
        LoginEnded: the command was ``quit`` or ``loginout``.
        GreenchatError, TimeoutError: from the client's methods.
    """
    word, rest = _first(line.strip())
    command = COMMANDS.get(word.lower())
    if command is None:
        raise BadRequest(f'there is no command "{word}"; try help')
    arguments = _arguments(rest, command.arguments)
    if len(arguments) < command.required or not all(arguments[: command.required]):
        raise BadRequest(f"write {command.usage}")
    command.run(context, *arguments[: command.arguments])


def _first(text: str) -> tuple[str, str]:
    """Return the first argument, and the rest of the text."""
    match = ARGUMENT.match(text)
    assert match  # the pattern matches any text
    return match[1], text[match.end() :]


def _arguments(rest: str, count: int) -> list[str]:
    """Return up to ``count`` arguments; the last one is the rest of the line."""
    arguments: list[str] = []
    while rest and len(arguments) < count - 1:
        argument, rest = _first(rest)
        arguments.append(argument)
    return [*arguments, rest.strip()] if rest.strip() else arguments


def completions(text: str, roster: Roster) -> list[str]:
    """Return the possible completions of a line."""
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


def show_friends(context: CommandContext) -> None:
    """Show the friends."""
    context.show("Friends:" if context.roster.friends else "No friends yet: try addfriend:NAME.")
    for friend in sorted(list(context.roster.friends.values()), key=lambda item: str(item["name"])):
        context.show(user_line(friend))


def show_groups(context: CommandContext) -> None:
    """Show the groups as they are known, without asking the server."""
    context.show(
        "Groups:" if context.roster.groups else "No groups yet: try creategroup:NAME:DESC or addgroup:NAME."
    )
    for group in sorted(list(context.roster.groups.values()), key=lambda item: str(item["groupname"])):
        context.show(group_line(group, member_names(group)))


def _groups(context: CommandContext) -> None:
    """Ask the server for all known groups, and show them."""
    for groupid in [*context.roster.groups, *context.roster.unknown]:
        try:
            info = context.client.group_info(groupid, limit=MEMBERS)
        except (NotAMember, NoSuchGroup):
            context.roster.groups.pop(groupid, None)
            context.roster.unknown.discard(groupid)
        else:
            context.roster.add_group({**info["group"], "users": [] if info["more"] else info["users"]})
    show_groups(context)


def _help(context: CommandContext) -> None:
    width = max(len(command.usage) for command in COMMANDS.values())
    for command in COMMANDS.values():
        context.show(f"  {command.usage:{width}}  {command.help}")
    for line in NOTES:
        context.show(line)


def _chat(context: CommandContext, user: str, text: str) -> None:
    context.show(f"sent [{context.client.chat(context.user(user), text).seq}]")


def _group_chat(context: CommandContext, group: str, text: str) -> None:
    context.show(f"sent [{context.client.group_chat(context.group(group), text).seq}]")


def _add_friend(context: CommandContext, user: str) -> None:
    friend = context.client.add_friend(context.user(user))
    context.roster.add_friend(friend)
    context.show(f"{context.roster.user_name(friend['id'])} is your friend now, and {friend['state']}.")


def _remove_friend(context: CommandContext, user: str) -> None:
    userid = context.user(user)
    context.client.remove_friend(userid)
    context.roster.friends.pop(userid, None)
    context.show(f"{context.roster.user_name(userid)} is no longer your friend.")


def _block(context: CommandContext, user: str) -> None:
    userid = context.user(user)
    context.client.block(userid)
    context.show(f"You have blocked {context.roster.user_name(userid)}.")


def _unblock(context: CommandContext, user: str) -> None:
    userid = context.user(user)
    context.client.unblock(userid)
    context.show(f"You have unblocked {context.roster.user_name(userid)}.")


def _create_group(context: CommandContext, name: str, desc: str = "") -> None:
    name = unquote(name)
    groupid = context.client.create_group(name, desc)
    context.roster.add_group({"id": groupid, "groupname": name, "groupdesc": desc})
    context.show(f"The group #{quote(name)} is created; its id is {groupid}.")


def _join_group(context: CommandContext, group: str) -> None:
    joined = context.client.join_group(context.group(group))
    context.roster.add_group(joined)
    context.show(f"You are in the group #{context.roster.group_name(joined['id'])} now.")


def _leave_group(context: CommandContext, group: str) -> None:
    groupid = context.group(group)
    context.client.leave_group(groupid)
    context.show(f"You have left the group #{context.roster.group_name(groupid)}.")
    context.roster.groups.pop(groupid, None)


def _history(context: CommandContext, where: str, count: str = "20") -> None:
    if not is_id(count):
        raise BadRequest("write history:ID:N with a number N from 1 to 200")
    page = context.client.history(context.conversation(where), limit=int(count))
    for entry in page.entries:
        context.roster.update(entry)
        context.show(describe(entry, context.roster) or "")
    context.show("(older messages exist)" if page.more else "(that is all)")


def _recall(context: CommandContext, where: str, seq: str = "") -> None:
    if seq and not is_id(seq):
        raise BadRequest("write recall:ID:SEQ with the number in brackets before the message")
    conversation = context.conversation(where)
    target = int(seq) if seq else _last_own(context, conversation)
    context.client.recall(conversation, target)
    context.show(f"Message {target} is recalled.")


def _last_own(context: CommandContext, conversation: Conversation) -> int:
    for entry in reversed(context.client.history(conversation).entries):
        if isinstance(entry, Message) and entry.sender == context.roster.me and entry.text is not None:
            return entry.seq
    raise NoSuchMessage("there is no message of yours to recall")


def _log_out(context: CommandContext) -> None:
    context.client.logout()
    raise LoginEnded(quit=False)


def _quit(context: CommandContext) -> None:
    raise LoginEnded(quit=True)


def _names(kind: str, roster: Roster) -> list[str]:
    users = [quote(str(friend["name"])) for friend in list(roster.friends.values())]
    groups = [quote(str(group["groupname"])) for group in list(roster.groups.values())]
    return {"user": users, "group": groups, "either": users + [f"#{name}" for name in groups]}.get(kind, [])


COMMANDS: dict[str, Command] = {
    "help": Command("help", "show this", _help),
    "chat": Command("chat:ID:TEXT", "send a message to a user", _chat, 2, "user"),
    "addfriend": Command("addfriend:ID", "add a friend, and see when they are online", _add_friend, 1),
    "creategroup": Command("creategroup:NAME:DESC", "create a group", _create_group, 1),
    "addgroup": Command("addgroup:ID", "join a group", _join_group, 1),
    "groupchat": Command("groupchat:ID:TEXT", "send a message to a group", _group_chat, 2, "group"),
    "history": Command("history:ID:N", "show the last N messages (20)", _history, 1, "either"),
    "recall": Command("recall:ID:SEQ", "recall message [SEQ], or your last one", _recall, 1, "either"),
    "friends": Command("friends", "list your friends", show_friends),
    "groups": Command("groups", "list your groups", _groups),
    "removefriend": Command("removefriend:ID", "remove a friend", _remove_friend, 1, "user"),
    "block": Command("block:ID", "refuse messages from a user", _block, 1, "user"),
    "unblock": Command("unblock:ID", "accept messages from a user again", _unblock, 1, "user"),
    "leave": Command("leave:ID", "leave a group", _leave_group, 1, "group"),
    "loginout": Command("loginout", "log out, back to the menu", _log_out),
    "quit": Command("quit", "end the program", _quit),
}

NOTES = (
    "ID is the id or the name of a user or group. Digits are an id. Put a name of digits, or one with a",
    'colon, in quotes: chat:"7":Hello. TEXT may contain colons.',
    "For history and recall a group has a # before it: history:#team.",
    "Alt-Enter begins a new line; a \\ at the end of a line does so too, in pipes and simple terminals.",
)
