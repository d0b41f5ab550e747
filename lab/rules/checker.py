"""The judge: it holds the notes of a load against the log of messages in the database.

It is a reading of "What is promised" (docs/protocol.md) of its own, and shares no code with the server.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from lab.record import LIVE, TEXT, Record
from lab.rules import access, log, presence
from lab.rules.evidence import (
    DOUBLED,
    LEAKED,
    LOST,
    REORDERED,
    STUCK,
    WRONG,
    Evidence,
    Rule,
    Violation,
)

KINDS = (LOST, DOUBLED, REORDERED, LEAKED, STUCK, WRONG)


@dataclass(frozen=True)
class Verdict:
    """The violations, and counts that show that there was something to judge."""

    violations: list[Violation]
    sent: int
    acknowledged: int
    stored: int
    delivered: int
    removed: int
    reconnects: int
    by_rule: Counter[str] = field(default_factory=Counter)

    @property
    def kinds(self) -> Counter[str]:
        """The number of violations of each kind."""
        return Counter(violation.kind for violation in self.violations)

    def __str__(self) -> str:
        kinds = self.kinds
        found = ", ".join(f"{kinds[kind]} {kind}" for kind in KINDS)
        return (
            f"sent {self.sent}, acknowledged {self.acknowledged}, stored {self.stored}, delivered"
            f" {self.delivered}, duplicates removed {self.removed}, reconnects {self.reconnects}: {found}"
        )


def check(evidence: Evidence) -> Verdict:
    """Judge the evidence, after the load has ended and everything had time to arrive."""
    sent = [message for record in evidence.records for message in record.sent.values()]
    found = [(rule.__name__, violation) for rule in RULES for violation in rule(evidence)]
    offered = sum(len(link.arrivals) for record in evidence.records for link in record.connections)
    delivered = sum(len(log.received_by(record)) for record in evidence.records)
    return Verdict(
        violations=[violation for _, violation in found],
        by_rule=Counter(name for name, _ in found),
        sent=len(sent),
        acknowledged=sum(bool(message.acks) for message in sent),
        stored=len(evidence.rows),
        delivered=delivered,
        removed=offered - delivered,
        reconnects=sum(max(0, len(record.connections) - 1) for record in evidence.records),
    )


RULES: tuple[Rule, ...] = (*log.RULES, *access.RULES, *presence.RULES)


EVER: Sequence[tuple[float, float]] = ((0.0, float("inf")),)


def latencies(
    records: Sequence[Record], during: Sequence[tuple[float, float]] = EVER, *, across: bool = True
) -> list[float]:
    """Return the seconds from the first try of each message to its live arrival, sorted.

    Only of receivers that were logged in before it was sent, each counted for itself.

    Args:
        records: of senders and receivers.
        during: only of messages sent in one of these times, which follow each other.
        across: of those that went from one node to another; otherwise those that stayed on one.
    """
    starts = [start for start, _ in during]
    sent = {
        message.body: message
        for record in records
        for message in record.sent.values()
        if message.kind == TEXT
    }
    found = []
    for record in records:
        for link in record.connections:
            for arrival in link.arrivals:
                message = sent.get(arrival.body)
                if message is None or arrival.how != LIVE or arrival.kind != TEXT or link.began > message.at:
                    continue
                window = bisect_right(starts, message.at) - 1
                if window < 0 or message.at >= during[window][1]:
                    continue
                if (link.node != message.node) == across:
                    found.append(arrival.at - message.at)
    return sorted(found)
