"""Which conversation a request is about: computed, never looked up."""

from __future__ import annotations

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
