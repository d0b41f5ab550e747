"""Checks of the fields of requests, beyond their types (docs/protocol.md, Limits and Fine points).

The rules for new names are in ``names``.
"""

from __future__ import annotations

import unicodedata

from greenchat.errors import BadRequest, TooLarge


def clean_name(field: str, text: str, limit: int) -> str:
    """Return a name as it is kept: NFC, without blanks at its ends.

    Args:
        field: the name of the field in errors.
        text: the value from the client.
        limit: characters that the result may have.

    Raises:
        BadRequest: nothing is left, or it has control characters.
        TooLarge: it is longer than the limit.
    """
    check_printable(field, text)
    name = unicodedata.normalize("NFC", text).strip()
    check_length(field, name, 1, limit)
    return name


def clean_password(field: str, text: str, limit: int) -> str:
    """Return a password as it is hashed: NFC.  Keyboards differ in how they compose the same character.

    Raises:
        BadRequest: it is empty.
        TooLarge: it is longer than the limit.
    """
    password = unicodedata.normalize("NFC", text)
    check_length(field, password, 1, limit)
    return password


def password_forms(field: str, text: str, limit: int) -> list[str]:
    """Return the spellings under which a given password may be in the database, today's first.

    Before passwords were normalised they were hashed as they came.

    Raises:
        BadRequest, TooLarge: as ``clean_password``; not if it can be one of before.
    """
    if 1 <= len(text) <= limit and (clean := unicodedata.normalize("NFC", text)) != text:
        return [clean, text]
    return [clean_password(field, text, limit)]


def check_length(field: str, text: str, least: int, limit: int) -> None:
    """Check the number of characters (code points) of a text.

    Raises:
        BadRequest: there are fewer than ``least``.
        TooLarge: there are more than ``limit``.
    """
    if len(text) < least:
        raise BadRequest(f"{field}: may not be empty")
    if len(text) > limit:
        raise TooLarge(f"{field}: at most {limit} characters, this has {len(text)}")


def check_printable(field: str, text: str) -> None:
    """Check that a text has no control characters.

    Raises:
        BadRequest: it has some.
    """
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise BadRequest(f"{field}: control characters are not allowed")


def exactly_one(**fields: object) -> None:
    """Check that one of two fields was given, and not both.

    Raises:
        BadRequest: none or both were; the sentence names them.
    """
    if list(fields.values()).count(None) != len(fields) - 1:
        raise BadRequest(f"exactly one of {' and '.join(fields)} is needed")
