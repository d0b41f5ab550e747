"""Names as the terminal writes and reads them.

A name stands bare where it can be nothing else, and in quotes otherwise, as in JSON::

    bob   小明   🎈bob          bare: letters, digits, emoji and . _ -
    "me"  "7"  "bob: hi"  "ann in #team"      in quotes: it could be taken for something that we write
    "bob\\u200b"                and what is not seen is written out

No two names are written alike, and what is written can be typed: ``chat:"bob: hi":Hello``.
"""

from __future__ import annotations

import re
import unicodedata

from greenchat.errors import BadRequest

QUOTED = r'"(?:[^"\\]|\\.)*"'
"""The pattern of a name in quotes."""

JOINERS = frozenset("\u200c\u200d")
"""They steer nothing; words of many languages, and emoji, fall apart without them."""

_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_BARE = frozenset("LMNS")
"""First letters of the general categories: letters, marks, numbers, symbols."""

_UNSEEN = frozenset(
    [
        *"\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\U00016fe4\U0001d159",  # fillers and blanks
        *map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0000, 0xE1000))),
    ]
)
"""Characters that are neither unprintable nor seen: fillers, selectors of variants, tags."""

_LOOKS_LATIN = str.maketrans("\u043c\u0435\u03bc\u03b5", "meme")
"""Cyrillic and Greek letters that are drawn like those of ``me``, small or capital."""

_SCRIPTS = frozenset({"ARMENIAN", "CHEROKEE", "COPTIC", "CYRILLIC", "GREEK", "LATIN"})
"""Alphabets with letters that look like those of another one."""


def steers(char: str) -> bool:
    """Return True if a character could steer a terminal, or is not seen at all: those of Unicode's Cf too."""
    return char not in JOINERS and unicodedata.category(char) in _UNPRINTABLE


def escaped(char: str) -> str:
    """Return a character as an escape."""
    return char.encode("unicode_escape").decode()


def written(name: str) -> str:
    """Return a name bare or in quotes."""
    return name if _is_plain(name) else f'"{"".join(map(_quoted, name, " " + name))}"'


def unquoted(text: str) -> str:
    """Return the name that was typed, in quotes or bare.

    Raises:
        BadRequest: it begins with a quote and is not written as ``written`` does; the user's fault.
    """
    if not text.startswith('"'):
        return text
    if not re.fullmatch(QUOTED, text, re.DOTALL):
        raise BadRequest(f'the name {text} needs a second " at its end')
    return re.sub(r"\\(x..|u.{4}|U.{8}|.)", _character, text[1:-1], flags=re.DOTALL)


def looks_like_another(name: str) -> bool:
    """Return True if a name has letters that look like others: two alphabets, or odd forms of a letter."""
    scripts = {unicodedata.name(char, "").partition(" ")[0] for char in name if char.isalpha()}
    return len(scripts & _SCRIPTS) > 1 or unicodedata.normalize("NFKC", name) != name


def likeness(name: str) -> str:
    """Return a text that is the same for names that are easily mistaken for one another."""
    seen = (char for char in name if not (_is_unseen(char) or char.isspace()))
    return unicodedata.normalize("NFKC", "".join(seen)).casefold()


def is_id(text: str) -> bool:
    """Return True if a text is an id: digits alone."""
    return text.isascii() and text.isdecimal()


def _is_plain(name: str) -> bool:
    if not name or is_id(name) or unicodedata.category(name[0])[0] == "M":
        return False
    if likeness(name).translate(_LOOKS_LATIN) == "me":  # as we call the user
        return False
    return all(
        char in "._-" or (unicodedata.category(char)[0] in _BARE and not _is_unseen(char)) for char in name
    )


def _quoted(char: str, before: str) -> str:
    """Return a character as it stands in quotes; a mark at the beginning would be drawn over the quote."""
    if char in '"\\':
        return "\\" + char
    is_loose = before == " " and unicodedata.category(char)[0] == "M"
    is_blank = char != " " and char.isspace()
    return escaped(char) if is_loose or is_blank or _is_unseen(char) else char


def _is_unseen(char: str) -> bool:
    unknown = unicodedata.category(char) in ("Cn", "Co")  # it looks like anything, or like nothing
    return unknown or char in _UNSEEN or char in JOINERS or steers(char)


def _character(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) == 1:
        return {"n": "\n", "r": "\r", "t": "\t"}.get(code, code)
    try:
        return chr(int(code[1:], 16))
    except (ValueError, OverflowError):
        raise BadRequest(f"there is no character \\{code}") from None
