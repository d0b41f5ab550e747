"""The port to a client's connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Peer(Protocol):
    """The connection of a client, as the service sees it."""

    __slots__ = ()

    @property
    def address(self) -> str:
        """The peer's ``HOST:PORT``, for the log and for limits."""

    @property
    def present(self) -> bool:
        """True if the peer has not ended its half.  It may have, and its last requests still wait."""

    def send(self, frame: bytes, /) -> None:
        """Queue a frame, complete with its terminator.

        MUST NOT block, switch, reorder or raise, whatever the peer does: a peer that is too far
        behind is disconnected (``slow_consumer``), and a frame to a closed one is dropped.
        """

    def close(self, reason: str, retry_after: float | None = None) -> None:
        """End the connection after the frames sent so far; later frames are ignored, in either direction.

        The peer is told the reason, as far as its wire has words for it.  The second close is ignored.
        Does not switch.
        """

    def pause(self) -> None:
        """Read no more from the peer until ``resume``; frames that were read already wait too."""

    def resume(self) -> None:
        """Read again."""

    def when_written(self, call: Callable[[], None]) -> None:
        """Call back when all frames sent so far have been handed to the socket; never if it ends before.

        The callback must not switch.
        """

    def has_room(self, frames: int, before: int = 0) -> bool:
        """Return True if an entry of so many frames may be sent now.

        Always True, unless the peer is paced: then an entry without room is left to the log, and sent after
        ``drain``.

        Args:
            frames: the number of its frames; any number has room if the queue is empty.
            before: the number of frames of other entries that are to be sent first.
        """

    def drop_paced(self) -> None:
        """Drop the frames that wait for their turn at a paced peer: their user has logged out."""

    def drain(self) -> bool:
        """Wait until all frames have been handed to the socket, or the connection ends.  May switch.

        Returns:
            True if the connection still stands.
        """
