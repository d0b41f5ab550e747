"""Violations that a test plants in evidence that is otherwise perfect."""

from __future__ import annotations

from lab.rules.checker import check
from lab.rules.evidence import Evidence, Rule


def assert_found(kind: str, rule: Rule, evidence: Evidence) -> None:
    """Fail unless a rule finds violations of one kind and no other, and the verdict has them."""
    found = list(rule(evidence))
    assert {violation.kind for violation in found} == {kind}
    assert set(found) <= set(check(evidence).violations)


def name(value: object) -> object:
    """Return how a test shows what is planted."""
    return getattr(value, "__name__", value)
