"""What the fields of a request may be: names and other texts, and one of two."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenchat.errors import BadRequest, RequestError, TooLarge
from greenchat.service.requests.validation import check_length, check_printable, clean_name, exactly_one


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (" a ", "a"),
        ("a b", "a b"),
        ("\u2003a\u00a0", "a"),
        ("A\u030a", "Å"),
        ("\u212b", "Å"),
        ("ﬁ", "ﬁ"),
        ("12345 ", "12345"),
    ],
)
def test_a_name_is_normalised(text: str, kept: str) -> None:
    assert clean_name("name", text, 5) == kept


@pytest.mark.parametrize("text", ["", " ", "\u2003", "\x00", "a\tb", "a\x1f", "\x7fa", "a\x9f"])
def test_an_empty_name_and_control_characters_are_bad(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^name: "):
        clean_name("name", text, 50)


def test_a_name_longer_than_its_limit_is_too_large() -> None:
    with pytest.raises(TooLarge, match=r"^groupname: at most 5 characters, this has 6"):
        clean_name("groupname", "123456", 5)


@given(st.text())
def test_a_clean_name_stays_as_it_is(text: str) -> None:
    try:
        name = clean_name("name", text, 50)
    except RequestError:
        return
    assert clean_name("name", name, 50) == name
    assert 1 <= len(name) <= 50


@pytest.mark.parametrize(("count", "error"), [(0, BadRequest), (4, TooLarge)])
def test_a_length_outside_its_bounds_is_refused(count: int, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^msg: "):
        check_length("msg", "\U0001f600" * count, 1, 3)


def test_lengths_count_characters_and_include_both_bounds() -> None:
    check_length("msg", "\U0001f600", 1, 3)
    check_length("msg", "\U0001f600" * 3, 1, 3)


def test_every_control_character_is_found() -> None:
    for code in [*range(0x20), *range(0x7F, 0xA0)]:
        with pytest.raises(BadRequest):
            check_printable("device", f"a{chr(code)}")
    check_printable("device", "".join(map(chr, range(0x20, 0x7F))) + "\u200d\xad")


@pytest.mark.parametrize(("peerid", "groupid"), [(None, None), (1, 2)])
def test_neither_and_both_of_two_fields_are_bad(peerid: int | None, groupid: int | None) -> None:
    with pytest.raises(BadRequest, match=r"^exactly one of peerid and groupid is needed$"):
        exactly_one(peerid=peerid, groupid=groupid)


@pytest.mark.parametrize("value", [1, 0, "", False])
def test_one_of_two_fields_will_do_whatever_it_holds(value: object) -> None:
    exactly_one(peerid=value, groupid=None)
    exactly_one(peerid=None, groupid=value)
