"""Long texts in pieces that fit a frame of an original client."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

MAX_FRAME = 1_022
"""Bytes of a frame to a classic client, without its NUL: its buffer has 1,024, the last a zero."""

PARTS = 99
"""Parts of a text at most: 4,096 characters of six bytes each, as JSON, from the longest name, are 50."""


def split_text(text: str, room: int) -> Iterator[str]:
    """Split a text into pieces of at most so many bytes of JSON, at a blank if there is one near the end.

    No piece begins with a character that belongs to the one before it (a combining one, a joiner).

    Example: ``list(split_text("hello world", 8)) == ["hello ", "world"]``.
    """
    start = 0
    while start < len(text):
        end = _reach(text, start, room)
        if end < len(text):
            end = _break(text, start, end)
        yield text[start:end]
        start = end


def _reach(text: str, start: int, room: int) -> int:
    """Return where a piece that begins at ``start`` ends at the latest."""
    for place in range(start, len(text)):
        room -= _json_size(text[place])
        if room < 0:
            return max(place, start + 1)
    return len(text)


def _break(text: str, start: int, end: int) -> int:
    """Return the best end of a piece, in the last quarter of the text that fits."""
    least = end - (end - start) // 4
    for place in range(end, least - 1, -1):
        if text[place - 1].isspace():
            return place
    for place in range(end, least - 1, -1):
        if not _belongs_to_previous(text[place]) and text[place - 1] != "\u200d":
            return place
    return end


def _belongs_to_previous(character: str) -> bool:
    return unicodedata.category(character) in {"Mn", "Me", "Mc"} or character == "\u200d"


def _json_size(character: str) -> int:
    """Return how many bytes a character has inside a JSON string."""
    if character in '"\\\b\f\n\r\t':
        return 2
    return 6 if character < " " else len(character.encode())
