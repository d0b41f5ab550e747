"""The entries that each device was sent as events, in their order: ``Last-Event-ID`` acknowledges them."""

from __future__ import annotations

from collections import deque

from greenchat.model.conversations import entry_named

REMEMBERED = 600.0
"""Seconds for which a node knows what it has sent, after the end of the stream."""

ENTRIES = 1_024
"""Entries of a stream whose order is known.  Older ones count as sent before all of these."""

DEVICES = 10_000
"""Devices whose entries are known; the one whose stream began longest ago is forgotten first."""

Device = tuple[int, str]
"""A user's id and the name of a device."""


class Sent:
    """The entries that one stream has sent.

    Attributes:
        ended: when the stream ended, on the monotonic clock; None while it is open.
    """

    __slots__ = ("_before", "_names", "ended")

    def __init__(self) -> None:
        self.ended: float | None = None
        self._names: deque[str] = deque()
        self._before: dict[int, int] = {}

    def add(self, name: str) -> None:
        """Note the entry with a name as the next."""
        self._names.append(name)
        if len(self._names) > ENTRIES:
            conversation, seq = entry_named(self._names.popleft())
            self._before[conversation] = seq

    def upto(self, name: str) -> dict[int, int]:
        """Return the last seq of each conversation up to an entry; empty if it is not known to be sent."""
        if name not in self._names:
            return {}
        seqs = dict(self._before)
        for each in self._names:
            conversation, seq = entry_named(each)
            seqs[conversation] = seq
            if each == name:
                break
        return seqs


class Memory:
    """The entries that the newest stream of each device has sent.

    A device has one stream at a time, and a new one sends again what was not acknowledged: so what an
    earlier one has sent says nothing about an entry that the newest one has sent, too.
    """

    def __init__(self) -> None:
        self._sent: dict[Device, Sent] = {}

    def devices(self) -> list[tuple[Device, Sent]]:
        """Return the devices, each with the entries of its newest stream."""
        return list(self._sent.items())

    def begin(self, device: Device, sent: Sent) -> None:
        """Take a stream for the device's newest."""
        self._sent.pop(device, None)
        self._sent[device] = sent
        if len(self._sent) > DEVICES:
            del self._sent[next(iter(self._sent))]

    def end(self, sent: Sent, now: float) -> None:
        """Note the end of a stream, and forget those that ended long ago."""
        sent.ended = now
        for device in [device for device, other in self._sent.items() if _is_over(other, now)]:
            del self._sent[device]

    def upto(self, device: Device, name: str, now: float) -> dict[int, int]:
        """Return the last seq of each conversation that a device was sent up to an entry.

        Args:
            device: the device.
            name: of the entry.
            now: on the monotonic clock.

        Returns:
            That of the entry's conversation alone if the node does not know it.

        Raises:
            ValueError: no entry can have this name.
        """
        conversation, seq = entry_named(name)
        sent = self._sent.get(device)
        if sent is None or _is_over(sent, now):
            return {conversation: seq}
        return sent.upto(name) or {conversation: seq}


def _is_over(sent: Sent, now: float) -> bool:
    return sent.ended is not None and now - sent.ended > REMEMBERED
