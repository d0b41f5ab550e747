"""Detection of lost, doubled and reordered messages, while the load runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


class Stream:
    """Numbers that must come as n, n + 1, n + 2 …, each once.

    Args:
        first: the number that comes first.

    Attributes:
        first: that.
        next: the number that comes next; all before it have come, or are missing.
        doubled: how many came again.
        reordered: how many came after a later one.
    """

    __slots__ = ("_missing", "doubled", "first", "next", "reordered")

    def __init__(self, first: int = 1) -> None:
        self.first = self.next = first
        self.doubled = self.reordered = 0
        self._missing: set[int] = set()

    @property
    def missing(self) -> int:
        """The number of missing messages before the last arrival."""
        return len(self._missing)

    def take(self, numbers: Sequence[int]) -> None:
        """Take the numbers that have come, in the order in which they came."""
        if numbers == list(range(self.next, self.next + len(numbers))):
            self.next += len(numbers)
        else:
            for number in numbers:
                self._look_at(number)

    def faults(self, end: int, name: str = "") -> Counter[str]:
        """Return the faults if the numbers before ``end`` were sent; counts of 0 are left out."""
        lost = self.missing + max(0, end - self.next)
        unsent = max(0, self.next - end)
        found = {"lost": lost, "doubled": self.doubled, "reordered": self.reordered, "never sent": unsent}
        return Counter({name + fault: count for fault, count in found.items() if count})

    def _look_at(self, number: int) -> None:
        if number == self.next:
            self.next += 1
        elif number > self.next:
            self._missing.update(range(self.next, number))
            self.next = number + 1
        elif number in self._missing:
            self._missing.discard(number)
            self.reordered += 1
        else:
            self.doubled += 1
