from __future__ import annotations

from contextlib import suppress
from typing import Any
from unittest.mock import Mock

import pytest

from greenchat import errors
from greenchat.client import (
    Client,
    HistoryPage,
    LoginInfo,
    Message,
    MessageRecall,
    StoredEntry,
    in_group,
    with_user,
)
from greenchat.client.terminal.commands import COMMANDS, CommandContext, LoginEnded, completions, execute
from greenchat.client.terminal.roster import Roster
from tests.client.fake_server import TIME


@pytest.fixture
def context() -> CommandContext:
    bob = {"id": 2, "name": "bob", "state": "online"}
    roster = Roster(
        LoginInfo(1, "ann", "T", "", "", [bob], [{"id": 5, "groupname": "team", "groupdesc": "we"}])
    )
    client = Mock(spec=Client)
    client.chat.return_value = client.group_chat.return_value = StoredEntry(with_user(2), 3, TIME)
    client.find_user.return_value = {"id": 8, "name": "zoe"}
    client.find_group.return_value = {"id": 9, "groupname": "others"}
    client.add_friend.return_value = {"id": 8, "name": "zoe", "state": "online"}
    client.join_group.return_value = {"id": 9, "groupname": "others"}
    client.history.return_value = HistoryPage([], False)
    return CommandContext(client, roster, Mock())


def shown(context: CommandContext) -> list[str]:
    return [call.args[0] for call in context.show.call_args_list]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("line", "method", "arguments"),
    [
        ("chat:2:hi", "chat", (2, "hi")),
        ("chat:bob:a:b: c", "chat", (2, "a:b: c")),
        (" CHAT : zoe : hi ", "chat", (8, "hi")),
        ("chat:007:hi", "chat", (7, "hi")),
        ("chat:²:hi", "chat", (8, "hi")),
        ("groupchat:5:hi", "group_chat", (5, "hi")),
        ("groupchat:#team:hi:ho", "group_chat", (5, "hi:ho")),
        ("groupchat:others:x", "group_chat", (9, "x")),
        ("addfriend:a:b", "add_friend", (8,)),
        ("chat：bob：好：的", "chat", (2, "好：的")),
        ("chat : bob ： a:b", "chat", (2, "a:b")),
        ('chat:"bob":"quoted"', "chat", (2, '"quoted"')),
        ("chat:bob:one\ntwo\n three", "chat", (2, "one\ntwo\n three")),
        ("recall:＃team:4", "recall", (in_group(5), 4)),
        ('recall:#"team":4', "recall", (in_group(5), 4)),
        ('creategroup:"a: b":c:d', "create_group", ("a: b", "c:d")),
        ('groupchat:"te\\x61m":hi', "group_chat", (5, "hi")),
        ("addgroup:others", "join_group", (9,)),
        ("creategroup:g", "create_group", ("g", "")),
        ("creategroup:g:what: it is", "create_group", ("g", "what: it is")),
        ("block:bob", "block", (2,)),
        ("unblock:bob", "unblock", (2,)),
        ("removefriend:bob", "remove_friend", (2,)),
        ("leave:team", "leave_group", (5,)),
        ("recall:bob:4", "recall", (with_user(2), 4)),
        ("recall:#team:4", "recall", (in_group(5), 4)),
        ("loginout", "logout", ()),
    ],
)
def test_a_line_calls_the_client(
    context: CommandContext, line: str, method: str, arguments: tuple[Any, ...]
) -> None:
    with suppress(LoginEnded):
        execute(line, context)
    getattr(context.client, method).assert_called_once_with(*arguments)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('chat:"7":hi', "7"),
        ('chat : "a:b" : hi', "a:b"),
        ('chat:"a\\"b":hi', 'a"b'),
        ('addfriend:"a b"', "a b"),
        ('history:"#x"', "#x"),
    ],
)
def test_in_quotes_stands_a_name(context: CommandContext, line: str, name: str) -> None:
    execute(line, context)
    context.client.find_user.assert_called_once_with(name)  # type: ignore[attr-defined]


def test_groups_are_asked_for_anew(context: CommandContext) -> None:
    bob = {"id": 2, "name": "bob", "state": "offline", "role": "normal"}
    now = {
        5: {"group": {"id": 5, "groupname": "team", "count": 1}, "users": [bob], "more": False},
        6: {"group": {"id": 6, "groupname": "six", "count": 101}, "users": [bob], "more": True},
    }

    def group_info(groupid: int, limit: int) -> Any:
        if groupid not in now:
            raise errors.NotAMember
        return now[groupid]

    context.client.group_info.side_effect = group_info  # type: ignore[attr-defined]
    context.roster.unknown.update((6, 7))
    execute("groups", context)
    assert shown(context) == ["Groups:", "  #six (id 6) [101 members]", "  #team (id 5) [bob (offline)]"]
    del now[5]
    execute("groups", context)
    assert shown(context)[3:] == ["Groups:", "  #six (id 6) [101 members]"]


def test_history_takes_a_count(context: CommandContext) -> None:
    execute("history:bob", context)
    execute("history:#team:7", context)
    assert context.client.history.call_args_list == [  # type: ignore[attr-defined]
        ((with_user(2),), {"limit": 20}),
        ((in_group(5),), {"limit": 7}),
    ]
    assert shown(context)[-1] == "(that is all)"


def test_recall_without_a_number_takes_back_the_last_own_message(context: CommandContext) -> None:
    entries: list[Message | MessageRecall] = [
        Message(with_user(2), 1, 1, "ann", "first", TIME),
        Message(with_user(2), 2, 1, "ann", None, TIME),
        Message(with_user(2), 3, 2, "bob", "theirs", TIME),
        MessageRecall(with_user(2), 4, 1, 2, TIME),
    ]
    context.client.history.return_value = HistoryPage(entries, False)  # type: ignore[attr-defined]
    execute("recall:bob", context)
    context.client.recall.assert_called_once_with(with_user(2), 1)  # type: ignore[attr-defined]
    context.client.history.return_value = HistoryPage(entries[2:], False)  # type: ignore[attr-defined]
    with pytest.raises(errors.NoSuchMessage):
        execute("recall:bob", context)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("chat:bob", "write chat:ID:TEXT"),
        ("chat::hi", "write chat"),
        ("chat:bob: ", "write chat"),
        ("dance", 'no command "dance"'),
        ('chat:"bob:hi', 'needs a second "'),
        ("history:bob:many", "number"),
        ("recall:bob:x", "number"),
        ("addfriend", "write addfriend:ID"),
    ],
)
def test_a_line_that_lacks_something_says_how_to_write_it(
    context: CommandContext, line: str, says: str
) -> None:
    with pytest.raises(errors.BadRequest, match=says):
        execute(line, context)
    assert not context.client.mock_calls  # type: ignore[attr-defined]


def test_help_names_every_command(context: CommandContext) -> None:
    execute("help", context)
    text = "\n".join(shown(context))
    assert all(command.usage in text for command in COMMANDS.values())


@pytest.mark.parametrize(("line", "quits"), [("quit", True), ("loginout", False)])
def test_quit_ends_the_program_and_loginout_the_login(
    context: CommandContext, line: str, quits: bool
) -> None:
    with pytest.raises(LoginEnded) as raised:
        execute(line, context)
    assert raised.value.quit == quits


def test_commands_and_known_names_are_completed(context: CommandContext) -> None:
    assert completions("cha", context.roster) == ["chat:"]
    assert completions("q", context.roster) == ["quit"]
    assert completions("chat:b", context.roster) == ["chat:bob:"]
    assert completions("groupchat:", context.roster) == ["groupchat:team:"]
    assert completions("history:", context.roster) == ["history:bob", "history:#team"]
    assert completions("chat:bob:b", context.roster) == []
    assert completions("dance:", context.roster) == []
    context.roster.add_friend({"id": 9, "name": "a: b", "state": "online"})
    assert completions("chat：", context.roster) == ["chat：bob:", 'chat："a: b":']
