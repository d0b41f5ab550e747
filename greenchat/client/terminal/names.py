"""Quoting of names, and names that look alike.

A name is written bare if it can be nothing else, and otherwise in quotes, as in JSON::

    bob   小明   🎈bob          bare: letters, digits, emoji and . _ -
    "me"  "7"  "bob: hi"  "ann in #team"      in quotes: the program's own lines use the same words
    "bob\\u200b"                invisible characters are escaped

No two names are written alike, and a written name can be typed: ``chat:"bob: hi":Hello``.
"""

from __future__ import annotations

import re
import unicodedata

from greenchat.errors import BadRequest

QUOTED = r'"(?:[^"\\]|\\.)*"'
"""Pattern of a name in quotes."""

JOINERS = frozenset("\u200c\u200d")
"""Format characters that stay: words of many languages, and emoji, need them."""

_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_BARE = frozenset("LMNS")
"""First letters of the general categories: letters, marks, numbers, symbols."""

_INVISIBLE = frozenset(
    [
        *"\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\U00016fe4\U0001d159",  # fillers and blanks
        *map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0000, 0xE1000))),
    ]
)
"""Invisible characters of printable categories: fillers, variation selectors, tags."""

_LOOKS_LATIN = str.maketrans("\u043c\u0435\u03bc\u03b5", "meme")
"""Cyrillic and Greek letters that look like those of ``me``, small or capital."""

_SCRIPTS = frozenset({"ARMENIAN", "CHEROKEE", "COPTIC", "CYRILLIC", "GREEK", "LATIN"})
"""Alphabets with letters that look like those of another alphabet."""


def is_control(char: str) -> bool:
    """Return True if a character could control a terminal, or reorder or hide others."""
    return char not in JOINERS and unicodedata.category(char) in _UNPRINTABLE


def escape(char: str) -> str:
    """Return the escape sequence of a character, such as ``\\x1b``."""
    return char.encode("unicode_escape").decode()


def quote(name: str) -> str:
    """Return a name bare, or in quotes where it could be mistaken.

    >>> print(quote("bob"), quote("bob: hi"), quote("7"))
    bob "bob: hi" "7"
    """
    return name if _is_plain(name) else f'"{"".join(map(_quoted, name, " " + name))}"'


def unquote(text: str) -> str:
    """Return the name in a typed text, which may be bare.

    Raises:
        BadRequest: the text begins with a quote and is not in the form of ``quote``; the user's fault.
    """
    if not text.startswith('"'):
        return text
    if not re.fullmatch(QUOTED, text, re.DOTALL):
        raise BadRequest(f'the name {text} needs a second " at its end')
    return re.sub(r"\\(x..|u.{4}|U.{8}|.)", _character, text[1:-1], flags=re.DOTALL)


def is_confusable(name: str) -> bool:
    """Return True if a name mixes alphabets that look alike, or has unusual forms of letters."""
    scripts = {unicodedata.name(char, "").partition(" ")[0] for char in name if char.isalpha()}
    return len(scripts & _SCRIPTS) > 1 or unicodedata.normalize("NFKC", name) != name


def skeleton(name: str) -> str:
    """Return a text that names which look alike have in common (the term of Unicode's report 39)."""
    seen = (char for char in name if not (_is_invisible(char) or char.isspace()))
    return unicodedata.normalize("NFKC", "".join(seen)).casefold()


def is_id(text: str) -> bool:
    """Return True if a text is an id: digits alone."""
    return text.isascii() and text.isdecimal()


def _is_plain(name: str) -> bool:
    if not name or is_id(name) or unicodedata.category(name[0])[0] == "M":
        return False
    if skeleton(name).translate(_LOOKS_LATIN) == "me":  # the name of the user in the program's lines
        return False
    return all(
        char in "._-" or (unicodedata.category(char)[0] in _BARE and not _is_invisible(char)) for char in name
    )


def _quoted(char: str, before: str) -> str:
    """Return a character in the form that it has in quotes.

    A combining mark at the beginning is escaped: it would be drawn over the quote.
    """
    if char in '"\\':
        return "\\" + char
    is_loose = before == " " and unicodedata.category(char)[0] == "M"
    is_blank = char != " " and char.isspace()
    return escape(char) if is_loose or is_blank or _is_invisible(char) else char


def _is_invisible(char: str) -> bool:
    unknown = unicodedata.category(char) in ("Cn", "Co")  # fonts draw it as they like, or not at all
    return unknown or char in _INVISIBLE or char in JOINERS or is_control(char)


def _character(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) == 1:
        return {"n": "\n", "r": "\r", "t": "\t"}.get(code, code)
    try:
        return chr(int(code[1:], 16))
    except (ValueError, OverflowError):
        raise BadRequest(f"there is no character \\{code}") from None
