"""Nothing reaches into another object: what begins with an underscore belongs to its own class or module."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from lab import ROOT

NAMEDTUPLE = {"_replace", "_asdict", "_fields", "_make"}
"""Public names of named tuples, with an underscore so that they clash with no field."""

EXCEPTIONS = {
    "os._exit": "documented: it ends a process at once",
    "logging._srcfile": "documented: None saves the search for the place in the code (logging, Optimization)",
    "self.socket._accept": "the one way to accept without making a socket that is thrown away",
}

PATCHING = {"setattr", "getattr", "delattr", "patch", "object"}
"""Calls whose second argument, or first as a dotted path, names an attribute."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in NAMEDTUPLE


def called(node: ast.Call) -> str:
    """Return the last name of a function that is called."""
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def intrusions(source: str) -> Iterator[str]:
    """Yield each use of a private name of another object, class or module."""
    tree = ast.parse(source)
    classes = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            owner = ast.unparse(node.value)
            if owner not in {"self", "cls", "super()"} | classes:
                yield f"{owner}.{node.attr}"
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names if is_private(alias.name))
        elif isinstance(node, ast.Call) and called(node) in PATCHING:
            named = [arg.value for arg in node.args[:2] if isinstance(arg, ast.Constant)]
            texts = [name for name in named if isinstance(name, str)]
            yield from (name for name in texts if is_private(name.rpartition(".")[2]))


def test_no_module_uses_a_private_name_of_another() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for room in ("greenchat", "lab", "tests")
        for path in sorted((ROOT / room).rglob("*.py"))
        for name in intrusions(path.read_text(encoding="utf-8"))
        if name not in EXCEPTIONS
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "store._marks",
        "self.store._marks = 1",
        "self._store._marks",
        "make()._marks",
        "from greenchat.data.store import _open_device",
        "monkeypatch.setattr(store, '_marks', None)",
        "patch('greenchat.data.store._open_device')",
        "getattr(store, '_marks')",
    ],
)
def test_an_intrusion_is_seen(source: str) -> None:
    assert list(intrusions(source))


@pytest.mark.parametrize(
    "source",
    [
        "self._marks",
        "cls._marks",
        "super()._connect()",
        "class Store:\n    def open(self, other: Store) -> None:\n        Store._count += 1",
        "entry._replace(seq=1)",
        "store.__class__",
        "monkeypatch.setattr(store, 'marks', None)",
    ],
)
def test_its_own_names_are_free(source: str) -> None:
    assert not list(intrusions(source))
