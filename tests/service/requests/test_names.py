"""New names: none that cannot be seen, none that could be taken for a line of a client."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenchat.errors import BadRequest, RequestError
from greenchat.protocol.messages import MsgId
from greenchat.service.requests.names import new_name
from greenchat.service.requests.validation import clean_name
from tests.service.world import World

GOOD = [
    "ann", "Ann Lee", "l'été", "李 小龍", "山田花子", "ｱｲｳ", "김철수", "Ελένη", "Мария", "नेहा",
    "ปรีชา", "דוד", "محمد علي", "אבי 7", "\U0001f600", "NAME: some text", "#tea", "12345",
    "mee", "m e", "me2", "home", "to me", "C++ (new)", "ﬁ", "①", "e\u0301",
    "\u0e17\u0e35\u0e48",
]  # fmt: skip
INVISIBLE = [
    "ann\u200b", "\u200b", "\u200d\u200d", "a\u00adnn", "\u202enna", "\u2066ann\u2069",
    "ann\u200e", "\ufeffann", "a\u034fnn", "\u3164", "\u115f", "\uffa0ann", "ann\ufe0f",
    "\u180eann", "\U000e0041nn", "\U000e0100", "\u2800", "ann\u2028bob", "a\ud800", "a\ue000",
    "a\uffff", "a\U000f0000", "\u0378", "\u2060ann", "a\u061cb", "\U0001d173",
]  # fmt: skip
BLANK = [
    "ann  lee", "ann\u00a0lee", "ann\u3000lee", "ann\u2009lee", "\u0301", "\u0301ann", "\u20dd",
]  # fmt: skip
LINES = [
    "me", "ME", "Me", "ｍｅ", "Ｍe", "ⅿe", "𝐦𝐞", "ᵐᵉ", "ме", "МЕ", "με", "ΜΕ", "mе",
    "me in #tea", "Me to bob", "ann in #tea", "ann IN #tea", "ann in ＃tea", "ann in ﹟tea",
    "ann ｉｎ #tea", "ann іn #tea", "in #tea",
]  # fmt: skip
MIXED = [
    "אann", "annא", "א ann", "1א", "a\u0627", "א-", "\u0663",
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_names_of_people_everywhere_are_allowed(name: str) -> None:
    assert new_name("name", name, 50) == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize("name", INVISIBLE)
def test_characters_that_cannot_be_seen_or_are_none_are_refused(name: str) -> None:
    with pytest.raises(BadRequest, match=r"^name: .* are not allowed \(U\+"):
        new_name("name", name, 50)


@pytest.mark.parametrize("name", BLANK)
def test_blanks_and_marks_that_mislead_are_refused(name: str) -> None:
    with pytest.raises(BadRequest, match=r"^groupname: "):
        new_name("groupname", name, 50)


@pytest.mark.parametrize("name", LINES)
def test_what_clients_write_where_they_show_a_message_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="clients write this"):
        new_name("name", name, 50)


@pytest.mark.parametrize("name", MIXED)
def test_a_name_has_one_direction(name: str) -> None:
    with pytest.raises(BadRequest, match="may not be mixed"):
        new_name("name", name, 50)


def test_no_format_character_at_all_is_allowed() -> None:
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code)) == "Cf":
            with pytest.raises(BadRequest):
                new_name("name", f"a{chr(code)}b", 50)


@given(st.text())
def test_a_new_name_is_a_name_and_stays_as_it_is(text: str) -> None:
    try:
        name = new_name("name", text, 50)
    except RequestError:
        return
    assert new_name("name", name, 50) == name == clean_name("name", name, 50)


def test_users_and_groups_are_not_given_such_names(world: World) -> None:
    ann = world.user("ann")
    for name in ("me", "ann\u200b", "ann in #tea"):
        ann.refused(3, MsgId.CREATE_GROUP, groupname=name)
        world.connect().refused(3, MsgId.REG, name=name, password="pw")
    ann.group("NAME: some text")


@pytest.mark.parametrize("name", ["me", "ann\u200b", "ann in #tea", "\u200b", "a\u202eb"])
def test_a_user_who_has_such_a_name_already_is_as_before(world: World, name: str) -> None:
    ann = world.user("ann")
    userid = world.store.create_user(name, "pw", world.service.now())
    old = world.connect()
    assert old.login(name=name)["name"] == name
    assert ann.ok(MsgId.FIND, name=name)["user"]["id"] == userid
    old.chat(ann, "hello")
    assert ann.pushed()[0]["name"] == name
    groupid = world.store.create_group(ann.id, name, "", world.service.now())
    assert old.ok(MsgId.FIND, groupname=name)["group"]["id"] == groupid
    old.ok(MsgId.CHANGE_PASSWORD, old="pw", new="new")
