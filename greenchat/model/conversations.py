"""Which conversation a request is about: computed, never looked up."""

from __future__ import annotations

import re

from greenchat.model.records import MAX_ID, MAX_SEQ

_SHIFT = 32

PAIR = 1 << _SHIFT
"""The conversation of users a ≤ b is ``a * PAIR + b``."""


def of_pair(one: int, other: int) -> int:
    """Return the conversation of two users (or of one with themselves)."""
    return one << _SHIFT | other if one <= other else other << _SHIFT | one


def of_group(groupid: int) -> int:
    """Return the conversation of a group."""
    return -groupid


def group_of(conversation: int) -> int | None:
    """Return the group of a conversation, None for that of a pair."""
    return -conversation if conversation < 0 else None


def pair_of(conversation: int) -> tuple[int, int]:
    """Return the two users of a pair's conversation."""
    return conversation >> _SHIFT, conversation & 0xFFFFFFFF


def peer_of(conversation: int, userid: int) -> int:
    """Return the other user of a pair's conversation."""
    low = conversation >> _SHIFT
    return conversation & 0xFFFFFFFF if userid == low else low


# -- The names of conversations and entries outside the wire protocol: in HTTP and in hooks

NAME_PATTERN = "g([1-9][0-9]{0,9})|u([1-9][0-9]{0,9})-([1-9][0-9]{0,9})"
"""A regular expression of all names of conversations, and of few texts besides."""

_NAME = re.compile(NAME_PATTERN)
_ENTRY = re.compile(r"(.+)-([1-9]\d{0,18})", re.ASCII)


def name_of(conversation: int) -> str:
    """Return the name of a conversation: ``g12`` for group 12, ``u7-9`` for users 7 and 9."""
    if conversation < 0:
        return f"g{-conversation}"
    low, high = pair_of(conversation)
    return f"u{low}-{high}"


def named(name: str) -> int:
    """Return the conversation with a name.

    Raises:
        ValueError: no conversation can have it.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"{name!r} names no conversation")
    group, low, high = (int(number or 0) for number in found.groups())
    if max(group, high) > MAX_ID or low > high:
        raise ValueError(f"{name!r} names no conversation")
    return of_group(group) if group else of_pair(low, high)


def entry_name(conversation: int, seq: int) -> str:
    """Return the name of an entry: that of its conversation and its seq, as ``g12-345``."""
    return f"{name_of(conversation)}-{seq}"


def entry_named(name: str) -> tuple[int, int]:
    """Return the conversation and the seq of the entry with a name.

    Raises:
        ValueError: no entry can have it.
    """
    found = _ENTRY.fullmatch(name)
    if found is None or int(found[2]) > MAX_SEQ:
        raise ValueError(f"{name!r} names no entry")
    return named(found[1]), int(found[2])
