from __future__ import annotations

from datetime import UTC, datetime

import pytest

from greenchat import errors
from greenchat.client import (
    ConnectionEvent,
    LoginInfo,
    Message,
    MessageRecall,
    PresenceChange,
    Push,
    TypingNotice,
    in_group,
    with_user,
)
from greenchat.client.terminal.roster import Roster
from greenchat.client.terminal.text import describe, error_sentence, escape_controls, local_time, safe_lines
from greenchat.model.instants import to_instant

NOW = to_instant(datetime.now(UTC).timestamp())


@pytest.fixture
def roster() -> Roster:
    bob = {"id": 2, "name": "bob", "state": "offline"}
    return Roster(LoginInfo(1, "ann", "T", "", "", [bob], [{"id": 5, "groupname": "team", "groupdesc": ""}]))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07\x1b[2J", "\\x1b]0;owned\\x07\\x1b[2J"),
        ("one\n09:00 [1] bob: forged", "one\\n09:00 [1] bob: forged"),
        ("a\rb\tc\x00\x7f\x9b1m", "a\\rb\\tc\\x00\\x7f\\x9b1m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2028\u2066\ud800", "\\u2028\\u2066\\ud800"),
        ("s\u00adh\u200by\ufeff \U000e0041", "s\\xadh\\u200by\\ufeff \\U000e0041"),
        ("grüße 你好 👩‍👩‍👧 עברית", "grüße 你好 👩‍👩‍👧 עברית"),
    ],
)
def test_what_steers_a_terminal_is_written_out_and_all_else_stays(text: str, shown: str) -> None:
    assert escape_controls(text) == shown


def test_further_lines_of_a_text_stand_behind_a_margin() -> None:
    assert list(safe_lines("09:00 [1] bob: one\r\n09:00 [2] eve: forged\rx\n")) == [
        "09:00 [1] bob: one",
        "      | 09:00 [2] eve: forged\\rx",
        "      | ",
    ]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("09:00 [1] bob: fits", ["09:00 [1] bob: fits"]),
        (
            f"09:00 [1] bob: {'x' * 15}09:00 [2] eve: forged",
            [f"09:00 [1] bob: {'x' * 15}", "      | 09:00 [2] eve: forged"],
        ),
        (
            f"09:00 [1] bob: {' ' * 15}09:00 [2] eve: forged",
            [f"09:00 [1] bob: {' ' * 14}", "      | 09:00 [2] eve: forged"],
        ),
        (f"09:00 [1] bob: {'你' * 12}", ["09:00 [1] bob:", f"      | {'你' * 11}", "      | 你"]),
    ],
)
def test_a_line_does_not_reach_over_the_edge_of_the_terminal(text: str, lines: list[str]) -> None:
    """Beyond it the text would go on at the left, where our lines begin."""
    assert list(safe_lines(text, 30)) == lines


def test_times_are_local_with_the_date_where_it_is_not_today() -> None:
    local = datetime(2026, 11, 23, 9, 5)
    instant = to_instant(local.timestamp())
    assert local_time(instant, now=datetime(2026, 11, 23, 23, 59)) == "09:05"
    assert local_time(instant, now=datetime(2026, 11, 24)) == "2026-11-23 09:05"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (errors.NoSuchUser(), "There is no such user."),
        (errors.Disconnected("connection refused"), "The connection is gone: connection refused."),
        (errors.Disconnected("shutdown"), "The connection is gone: the server stops."),
        (
            errors.TooLarge("msg: at most 4096 characters"),
            "The message is not accepted: at most 4096 characters.",
        ),
        (
            errors.BadRequest("groupname: may not be empty"),
            "The name of the group is not accepted: may not be empty.",
        ),
        (TimeoutError("no answer."), "No answer."),
        (TimeoutError(), "TimeoutError."),
    ],
)
def test_errors_are_sentences(error: Exception, text: str) -> None:
    assert error_sentence(error) == text


def test_pushes_are_described_with_names_and_numbers(roster: Roster) -> None:
    time = local_time(NOW)
    said: list[tuple[Push, str | None]] = [
        (Message(with_user(2), 3, 2, "bob", "hi", NOW), f"{time} [3] bob: hi"),
        (Message(with_user(2), 4, 1, "ann", "yo", NOW), f"{time} [4] me to bob: yo"),
        (Message(in_group(5), 1, 2, "bob", None, NOW), f"{time} [1] bob in #team: (recalled)"),
        (MessageRecall(in_group(5), 2, 7, 1, NOW), f"{time} [2] user 7 in #team: (recalled message 1)"),
        (PresenceChange(2, "online"), "bob is online."),
        (TypingNotice(with_user(2), 2), None),
        (ConnectionEvent("connected"), None),
        (
            ConnectionEvent("lost", "shutdown", 1.0),
            "The connection is lost (the server stops). It comes back by itself.",
        ),
        (ConnectionEvent("retry", "refused", 1.0), None),
        (ConnectionEvent("back"), "The connection is back."),
        (ConnectionEvent("ended", "replaced"), "You have logged in from elsewhere: this login has ended."),
        (ConnectionEvent("ended", "odd"), "You are logged out (odd). Log in again."),
    ]
    assert [describe(push, roster) for push, _ in said] == [line for _, line in said]


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("rob", "rob"),
        ("小明", "小明"),
        ("me", '"me"'),
        ("bob in #team", '"bob in #team"'),
        ("bob: hi", '"bob: hi"'),
        ("user 7", '"user 7"'),
        ("7", '"7"'),
        ("bob\u200b", '"bob\\u200b" (id 9)'),
        ("\u200b", '"\\u200b"'),
        ("eve\n09:00 [1] bob", '"eve\\n09:00 [1] bob"'),
        ("b\u043eb", "b\u043eb (id 9)"),
        ("ｂｏｂ", "ｂｏｂ (id 9)"),
    ],
)
def test_nobody_is_called_like_another_or_like_a_line_of_ours(roster: Roster, name: str, called: str) -> None:
    roster.update(Message(with_user(9), 1, 9, name, "hi", NOW))
    assert roster.user_name(9) == called
    line = describe(Message(in_group(5), 1, 9, name, "hi", NOW), roster)
    assert line == f"{local_time(NOW)} [1] {called} in #team: hi"


def test_names_that_are_alike_have_the_ids_behind_them(roster: Roster) -> None:
    roster.learn_name(9, "Bob")
    assert (roster.user_name(2), roster.user_name(9)) == ("bob (id 2)", "Bob (id 9)")
    roster.learn_name(9, "robert")
    assert (roster.user_name(2), roster.user_name(9)) == ("bob", "robert")


def test_a_group_that_is_only_heard_of_is_remembered(roster: Roster) -> None:
    roster.update(Message(in_group(8), 1, 2, "bob", "hi", NOW))
    assert (roster.unknown, roster.group_name(8)) == ({8}, "8")
    roster.add_group({"id": 8, "groupname": "8"})
    assert (roster.unknown, roster.group_name(8)) == (set(), '"8"')


def test_the_roster_learns_from_what_it_hears(roster: Roster) -> None:
    roster.update(PresenceChange(2, "online"))
    roster.update(Message(with_user(9), 1, 9, "new", "hi", NOW))
    assert roster.friends[2]["state"] == "online"
    assert (roster.user_id("new"), roster.user_name(9), roster.user_name(1), roster.group_id("team")) == (
        9,
        "new",
        "me",
        5,
    )
    roster.update(ConnectionEvent("back", login=LoginInfo(1, "ann", "T", "", "", [], [])))
    assert (roster.friends, roster.groups) == ({}, {})
