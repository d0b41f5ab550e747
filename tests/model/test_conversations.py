"""The names of conversations and entries: each has one, and each name is of one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenchat.model.conversations import (
    entry_name,
    entry_named,
    name_of,
    named,
    of_group,
    of_pair,
)
from greenchat.model.records import MAX_ID, MAX_SEQ

ids = st.integers(1, MAX_ID)
conversations = st.one_of(st.builds(of_group, ids), st.builds(of_pair, ids, ids))


def test_a_group_and_a_pair_have_names() -> None:
    assert name_of(of_group(12)) == "g12"
    assert name_of(of_pair(9, 7)) == "u7-9"
    assert entry_name(of_group(12), 345) == "g12-345"
    assert entry_name(of_pair(7, 9), 345) == "u7-9-345"


@given(conversations, st.integers(1, MAX_SEQ))
def test_a_name_leads_back(conversation: int, seq: int) -> None:
    assert named(name_of(conversation)) == conversation
    assert entry_named(entry_name(conversation, seq)) == (conversation, seq)


@pytest.mark.parametrize(
    "name", ["", "g", "g0", "g01", "g-1", "u7", "u9-7", "u7-9-1", "u0-1", "g2147483648", "G1", "g１", "g1\n"]
)
def test_what_names_no_conversation_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        named(name)


@pytest.mark.parametrize("name", ["", "g12", "u7-9", "g12-0", "g12-9223372036854775808", "12-3", "g12-3-x"])
def test_what_names_no_entry_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        entry_named(name)
