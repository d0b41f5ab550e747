from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenchat.client.terminal.names import is_confusable, quote, unquote
from greenchat.errors import BadRequest

ODD = [
    "me",
    "ME",
    "\u043c\u0435",
    "\u03bc\u0395",
    "ｍｅ",
    "\U0001d159",
    "\ue000",
    "\u0378",
    "7",
    "",
    '"',
    "\\",
    "a:b",
    "a b",
    "#team",
    "\u0301a",
    "a\u3164",
    "❤\ufe0f",
    "\u2800",
    "a\u00a0b",
    "\ud800",
]


@pytest.mark.parametrize("name", ["bob", "Bob_2", "a.b-c", "小明", "grüße", "🎈bob", "e\u0301", "דני"])
def test_a_name_that_can_be_nothing_else_stands_bare(name: str) -> None:
    assert quote(name) == name


@pytest.mark.parametrize("name", ODD)
def test_all_others_stand_in_quotes(name: str) -> None:
    assert quote(name).startswith('"')
    assert quote(name).endswith('"')


@given(st.one_of(st.sampled_from(ODD), st.text(), st.text('me7 :#"\\\u200bxU', max_size=6)))
def test_what_is_written_can_be_typed_and_hides_nothing(name: str) -> None:
    text = quote(name)
    assert unquote(text) == name
    assert not {unicodedata.category(char) for char in text} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize("typed", ['"', '"a', '"a"b', '"a\\"', '"\\Uffffffff"'])
def test_quotes_that_do_not_fit_are_told(typed: str) -> None:
    with pytest.raises(BadRequest):
        unquote(typed)


def test_letters_of_two_alphabets_look_like_another_name() -> None:
    assert [
        is_confusable(name) for name in ("p\u0430ul", "ﬁ", "paul", "\u043f\u0430\u0432\u0435\u043b", "小明x")
    ] == [
        True,
        True,
        False,
        False,
        False,
    ]
