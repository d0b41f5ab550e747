"""A bounded queue that serves addresses and accounts in turn."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

from greenchat.model.records import Share

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items that wait: one of each address is taken in turn, and of an address one of each account.

    When the queue is full, the newest item of the address that has most in it goes, and of that address's
    accounts again the one that has most: so an item of an address with fewer always finds room.

    Args:
        size: items at most.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._addresses: OrderedDict[str, OrderedDict[str, deque[T]]] = OrderedDict()
        self._count = 0

    def put(self, share: Share, item: T) -> T | None:
        """Add an item; return the one that has to go for it, perhaps itself, or None."""
        accounts = self._addresses.setdefault(share.address, OrderedDict())
        accounts.setdefault(share.account, deque()).append(item)
        self._count += 1
        if self._count <= self._size:
            return None
        return self._drop(share)

    def take(self) -> T | None:
        """Take the next item in turn; None if there is none."""
        if not self._addresses:
            return None
        address, accounts = next(iter(self._addresses.items()))
        account, items = next(iter(accounts.items()))
        item = items.popleft()
        self._addresses.move_to_end(address)
        accounts.move_to_end(account)
        self._tidy(Share(address, account))
        return item

    def remove(self, share: Share, item: T) -> None:
        """Take an item out that is in the queue."""
        self._addresses[share.address][share.account].remove(item)
        self._tidy(share)

    def _drop(self, newcomer: Share) -> T:
        """Drop the newest item of the largest share; of several as large, of the newcomer's."""

        def address_size(address: str) -> tuple[int, bool]:
            return sum(map(len, self._addresses[address].values())), address == newcomer.address

        address = max(self._addresses, key=address_size)
        accounts = self._addresses[address]
        account = max(accounts, key=lambda name: (len(accounts[name]), Share(address, name) == newcomer))
        item = accounts[account].pop()
        self._tidy(Share(address, account))
        return item

    def _tidy(self, share: Share) -> None:
        """Take note that an item has gone."""
        self._count -= 1
        accounts = self._addresses[share.address]
        if not accounts[share.account]:
            del accounts[share.account]
        if not accounts:
            del self._addresses[share.address]
