"""The rules of CONTRIBUTING.md on words that can be counted, held for docstrings, comments and documents."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ROOMS = ("greenchat", "lab")

MOST = {"who": 1.5, "what": 2.5}
"""Uses in 1,000 words, at most; "who" counts "whose" and "whom" too."""

HEADLESS = ("What", "Who", "Whose", "That", "Whether", "So", "How", "Where", "When", "Why")
"""First words of a docstring that names neither actor nor object."""

FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))

PAGES = [
    *sorted((ROOT / "docs").rglob("*.md")),
    *[ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "lab/README.md")],
]
"""The pages of documentation."""

MOST_IN_PAGES = {"who": 2.0, "what": 3.0}
"""The same for the pages."""

CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield each string that stands as a statement, with its line: docstrings, also of attributes."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node.lineno, node.value.value


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield each comment with its line."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.removeprefix("#")


def share(text: str, forms: str) -> float:
    """Return how often one of these words stands in 1,000 words of a text."""
    found = re.findall(rf"\b({forms})\b", text, re.IGNORECASE)
    return 1_000 * len(found) / len(re.findall(r"[A-Za-z]+", text))


def prose() -> str:
    return " ".join(
        text
        for path in FILES
        for part in (docstrings, comments)
        for _, text in part(path.read_text(encoding="utf-8"))
    )


def test_a_docstring_begins_with_a_verb_or_a_noun() -> None:
    headless = [
        f"{path.relative_to(ROOT)}:{line}: {text.split()[0]}"
        for path in FILES
        for line, text in docstrings(path.read_text(encoding="utf-8"))
        if text.split() and text.split()[0].rstrip(",") in HEADLESS
    ]
    assert headless == []


BOTH_WORDS = pytest.mark.parametrize(("word", "forms"), [("who", "who|whose|whom"), ("what", "what")])


@BOTH_WORDS
def test_the_prose_names_actors_and_objects(word: str, forms: str) -> None:
    assert share(prose(), forms) <= MOST[word]


@BOTH_WORDS
def test_the_pages_name_actors_and_objects(word: str, forms: str) -> None:
    text = " ".join(CODE.sub("", page.read_text(encoding="utf-8")) for page in PAGES)
    assert share(text, forms) <= MOST_IN_PAGES[word]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('"""Whether it is so."""', ["Whether it is so."]),
        ('X = 1\n"""A bound."""', ["A bound."]),
        ("x = 'no'", []),
    ],
)
def test_a_docstring_is_found(source: str, expected: list[str]) -> None:
    assert [text for _, text in docstrings(source)] == expected
