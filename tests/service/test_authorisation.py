"""Who may do what to whom: every cell of the table in docs/authorisation.md, asked of a service.

The page is the table; here is how each of its questions is asked (``ASKS``).
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import Any, NamedTuple

import pytest

from greenchat.protocol.messages import REQUESTS, UNANSWERED, MsgId
from greenchat.service.routes import ROUTES
from lab import ROOT
from tests.service.world import World

PAGE = ROOT / "docs" / "authorisation.md"

GENERAL = ("before login", "logged in")
ABOUT_USER = ("no such user", "oneself", "another user", "a blocker")
ABOUT_GROUP = ("no such group", "not a member", "a member", "the creator")
COLUMNS = (*GENERAL, *ABOUT_USER, *ABOUT_GROUP)

NEVER = "–"
OK = "ok"
SILENT = "silent"

SECRET = "between you and me"
"""What others say where the caller is not."""


class Ask(NamedTuple):
    """How the request of a row is made.

    Attributes:
        fields: those that are the same in every column.
        user: the field that names the user it is about.
        group: the field that names the group it is about.
        token: whose token goes with it.
        seconds: how long Eve waits with it.
    """

    fields: dict[str, Any] = {}
    user: str = ""
    group: str = ""
    token: str = ""
    seconds: int = 0


class Stage:
    """People and groups in every relation to Eve, who asks."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ann, self.bob, self.eve = world.users("ann", "bob", "eve")
        self.phone = world.log_in(self.eve, device="phone")
        self.newcomer = world.connect()
        self.users = {
            "no such user": (999, "nobody"),
            "oneself": (self.eve.id, "eve"),
            "another user": (self.ann.id, "ann"),
            "a blocker": (self.bob.id, "bob"),
        }
        self.groups = {
            "no such group": (999, "nothing"),
            "not a member": (self.ann.group("theirs", self.bob), "theirs"),
            "a member": (self.ann.group("ours", self.eve), "ours"),
            "the creator": (self.eve.group("mine", self.ann), "mine"),
        }
        self._talk()
        self.bob.ok(MsgId.BLOCK, userid=self.eve.id)
        self.others = (self.ann, self.bob, self.phone)

    def _talk(self) -> None:
        """Have Eve say the first thing everywhere where she is, and somebody else the second and third."""
        for other in (self.ann, self.bob, self.eve):
            self.eve.chat(other, "by Eve")
            other.chat(self.eve, "to Eve")
            other.ok(MsgId.RECALL, peerid=self.eve.id, target=other.chat(self.eve, "soon recalled"))
        for name in ("a member", "the creator"):
            groupid, _ = self.groups[name]
            self.eve.say(groupid, "by Eve")
            self.ann.say(groupid, "in the group")
            self.ann.ok(MsgId.RECALL, groupid=groupid, target=self.ann.say(groupid, "soon recalled"))
        theirs, _ = self.groups["not a member"]
        for _ in range(3):
            self.ann.say(theirs, SECRET)
            self.ann.chat(self.bob, SECRET)

    def fields(self, ask: Ask, column: str) -> dict[str, Any]:
        """Return the fields of a request; before the login, it does not matter whom they name."""
        fields = dict(ask.fields)
        if ask.token:
            fields["token"] = getattr(self, ask.token).token
        if column in ABOUT_USER or (column in GENERAL and ask.user):
            fields |= _named(ask.user, *self.users.get(column, self.users["another user"]))
        elif ask.group:
            fields |= _named(ask.group, *self.groups.get(column, self.groups["a member"]))
        return fields

    def ask(self, row: str, column: str) -> list[dict[str, Any]]:
        """Ask what a cell is about, and return the frames that come back."""
        who = self.newcomer if column == "before login" else self.eve
        for person in (who, *self.others):
            person.pushed()
        who.send(msgid_of_row(row), **self.fields(ASKS[row], column), cid="asked")
        return who.pushed()

    def heard(self) -> list[dict[str, Any]]:
        """Return what everybody else got since Eve asked."""
        return [frame for other in self.others for frame in other.pushed()]

    def rows(self) -> dict[str, set[Any]]:
        """Return all that is in the database, marks included."""
        self.world.commit()
        self.world.store.write_marks()
        with closing(sqlite3.connect(self.world.url.removeprefix("sqlite:///"))) as db:
            names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {name: set(db.execute(f'SELECT * FROM "{name}"')) for name in names}


def _named(field: str, id: int, name: str) -> dict[str, Any]:
    if field == "ids":
        return {"ids": [id]}
    return {field: name if field.endswith("name") else id}


HERS = {"name": "eve", "password": "pw", "device": "tablet"}
"""Credentials that are good for a login."""

ASKS = {
    "LOGIN": Ask(HERS),
    "LOGIN, with a wrong password": Ask(HERS | {"password": "wrong"}),
    "LOGIN, as nobody": Ask(HERS | {"name": "nobody"}),
    "LOGIN, with a token of another user": Ask({"name": "ann"}, token="eve"),
    "LOGIN, with a token of another device": Ask({"name": "eve"}, token="phone"),
    "LOGIN, with a device that is online": Ask(HERS | {"device": "phone"}),
    "LOGINOUT": Ask(),
    "REG": Ask({"name": "new", "password": "pw"}),
    "REG, with a name that is taken": Ask({"name": "ann", "password": "pw"}),
    "CHANGE_PASSWORD": Ask({"old": "pw", "new": "better"}),
    "CHANGE_PASSWORD, with a wrong old one": Ask({"old": "wrong", "new": "better"}),
    "HEARTBEAT": Ask(),
    "SYNC": Ask(),
    "FIND": Ask(user="name", group="groupname"),
    "ADD_FRIEND": Ask(user="friendid"),
    "REMOVE_FRIEND": Ask(user="friendid"),
    "ARE_FRIENDS": Ask(user="ids"),
    "BLOCK": Ask(user="userid"),
    "UNBLOCK": Ask(user="userid"),
    "ONE_CHAT": Ask({"msg": "hi"}, user="toid"),
    "GROUP_CHAT": Ask({"msg": "hi"}, group="groupid"),
    "TYPING": Ask(user="toid", group="groupid"),
    "RECEIVED": Ask({"seq": 2}, user="peerid", group="groupid"),
    "READ": Ask({"seq": 1}, user="peerid", group="groupid"),
    "HISTORY": Ask(user="peerid", group="groupid"),
    "RECALL, of one's own message": Ask({"target": 1}, user="peerid", group="groupid"),
    "RECALL, of one's own message, too late": Ask({"target": 1}, user="peerid", group="groupid", seconds=121),
    "RECALL, of another's message": Ask({"target": 2}, user="peerid", group="groupid"),
    "RECALL, of what is recalled": Ask({"target": 3}, user="peerid", group="groupid"),
    "RECALL, of no message": Ask({"target": 99}, user="peerid", group="groupid"),
    "CREATE_GROUP": Ask({"groupname": "new"}),
    "CREATE_GROUP, with a name that is taken": Ask({"groupname": "theirs"}),
    "ADD_GROUP": Ask(group="groupid"),
    "LEAVE_GROUP": Ask(group="groupid"),
    "GROUP_INFO": Ask(group="groupid"),
}


def read_table() -> dict[str, dict[str, str]]:
    """Return the page's rows, each as its cells by column."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    ]
    head, *rest = rows
    assert tuple(head[1:]) == COLUMNS
    return {row[0]: dict(zip(COLUMNS, row[1:], strict=True)) for row in rest}


TABLE = read_table()


def msgid_of_row(row: str) -> MsgId:
    return MsgId[row.split(",", maxsplit=1)[0]]


def refusals(row: str) -> dict[str, str]:
    """Return the cells of a row that refuse, by column."""
    return {column: cell for column, cell in TABLE[row].items() if cell not in (OK, NEVER)}


ALLOWED = [(row, column) for row in TABLE for column in COLUMNS if TABLE[row][column] == OK]
"""The places of the cells that allow."""


@pytest.fixture
def stage(world: World) -> Stage:
    """Everybody, in every relation to Eve."""
    return Stage(world)


# -- The table is whole


def test_every_route_has_a_row_and_every_row_is_about_a_route() -> None:
    assert {REQUESTS[msgid_of_row(row)] for row in TABLE} == set(ROUTES)
    assert TABLE.keys() == ASKS.keys()


def test_every_cell_says_something() -> None:
    told = re.compile(rf"{OK}|{SILENT}|{NEVER}|[1-9]\d?")
    assert [cell for row in TABLE.values() for cell in row.values() if not told.fullmatch(cell)] == []


@pytest.mark.parametrize("row", TABLE)
def test_a_row_says_what_holds_before_login_and_of_all_that_its_request_can_name(row: str) -> None:
    kind, cells = REQUESTS[msgid_of_row(row)], TABLE[row]
    fields = set(kind.__struct_fields__)
    about_user = bool(fields & {"toid", "friendid", "userid", "peerid", "ids"}) or row == "FIND"
    about_group = "groupid" in fields or row == "FIND"
    asked = {column for column in COLUMNS if cells[column] != NEVER}
    assert (asked & {*ABOUT_USER} != set()) == about_user
    assert (asked & {*ABOUT_GROUP} != set()) == about_group
    assert ("logged in" in asked) == (not about_user and not about_group)
    assert (cells["before login"] == "5") == ROUTES[kind].needs_login


# -- The table is true


@pytest.mark.parametrize(("row", "column"), ALLOWED)
def test_what_the_table_allows_is_done(stage: Stage, row: str, column: str) -> None:
    unanswered = msgid_of_row(row) in UNANSWERED
    stage.world.time += ASKS[row].seconds
    before = stage.rows()
    frames = stage.ask(row, column)
    answers = [frame.get("errno", 0) for frame in frames if frame.get("cid") == "asked"]
    assert answers == ([] if unanswered else [0])
    assert SECRET not in str(frames)
    if unanswered and column != "oneself":
        assert stage.heard() or stage.rows() != before


@pytest.mark.parametrize("row", [row for row in TABLE if refusals(row)])
def test_what_the_table_refuses_is_refused_and_leaves_no_trace(stage: Stage, row: str) -> None:
    """One stage serves a whole row, because a refusal changes nothing."""
    stage.world.time += ASKS[row].seconds
    before = stage.rows()
    for column, cell in refusals(row).items():
        frames = stage.ask(row, column)
        told = [] if cell == SILENT else [("asked", int(cell))]
        assert [(frame["cid"], frame["errno"]) for frame in frames] == told, column
        assert SECRET not in str(frames), column
        assert stage.heard() == [], column
        assert stage.rows() == before, column
    assert stage.newcomer.session.user is None
    assert {person.peer.closed for person in (stage.newcomer, stage.eve, *stage.others)} == {None}
