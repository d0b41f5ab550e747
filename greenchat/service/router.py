"""Brings frames to users: to their sessions here, and over the bus to the other nodes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from greenchat.ports import Bus, Event
from greenchat.service.hub import Hub, Online

MOMENT = 0
"""The seq of an event that is no entry of a conversation: who is not online never hears of it."""


class Router:
    """Deliver events to users wherever they are online.

    Args:
        hub: who is here.
        bus: the way to the others.
    """

    def __init__(self, hub: Hub[Any], bus: Bus) -> None:
        self._hub = hub
        self._bus = bus

    def deliver(
        self, users: Collection[int], event: Event, *, without: int = 0, but: Online | None = None
    ) -> None:
        """Give an event to all sessions of some users.  Never switches.

        Args:
            users: whom it is for.
            event: what they get.
            without: one of them whom it is not for.
            but: one session that is not to have it.
        """
        conversation, seq, frame = event
        of = self._hub.of
        for userid in users:
            if userid != without:
                for session in of(userid):
                    if session is not but:
                        session.deliver(conversation, seq, frame)
        self._bus.publish(users, event, without)

    def receive(self, users: Iterable[int], event: Event) -> None:
        """Give an event from another node to the sessions here: what the bus calls.  Never switches."""
        for userid in users:
            for session in self._hub.of(userid):
                session.deliver(*event)

    def has_others(self, userid: int, session: Online) -> bool:
        """Return whether a user is online anywhere besides this session."""
        return any(other is not session for other in self._hub.of(userid)) or bool(
            self._bus.online((userid,))
        )

    def online(self, users: Collection[int]) -> set[int]:
        """Return who of these is online anywhere."""
        return self._hub.online(users) | self._bus.online(users)
