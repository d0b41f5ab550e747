"""Keep how far a device has each conversation, by its receipts and by the entries that it sent itself."""

from __future__ import annotations

from typing import Protocol

KEPT = 10_000
"""Devices of which ``KeptReceipts`` knows; the one that was not used for longest is forgotten first, and may
be offered messages of its own again."""


class Receipt:
    """The entries of a conversation that a device has, as seqs; 0 is none (see ``ports.Store.move_cursor``).

    Attributes:
        received: up to this seq the device has acknowledged all.
        own_from: the first seq of the last run of its own entries.
        own_to: the last seq of that run.
    """

    __slots__ = ("own_from", "own_to", "received")

    def __init__(self) -> None:
        self.received = self.own_from = self.own_to = 0

    def after(self, cursor: int) -> int:
        """Return up to which seq the device has the conversation, given its cursor in the database."""
        reached = max(cursor, self.received)
        return max(reached, self.own_to) if reached >= self.own_from - 1 else reached


class Cursors(Protocol):
    """The part of ``ports.Store`` that receipts need."""

    def move_cursor(
        self, userid: int, device: str, conversation: int, received: int, own_from: int, own_to: int, /
    ) -> None:
        """Move a device's cursor."""


class Receipts:
    """The receipts of one login.

    Args:
        store: has the cursors.
        userid: the user that is logged in.
        device: the name of the user's device.
    """

    __slots__ = ("_device", "_receipts", "_store", "_userid")

    def __init__(self, store: Cursors, userid: int, device: str) -> None:
        self._store = store
        self._userid = userid
        self._device = device
        self._receipts: dict[int, Receipt] = {}

    def received(self, conversation: int, seq: int) -> None:
        """Count all entries of a conversation up to ``seq`` as received."""
        receipt = self._receipts.get(conversation)
        if receipt is None:
            receipt = self._receipts[conversation] = Receipt()
        if seq > receipt.received:
            receipt.received = seq
            self._store.move_cursor(
                self._userid, self._device, conversation, seq, receipt.own_from, receipt.own_to
            )

    def sent(self, conversation: int, seq: int) -> None:
        """Count the device's own entry as received, as soon as nothing before it is pending."""
        receipt = self._receipts.get(conversation)
        if receipt is None:
            receipt = self._receipts[conversation] = Receipt()
        own_to = receipt.own_to
        if seq <= own_to:
            return  # a repetition
        if not own_to or seq != own_to + 1:
            if receipt.received >= receipt.own_from - 1:  # the run before this one is not ahead either
                receipt.received = max(receipt.received, own_to)
            receipt.own_from = seq
        receipt.own_to = seq
        self._store.move_cursor(
            self._userid, self._device, conversation, receipt.received, receipt.own_from, seq
        )

    def forget(self, conversation: int) -> None:
        """Forget how far the device has a conversation."""
        self._receipts.pop(conversation, None)

    def reached(self, conversation: int, cursor: int) -> int:
        """Return up to which seq the device has a conversation, given its cursor in the database."""
        receipt = self._receipts.get(conversation)
        return cursor if receipt is None else receipt.after(cursor)


class KeptReceipts:
    """The receipts of devices that write and acknowledge without being online.

    Each of their requests goes on where the last one ended: for the store, the newest move of a cursor
    counts, and a move tells all that the device has.

    Args:
        store: has the cursors.
    """

    def __init__(self, store: Cursors) -> None:
        self._store = store
        self._kept: dict[tuple[int, str], Receipts] = {}

    def of(self, userid: int, device: str) -> Receipts:
        """Return the receipts of a device."""
        receipts = self._kept.pop((userid, device), None) or Receipts(self._store, userid, device)
        self._kept[userid, device] = receipts
        if len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return receipts

    def forget(self, conversation: int) -> None:
        """Forget how far the devices have a conversation: the database was set back."""
        for receipts in self._kept.values():
            receipts.forget(conversation)
