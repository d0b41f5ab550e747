"""Who may do what to whom by HTTP: the cells of docs/authorisation.md of which there is a call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from greenchat.model.conversations import name_of, of_group, of_pair
from lab.servers.program import free_port
from tests.service.test_authorisation import (
    ABOUT_GROUP,
    ABOUT_USER,
    COLUMNS,
    NEVER,
    OK,
    SECRET,
    SILENT,
    TABLE,
)
from tests.system.rest import Answer, Caller
from tests.system.server import Server, join

ROWS = ("ONE_CHAT", "GROUP_CHAT", "HISTORY", "RECEIVED", "GROUP_INFO")
"""The rows whose requests are calls on a conversation or a group."""

NOBODY = 2**31 - 1


class Stage(NamedTuple):
    """People and groups in every relation to Eve, who asks by HTTP.

    Attributes:
        users, groups: ids by column.
    """

    server: Server
    port: int
    eve: Caller
    id: int
    users: dict[str, int]
    groups: dict[str, int]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One stage for all: what is refused changes nothing, and what is allowed adds messages."""
    port = free_port()
    options = ("--heartbeat-interval", 60, "--login-timeout", 60, "--web", f"127.0.0.1:{port}")
    server = Server(tmp_path_factory.mktemp("authorisation"), *options)
    ann, bob, eve = (join(server, name) for name in ("ann", "bob", "eve"))
    groups = {
        "no such group": NOBODY,
        "not a member": ann.done(8, groupname="theirs")["groupid"],
        "a member": ann.done(8, groupname="ours")["groupid"],
        "the creator": eve.done(8, groupname="mine")["groupid"],
    }
    eve.done(9, groupid=groups["a member"])
    for person in (ann, bob):
        person.done(6, toid=eve.id, msg="to Eve")
        eve.done(6, toid=person.id, msg="by Eve")
    for _ in range(2):
        ann.done(10, groupid=groups["not a member"], msg=SECRET)
        ann.done(10, groupid=groups["a member"], msg="in the group")
        eve.done(10, groupid=groups["the creator"], msg="by Eve")
        eve.done(6, toid=eve.id, msg="to myself")
    bob.done(19, userid=eve.id)
    _, token = Caller(port).begin("eve", "script")
    users = {"no such user": NOBODY, "oneself": eve.id, "another user": ann.id, "a blocker": bob.id}
    yield Stage(server, port, Caller(port, token), eve.id, users, groups)
    for person in (ann, bob, eve):
        person.sock.close()
    server.close()


def ask(stage: Stage, row: str, column: str) -> Answer:
    """Ask what a cell is about; before the login, it does not matter of whom."""
    caller = Caller(stage.port) if column == "before login" else stage.eve
    user = stage.users.get(column, stage.users["another user"])
    group = stage.groups.get(column, stage.groups["a member"])
    about_group = column in ABOUT_GROUP or row in ("GROUP_CHAT", "GROUP_INFO")
    place = {"group_id": group} if about_group else {"user_id": user}
    conversation = of_group(group) if about_group else of_pair(stage.id, user)
    if row in ("ONE_CHAT", "GROUP_CHAT"):
        return caller.post("/api/v1/messages", place | {"text": "hi"})
    if row == "HISTORY":
        ((name, value),) = place.items()
        return caller.get(f"/api/v1/messages?{name}={value}")
    if row == "RECEIVED":
        return caller.post("/api/v1/received", {"conversation": name_of(conversation), "seq": 2})
    return caller.get(f"/api/v1/groups/{group}")


def cells(told: str) -> list[tuple[str, str]]:
    """Return the places of the cells that say OK or SILENT; with "", of those that say an errno."""
    return [
        (row, column)
        for row in ROWS
        for column in COLUMNS
        if TABLE[row][column] != NEVER
        and (TABLE[row][column] if TABLE[row][column] in (OK, SILENT) else "") == told
    ]


@pytest.mark.parametrize(("row", "column"), cells(OK))
def test_what_the_table_allows_is_done(stage: Stage, row: str, column: str) -> None:
    answer = ask(stage, row, column)
    assert answer.status in (200, 201, 204), answer
    assert SECRET not in answer.text


def rows(stage: Stage) -> dict[str, list[Any]]:
    tables = ("Message", "GroupUser", "Conversation", "Friend", "Block", "ReadMark")
    return {table: stage.server.rows(f'SELECT * FROM "{table}"') for table in tables}


@pytest.mark.parametrize(("row", "column"), cells(""))
def test_what_the_table_refuses_is_refused_and_leaves_no_trace(stage: Stage, row: str, column: str) -> None:
    before = rows(stage)
    answer = ask(stage, row, column)
    assert answer.errno == int(TABLE[row][column])
    assert SECRET not in answer.text
    assert rows(stage) == before


@pytest.mark.parametrize(("row", "column"), cells(SILENT))
def test_what_the_table_refuses_in_silence_moves_no_cursor(stage: Stage, row: str, column: str) -> None:
    assert ask(stage, row, column).status == 204
    assert ask(stage, row, "a member").status == 204
    group, other = of_group(stage.groups["a member"]), of_group(stage.groups.get(column, NOBODY))
    user = of_pair(stage.id, stage.users.get(column, NOBODY))
    of_eve = f"userid = {stage.id} AND device = 'script'"
    found = f'SELECT conversation FROM "Cursor" WHERE {of_eve} AND conversation IN ({group}, {other}, {user})'
    stage.server.wait_for_rows([(group,)], found)


def test_every_row_about_a_conversation_or_its_members_that_has_a_call_is_asked() -> None:
    asked = {row: {column for column in COLUMNS if TABLE[row][column] != NEVER} for row in ROWS}
    assert asked["HISTORY"] == {"before login", *ABOUT_USER, *ABOUT_GROUP}
    assert len(cells(OK)) + len(cells(SILENT)) + len(cells("")) == sum(map(len, asked.values()))


def test_sessions_are_begun_as_logins_are_and_ended_as_logouts(stage: Stage) -> None:
    """The rows LOGIN and LOGINOUT; a call has no login before it."""
    nobody = Caller(stage.port)

    def begin(name: str, password: str) -> Answer:
        return nobody.post("/session", {"name": name, "password": password, "device": "tablet"})

    assert begin("eve", "pw").status == 204
    wrong = TABLE["LOGIN, with a wrong password"]["before login"]
    assert begin("eve", "wrong").errno == int(wrong)
    assert begin("nobody", "pw").errno == int(TABLE["LOGIN, as nobody"]["before login"])
    assert nobody.call("DELETE", "/session").errno == int(TABLE["LOGINOUT"]["before login"])
    _, token = nobody.begin("eve", "tablet")
    assert Caller(stage.port, token).call("DELETE", "/session").status == 204
