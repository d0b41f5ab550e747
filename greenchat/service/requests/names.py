"""New names of users and groups: none that is invisible, or that could be taken for a line of a client.

The rules are those of PRECIS (RFC 8264, the FreeformClass, since names may have blanks; RFC 8265 for the
direction of writing), made with ``unicodedata`` and stricter in a few points.  Names that exist already are
not held to them: their users still log in, and everybody finds them.

Look-alikes of two scripts (Latin and Cyrillic "a") are two names, as in PRECIS.
"""

from __future__ import annotations

import unicodedata

from greenchat.errors import BadRequest
from greenchat.service.requests.validation import clean_name

_REFUSED = {
    "Cf": "characters that cannot be seen",
    "Cs": "surrogates",
    "Co": "private characters",
    "Cn": "characters that are not assigned",
    "Zl": "line separators",
    "Zp": "paragraph separators",
}
"""Unicode categories whose characters a new name may not have, and their names in the error."""

_INVISIBLE = frozenset(
    code
    for first, last in (
        # Default_Ignorable_Code_Point (Unicode's DerivedCoreProperties.txt), but for Cf and Cn
        (0x034F, 0x034F),
        (0x115F, 0x1160),
        (0x17B4, 0x17B5),
        (0x180B, 0x180F),
        (0x3164, 0x3164),
        (0xFE00, 0xFE0F),
        (0xFFA0, 0xFFA0),
        (0xE0100, 0xE01EF),
        # blank, but no white space
        (0x2800, 0x2800),
        (0x16FE4, 0x16FE4),
        (0x1D159, 0x1D159),
    )
    for code in range(first, last + 1)
)

_LOOKS_LATIN = str.maketrans("\u043c\u0435\u0456\u03bc\u03b5", "meime")
"""Cyrillic and Greek letters that are drawn like letters of ``me`` and ``in``, small or capital."""

_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
_BESIDE_RIGHT_TO_LEFT = _RIGHT_TO_LEFT | {"EN", "ES", "CS", "ET", "ON", "BN", "NSM", "WS"}
"""Bidirectional classes that a name with right-to-left letters may have (RFC 5893, rule 2, and blanks)."""


def new_name(field: str, text: str, limit: int) -> str:
    """Return a name that a user or group may be given, as it is kept.

    Args:
        field: the name of the field in errors.
        text: the value from the client.
        limit: characters that the result may have.

    Raises:
        BadRequest: it is empty, or one that could mislead people.
        TooLarge: it is longer than the limit.
    """
    name = clean_name(field, text, limit)
    for character in name:
        kind = "characters that cannot be seen" if ord(character) in _INVISIBLE else None
        kind = kind or _REFUSED.get(unicodedata.category(character))
        if kind:
            raise BadRequest(f"{field}: {kind} are not allowed (U+{ord(character):04X})")
    if unicodedata.category(name[0]).startswith("M"):
        raise BadRequest(f"{field}: may not begin with a mark that belongs to the character before it")
    if any(character.isspace() and character != " " for character in name) or "  " in name:
        raise BadRequest(f"{field}: only single, ordinary blanks are allowed")
    _check_direction(field, name)
    _check_confusion(field, name)
    return name


def _check_direction(field: str, name: str) -> None:
    """Check that a name reads the same way wherever it stands (RFC 5893, rules 1, 2, 3 and 5)."""
    classes = [unicodedata.bidirectional(character) for character in name]
    if not _RIGHT_TO_LEFT.intersection(classes):
        return
    spoken = [name_class for name_class in classes if name_class != "NSM"]
    if (
        classes[0] not in ("R", "AL")
        or not _BESIDE_RIGHT_TO_LEFT.issuperset(classes)
        or spoken[-1] not in ("R", "AL", "AN", "EN")
    ):
        raise BadRequest(f"{field}: left-to-right and right-to-left writing may not be mixed in a name")


def _check_confusion(field: str, name: str) -> None:
    """Check that a name cannot be mistaken for other parts of a message as clients show it.

    They write ``NAME in #GROUP: text`` and ``me to NAME: text``.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    latin = folded.translate(_LOOKS_LATIN)
    if latin == "me" or latin.startswith("me to ") or " in #" in f" {latin}":
        raise BadRequest(f"{field}: clients write this where they show a message; please take another name")
